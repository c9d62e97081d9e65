//! What the integration tests share.
#![forbid(unsafe_code)]

pub mod brute_force;
pub mod fuzz;
pub mod guest;
pub mod interrupted;
mod random;
