//! Litmus tests: small programs of a few threads, and which final states they can have.
//!
//! The format is that of herdtools7; see [`parse`](parse::parse). The code is assembled, put into a machine, and
//! [explored](crate::explorer): a verdict comes from machine code that an engine has executed.

mod assemble;
pub mod image;
mod instruction;
pub mod parse;
mod pool;
mod program;
mod registers;
mod satisfiable;
pub mod test;

pub use pool::{Observation, Outcome, Pool, Ready};
