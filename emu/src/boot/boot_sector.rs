//! Starting a boot sector (IBM PC AT Technical Reference, INT 19h): the first sector of disk 0 at 0000:7c00 in real mode.
//!
//! Core 0 starts at the BIOS's own first instruction, which programs the interrupt controllers and the timer and then jumps
//! to the sector with DL = 0x80, a stack below it and interrupts on.

use super::{bios, firmware, put};
use crate::core::cpu_state::{CpuState, Segment};
use crate::loader::Image;
use crate::machine::Settings;
use crate::memory::Memory;

/// Puts BIOS, vectors and sector into `memory`; returns the first core's registers.
pub(super) fn boot(image: &Image, settings: &Settings, memory: &mut Memory) -> CpuState {
    for segment in image.segments() {
        put(memory, segment.address, &segment.bytes);
    }
    firmware::put_all(memory, image, settings);
    let mut cpu = super::start_up_state(&super::reset_state(), (bios::SEGMENT >> 8) as u8);
    cpu.rip = bios::ENTRY.into();
    cpu.idt = Segment::table(0, 0x3ff);
    // As firmware leaves them, and so that x87 code works without FNINIT.
    (cpu.cr0, cpu.x87_control, cpu.x87_empty) = (0x10, 0x37f, [1; 8]);
    cpu
}
