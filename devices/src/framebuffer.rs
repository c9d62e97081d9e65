//! A linear framebuffer that shows a frame only when it is told to.
//!
//! Pixels lie in write-combining memory from [`Framebuffer::PIXELS`] on (SDM 3A 12.3), which belongs to the machine's
//! physical memory, not to this device; mode registers lie in uncached memory from [`Framebuffer::REGISTERS`] on.
//! Writing `PRESENT` makes the device read the pixels by DMA and latch them as a frame, so what has not drained from a
//! store buffer by then is not in the picture: this is how a missing fence becomes visible.
//!
//! The device is ours; no hardware has it. `FRAME_CRC` is modelled on the display checksum registers of real GPUs.
//! Real ones scan out continuously and tear in the middle of a frame; this one latches all of a frame at one moment.
//! Left out: palettes, panning, cursors, interrupts at the end of a frame.
//! A snapshot costs the latched frame, at most 4 MiB.
//!
//! | offset | register | |
//! |---|---|---|
//! | 0x00 | `ID` | reads 0x42465046, "FPFB" |
//! | 0x04 | `WIDTH` | visible pixels in a row |
//! | 0x08 | `HEIGHT` | rows |
//! | 0x0c | `PITCH` | bytes from one row to the next |
//! | 0x10 | `FORMAT` | 0 XRGB8888, 1 RGB565, 2 GREY8 |
//! | 0x14 | `ENABLE` | bit 0 |
//! | 0x18 | `PRESENT` | write anything: latch a frame; read: frames latched so far, low 32 bits |
//! | 0x1c | `FRAME_CRC` | CRC-32 of the latched frame's visible bytes, row by row; 0 before the first frame |
//! | 0x20 | `STATUS` | bit 0: the last `PRESENT` was refused, disabled or the mode does not fit |
//!
//! Registers are 32 bits wide and answer to aligned 32-bit accesses; a 64-bit access is two.
//! Narrower or unaligned accesses and reserved offsets read as all ones and are otherwise ignored.

mod mode;

use std::collections::VecDeque;

use crate::crc32::crc32;
use crate::{Device, PhysAddr, Picture, Region, Signal, Width};
use mode::Mode;

/// The framebuffer's registers, the frame it shows, and those it has yet to read.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Framebuffer {
    mode: Mode,
    enabled: bool,
    refused: bool,
    /// Modes of the frames asked for but not read yet: a guest may change the mode before the DMA happens.
    reading: VecDeque<Mode>,
    frames: u64,
    shown: Option<Frame>,
}

/// A latched frame.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Frame {
    mode: Mode,
    /// The visible bytes, rows without padding between them.
    pixels: Vec<u8>,
}

const ID: u64 = 0x00;
const WIDTH: u64 = 0x04;
const HEIGHT: u64 = 0x08;
const PITCH: u64 = 0x0c;
const FORMAT: u64 = 0x10;
const ENABLE: u64 = 0x14;
const PRESENT: u64 = 0x18;
const FRAME_CRC: u64 = 0x1c;
const STATUS: u64 = 0x20;

impl Framebuffer {
    /// The first pixel.
    pub const PIXELS: PhysAddr = PhysAddr(0xe000_0000);
    /// Length of the pixel memory in bytes: 4 MiB, enough for 1024x1024 in 32 bits.
    pub const PIXEL_BYTES: u64 = 4 << 20;
    /// The first register.
    pub const REGISTERS: PhysAddr = PhysAddr(0xfd00_0000);
    /// Where the registers answer: one page, so that a guest can map it alone.
    pub const REGIONS: &[Region] = &[Region::memory(Self::REGISTERS, 4096)];
    /// What `ID` reads as, "FPFB" in memory order.
    pub const ID: u32 = u32::from_le_bytes(*b"FPFB");

    /// How many frames have been latched.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// The latched frame; `None` before the first.
    pub fn picture(&self) -> Option<Picture> {
        let frame = self.shown.as_ref()?;
        Some(frame.mode.picture(&frame.pixels))
    }

    fn present(&mut self) -> Vec<Signal> {
        let span = self.mode.span().filter(|&span| self.enabled && span <= Self::PIXEL_BYTES);
        self.refused = span.is_none();
        let Some(length) = span else {
            return Vec::new();
        };
        self.reading.push_back(self.mode);
        vec![Signal::ReadMemory { address: Self::PIXELS, length }]
    }

    fn register_value(&self, offset: u64) -> u32 {
        match offset {
            ID => Self::ID,
            WIDTH => self.mode.width,
            HEIGHT => self.mode.height,
            PITCH => self.mode.pitch,
            FORMAT => self.mode.format,
            ENABLE => self.enabled.into(),
            PRESENT => low_half(self.frames),
            FRAME_CRC => self.shown.as_ref().map_or(0, |frame| crc32(&frame.pixels)),
            STATUS => self.refused.into(),
            _ => u32::MAX,
        }
    }
}

impl Device for Framebuffer {
    fn name(&self) -> &'static str {
        "framebuffer"
    }

    fn register(&self, offset: u64) -> &'static str {
        match offset & !3 {
            ID => "ID",
            WIDTH => "WIDTH",
            HEIGHT => "HEIGHT",
            PITCH => "PITCH",
            FORMAT => "FORMAT",
            ENABLE => "ENABLE",
            PRESENT => "PRESENT",
            FRAME_CRC => "FRAME_CRC",
            STATUS => "STATUS",
            _ => "reserved",
        }
    }

    fn widest(&self) -> Width {
        Width::Dword
    }

    fn read(&mut self, offset: u64, width: Width) -> (u64, Vec<Signal>) {
        let value = match width {
            Width::Dword => self.register_value(offset),
            Width::Byte | Width::Word | Width::Qword => u32::MAX,
        };
        (value.into(), Vec::new())
    }

    fn write(&mut self, offset: u64, width: Width, value: u64) -> Vec<Signal> {
        if width != Width::Dword {
            return Vec::new();
        }
        let value = low_half(value);
        match offset {
            WIDTH => self.mode.width = value,
            HEIGHT => self.mode.height = value,
            PITCH => self.mode.pitch = value,
            FORMAT => self.mode.format = value,
            ENABLE => self.enabled = value & 1 == 1,
            PRESENT => return self.present(),
            _ => {}
        }
        Vec::new()
    }

    fn memory_read(&mut self, address: PhysAddr, bytes: &[u8]) -> Vec<Signal> {
        assert_eq!(address, Self::PIXELS, "the framebuffer asks for nothing but its pixels");
        let mode = self.reading.pop_front().expect("every answer follows a request");
        self.shown = Some(Frame { mode, pixels: mode.visible(bytes) });
        self.frames += 1;
        vec![Signal::FrameReady { number: self.frames }]
    }
}

fn low_half(value: u64) -> u32 {
    (value & u64::from(u32::MAX)) as u32
}

#[cfg(test)]
mod tests;
