//! The linear framebuffer: pixels in write-combining memory, registers behind uncached accesses.

use crate::BootInfo;
use core::arch::asm;
use core::arch::x86_64::__m128;

/// How a pixel is stored; all little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Four bytes: blue, green, red, unused.
    Xrgb8888 = 0,
    /// Two bytes: five bits of red, six of green, five of blue.
    Rgb565 = 1,
    /// One byte of brightness.
    Grey8 = 2,
}

/// Byte offsets of the registers, all 32 bits wide.
mod register {
    pub(super) const WIDTH: usize = 0x04;
    pub(super) const HEIGHT: usize = 0x08;
    pub(super) const PITCH: usize = 0x0c;
    pub(super) const FORMAT: usize = 0x10;
    pub(super) const ENABLE: usize = 0x14;
    pub(super) const PRESENT: usize = 0x18;
    pub(super) const FRAME_CRC: usize = 0x1c;
}

/// The framebuffer of this machine.
#[derive(Clone, Copy, Debug)]
pub struct Framebuffer {
    pixels: *mut u128,
    bytes: usize,
    registers: *mut u32,
}

impl Framebuffer {
    /// Where the machine says it is.
    pub fn new(boot: &BootInfo) -> Self {
        Self {
            pixels: boot.framebuffer_pixels as *mut u128,
            bytes: boot.framebuffer_pixel_bytes as usize,
            registers: boot.framebuffer_registers as *mut u32,
        }
    }

    /// Sets the mode; `pitch` is the distance between rows in bytes.
    pub fn set_mode(&self, width: u32, height: u32, pitch: u32, format: Format) {
        self.write(register::WIDTH, width);
        self.write(register::HEIGHT, height);
        self.write(register::PITCH, pitch);
        self.write(register::FORMAT, format as u32);
        self.write(register::ENABLE, 1);
    }

    /// Stores 16 bytes of pixels with one MOVAPS; `index` counts in units of 16 bytes.
    #[inline(always)]
    pub fn store128(&self, index: usize, value: u128) {
        debug_assert!(index < self.bytes / 16, "outside of the framebuffer's memory");
        // SAFETY: any 16 bytes are a vector.
        let value: __m128 = unsafe { core::mem::transmute(value) };
        // SAFETY: the framebuffer's memory holds nothing of Rust's.
        unsafe {
            asm!("movaps xmmword ptr [{at}], {value}", at = in(reg) self.pixels.byte_add(16 * index),
                value = in(xmm_reg) value, options(nostack, preserves_flags));
        }
    }

    /// Asks the device to latch the picture as it is in memory now.
    #[inline(always)]
    pub fn present(&self) {
        self.write(register::PRESENT, 1);
    }

    /// How many frames were latched.
    pub fn frames(&self) -> u32 {
        self.read(register::PRESENT)
    }

    /// The CRC-32 of the latched frame's visible bytes, as the device saw them.
    pub fn frame_crc(&self) -> u32 {
        self.read(register::FRAME_CRC)
    }

    #[inline(always)]
    fn write(&self, register: usize, value: u32) {
        // SAFETY: the registers are a device's, not Rust's memory.
        unsafe {
            asm!("mov dword ptr [{at}], {value:e}", at = in(reg) self.registers.byte_add(register), value = in(reg) value,
                options(nostack, preserves_flags));
        }
    }

    #[inline(always)]
    fn read(&self, register: usize) -> u32 {
        let value;
        // SAFETY: as for write.
        unsafe {
            asm!("mov {value:e}, dword ptr [{at}]", at = in(reg) self.registers.byte_add(register), value = lateout(reg) value,
                options(nostack, preserves_flags));
        }
        value
    }
}

/// CRC-32 as in Ethernet and PNG (IEEE 802.3), bit by bit: it is meant for the compiler to evaluate.
pub const fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = !0;
    let mut at = 0;
    while at < bytes.len() {
        crc ^= bytes[at] as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
            bit += 1;
        }
        at += 1;
    }
    !crc
}
