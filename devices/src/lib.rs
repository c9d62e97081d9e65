//! The devices of the machine, the buses that reach them, and the words they speak.
//!
//! A [`Device`] is a value: it is told `(offset, width, value)` and answers with [`Signal`]s.
//! It holds no handle to the bus, the cores or the time, so a snapshot is a clone, and comparing or hashing the machine
//! compares or hashes its devices field by field.
//! The [`Bus`] knows which device answers at which port or physical address.
//!
//! To add a device, write one file beside `debug_console.rs` and attach it where the board is put together.
//!
//! ```
//! use fencepost_devices::{Bus, DebugConsole, Line, Signal, Space, Width};
//!
//! let mut bus = Bus::default();
//! bus.attach(DebugConsole, DebugConsole::REGIONS)?;
//! let access = bus.write(Space::Ports, 0xe9, Width::Byte, u64::from(b'!'));
//! assert_eq!(access.signals, [Signal::Transmit { line: Line::DebugConsole, byte: b'!' }]);
//! assert_eq!(bus.describe(Space::Ports, 0xe9), "debugcon > DATA");
//! # Ok::<(), fencepost_devices::AttachError>(())
//! ```
#![forbid(unsafe_code)]

mod addr;
mod ata;
mod bus;
mod cmos_rtc;
mod crc32;
mod debug_console;
mod debug_exit;
mod device;
mod disk;
mod font;
mod framebuffer;
#[cfg(test)]
mod fuzz;
mod fw_cfg;
mod i8042;
mod io_apic;
mod local_apic;
mod message;
mod now;
mod pc_testdev;
mod pcap;
mod pic8259;
mod picture;
mod pit8254;
mod reset_control;
mod sheet;
mod signal;
mod time;
mod uart16550;
mod vga_text;
mod virtio;

pub use addr::{Irq, PhysAddr, Port};
pub use ata::Ata;
pub use bus::{Access, AttachError, Bus, DeviceId, Region, Space};
pub use cmos_rtc::{CmosRtc, DateTime};
pub use debug_console::DebugConsole;
pub use debug_exit::DebugExit;
pub use device::{Device, DeviceState, Width};
pub use disk::{Disk, SECTOR_BYTES};
pub use framebuffer::Framebuffer;
pub use fw_cfg::FwCfg;
pub use i8042::{I8042, Key, MouseButtons, Stroke, Untypable};
pub use io_apic::IoApic;
pub use local_apic::{Accepted, ApicSignal, Lint, LocalApic};
pub use message::{Delivery, Destination, Message, Trigger};
pub use pc_testdev::PcTestdev;
pub use pcap::{PcapError, Resolution, parse_pcap, write_pcap};
pub use pic8259::Pic8259;
pub use picture::Picture;
pub use pit8254::Pit8254;
pub use reset_control::ResetControl;
pub use sheet::contact_sheet;
pub use signal::{Line, Signal};
pub use time::{TICKS_PER_SECOND, Ticks};
pub use uart16550::Uart16550;
pub use vga_text::VgaText;
pub use virtio::{Broken, VirtioBlock, VirtioMmio, VirtioNet, Wire};
