//! Entering a kernel in 32-bit protected mode without paging, as Multiboot and PVH do (Multiboot Specification 0.6.96, 3.2;
//! Xen, "x86/HVM direct boot ABI").
//!
//! Both leave the GDT and the stack undefined. Here the GDT is in the firmware's memory, flat code at 0x08 and flat data at
//! 0x10 as under QEMU, and the stack pointer is below a boot sector's place, in memory that is free.
//! There is no IDT: an exception before the kernel loads one ends the run.

use super::{firmware, put};
use crate::core::cpu_state::{CpuState, Segment, SegmentName, gpr};
use crate::memory::Memory;

const CODE: u64 = 0x00cf_9b00_0000_ffff;
const DATA: u64 = 0x00cf_9300_0000_ffff;
const CODE_SELECTOR: u32 = 0x08;
const DATA_SELECTOR: u32 = 0x10;
/// CR0: PE and ET.
const CR0: u64 = 0x11;
const STACK: u64 = 0x7c00;

/// The registers of a core about to execute at physical address `entry`, with EAX and EBX as its protocol says.
pub(super) fn enter(memory: &mut Memory, entry: u64, eax: u32, ebx: u64) -> CpuState {
    for (index, descriptor) in [0, CODE, DATA].into_iter().enumerate() {
        put(memory, firmware::GDT + 8 * index as u64, &descriptor.to_le_bytes());
    }
    let mut cpu = CpuState {
        rip: entry,
        rflags: 2,
        segments: [Segment::flat(DATA_SELECTOR, (DATA >> 32) as u32); 6],
        gdt: Segment::table(firmware::GDT, 3 * 8 - 1),
        tr: Segment { limit: 0x67, flags: 0x8b00, ..Segment::default() },
        ldt: Segment { limit: 0xffff, flags: 0x8200, ..Segment::default() },
        cr0: CR0,
        dr: [0, 0, 0, 0, 0, 0, 0xffff_0ff0, 0x400],
        pat: 0x0007_0406_0007_0406,
        xcr0: 1,
        x87_empty: [1; 8],
        x87_control: 0x37f,
        mxcsr: 0x1f80,
        ..CpuState::default()
    };
    cpu.segments[SegmentName::Cs as usize] = Segment::flat(CODE_SELECTOR, (CODE >> 32) as u32);
    cpu.gpr[gpr::RAX] = eax.into();
    cpu.gpr[gpr::RBX] = ebx;
    cpu.gpr[gpr::RSP] = STACK;
    cpu
}
