//! Fencepost: an emulated x86 SMP machine whose store buffers can be seen, reordered, recorded and replayed.
//!
//! A machine is a value; running it is applying choices. See [`machine`] for that idea, [`testbench`] for using it in tests,
//! and the project's README for a tour.

pub mod board;
pub mod boot;
pub mod choice;
pub mod core;
pub mod explorer;
pub mod input;
pub mod litmus;
pub mod loader;
pub mod machine;
pub mod memory;
pub mod memory_model;
pub mod processor;
pub mod runner;
pub mod schedule;
pub mod store_buffer;
pub mod testbench;
pub mod trace;

pub use fencepost_devices as devices;
pub use fencepost_programs as programs;
