//! A second opinion on litmus tests: tiny programs enumerated byte by byte, without any cleverness.
//!
//! Written from the rules alone (DESIGN section 3; x86-TSO, CACM 2010; SDM 3A 9.2), with its own interpreter and its own store
//! buffer, so that it shares no mistake with the explorer. Every step of every thread and every drain is tried in every
//! state; equal states are met once; there is no reduction. What it costs: one program of three threads has up to some
//! 100,000 states.
//!
//! Programs with branches and loops are enumerated likewise ([`generate_loops`]): their states are finitely many, and equal
//! ones are met once. A state from which no final one can be reached is a hang, whatever it is that goes round there.
//! The alternative, a search that is generic over a toy system and the engine, was not taken: it would put a trait between
//! the search and every operation, and test the search with a toy's notion of what commutes rather than with the engine's.
//!
//! One thing is taken from the machine, because no rule says it: of the two accesses across a border the lower one is made
//! first.

mod enumerate;
mod generate;
mod loops;
mod program;

pub use enumerate::{Ends, Maker, Model, enumerate};
pub use generate::generate;
pub use loops::generate_loops;
pub use program::{Condition, Fence, Instruction, Operation, Program, Register, Spot};
