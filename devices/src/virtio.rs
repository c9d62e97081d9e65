//! Virtio devices by memory-mapped registers (Virtual I/O Device version 1.2, OASIS committee specification 01).
//!
//! [`VirtioMmio`] is the transport (4.2, version 2), [`Block`](VirtioBlock) (5.2) and [`Net`](VirtioNet) (5.1) are what
//! it carries; its virtqueues are split ones (2.7).
//! A device has no memory: each step of a request is a read it asks for and an answer that it gets, so a request is a
//! small state machine, `queue.rs`, and whatever a guest puts into its rings ends in a finite number of steps.
//! The crates `virtio-queue` and `virtio-bindings` do not fit: they reach into guest memory by a handle of `vm-memory`,
//! and the former is in part Apache-2.0 only.
//!
//! A request takes time, in which the device lets `VIRTQ_USED_F_NO_NOTIFY` stand in the used ring.
//! It then clears the flag and looks once more whether something became available (2.7.10).
//! A driver that writes `avail.idx` and reads that flag without a fence in between (2.7.13.4.1) can read it from before,
//! and not notify, while its store has not drained: the device sees nothing and rests, and the request is lost until
//! the next doorbell.
//!
//! Left out: legacy devices, packed virtqueues, `VIRTIO_F_EVENT_IDX`, shared memory, resets of single queues,
//! notification data, more than one queue pair, offloads, discarding and zoned disks.
//! False on hardware: a device here takes one request after another and all of it at one moment, so data never arrives
//! while a driver watches; a queue that cannot be right, of no size or at an odd address, refuses to become ready,
//! while other devices find out later or never.

mod block;
mod chain;
mod mmio;
mod net;
mod queue;
mod registers;
mod ring;
mod wire;

pub use block::VirtioBlock;
pub use chain::Broken;
pub use mmio::VirtioMmio;
pub use net::VirtioNet;
pub use wire::Wire;

#[cfg(test)]
mod tests;
