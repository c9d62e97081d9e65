//! What the integration tests share.
#![forbid(unsafe_code)]

pub mod brute_force;
pub mod fuzz;
mod random;
