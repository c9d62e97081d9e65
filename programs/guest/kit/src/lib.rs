//! What a guest of the Fencepost machine is made of: entry, devices, shared words and fences, and how to say what happened.
//!
//! A guest is a `no_std` program that every core enters at once (`programs/BOOT.md` is the contract):
//!
//! ```ignore
//! #![no_std]
//! #![no_main]
//! kit::entry!(main);
//!
//! fn main(core: kit::Core) {
//!     kit::println!("core {} of {}", core.index, core.count);
//! }
//! ```
//!
//! Memory that cores share is made of [`Word32`]s and [`Word64`]s, never of `core::sync::atomic`: each of their methods
//! is exactly one instruction, which the compiler can neither move nor merge nor strengthen, so that what runs is what the
//! source says and a missing fence is really missing.
#![no_std]

mod barrier;
mod boot;
mod entry;
pub mod exclusion;
mod fence;
mod framebuffer;
pub mod interrupts;
pub mod io_apic;
pub mod local_apic;
mod mem;
pub mod mmio;
mod outcome;
pub mod paging;
mod panic;
pub mod pic8259;
pub mod pit8254;
mod port;
mod race;
pub mod region;
mod serial;
mod spinlock;
mod vga_text;
pub mod virtio;
mod word;
mod xorshift;

pub use barrier::Barrier;
pub use boot::BootInfo;
pub use entry::{Core, start};
pub use fence::{lfence, lock_or, mfence, nop, pause, sfence};
pub use framebuffer::{Format, Framebuffer, crc32};
pub use outcome::{Verdict, exit, report};
pub use port::{in8, in32, out8, out32};
pub use race::{Hazard, race};
pub use serial::Serial;
pub use spinlock::Spinlock;
pub use vga_text::VgaText;
pub use word::{Pair64, Word32, Word64};
pub use xorshift::Xorshift;
