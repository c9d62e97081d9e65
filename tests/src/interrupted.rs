//! A second opinion on programs with interrupts: tiny ones enumerated step by step, without any cleverness.
//!
//! Written from the manuals alone (SDM 3A chapters 6 and 11; 8259A, data sheet of December 1988; 82093AA, data sheet of May
//! 1996) and the rules of the store buffer (DESIGN section 3), with its own interpreter and its own interrupt controllers, so
//! that it shares no mistake with the explorer and the devices. Every step of every core, every drain, every arrival of a posted
//! write and every interrupt that a core lets in is tried in every state; equal states are met once; there is no reduction.
//! What it costs: a program of two cores has up to some 100,000 states.
//!
//! An instruction here is one of the processor's, so that an interrupt may come between any two. What is each core's alone is
//! left out: the frame that an interrupt pushes, and what handlers keep on the stack.
//!
//! Interrupts may be late, and may not be late for ever. So a program hangs where no end can be reached from some state, or
//! none without putting off an interrupt that a core lets in: such as a level that nobody lowers.
//!
//! Taken from the machine, because no manual says it: of an interrupt of the local APIC and one of the 8259A the former is
//! taken first.

mod compare;
mod controllers;
mod enumerate;
mod generate;
mod guest;
mod program;

pub use compare::{Compared, compare, compare_program};
pub use enumerate::{Ends, Hang, enumerate};
pub use generate::{Gaps, generate};
pub use guest::{Guest, guest};
pub use program::{
    ApicWrite, Class, CoreCode, Handler, Instruction, Pin, PortWrite, Program, Register, Scratch, Target, Wiring,
};
