//! Exceptions and interrupts: what interrupts a core, and what comes of it (SDM 3A chapter 6).
//!
//! A core enters the guest's handler through its IDT: gates, a change of privilege, stacks of the TSS and the IST, and an
//! exception on the way, which is delivered in place of the first, as a double fault where the manual says so (6.15,
//! interrupt 8). QEMU's own code does that (`engine/shim.c`). What the machine adds: the store buffer drains first (12.10),
//! and the frame is pushed by ordinary stores.
//!
//! A guest that has no IDT comes to a triple fault at its first exception, and that ends the run with the first exception's
//! name: a processor would shut down, and a PC start again.
//!
//! Left out: virtual-8086 extensions.

use super::cpu_state::CpuState;

const FLAGS_IF: u64 = 1 << 9;

/// Vectors of exceptions (SDM 3A, table 6-1).
#[allow(missing_docs)]
pub mod vector {
    pub const DIVIDE_ERROR: u32 = 0;
    pub const DEBUG: u32 = 1;
    pub const NON_MASKABLE: u32 = 2;
    pub const BREAKPOINT: u32 = 3;
    pub const OVERFLOW: u32 = 4;
    pub const INVALID_OPCODE: u32 = 6;
    pub const DOUBLE_FAULT: u32 = 8;
    pub const STACK_FAULT: u32 = 12;
    pub const GENERAL_PROTECTION: u32 = 13;
    pub const PAGE_FAULT: u32 = 14;
    pub const ALIGNMENT_CHECK: u32 = 17;
    pub const SIMD_FLOATING_POINT: u32 = 19;
}

/// Where an interruption comes from. The shim knows the same numbers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[repr(i32)]
pub enum Source {
    /// An exception that an instruction has caused.
    Exception,
    /// INT n, INT3 or INTO: the gate's privilege level is checked.
    Software,
    /// An interrupt from outside the core.
    Hardware,
}

/// An exception or interrupt that a core is about to take.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Exception {
    pub(crate) vector: u32,
    pub(crate) source: Source,
    /// Zero for those that have none.
    pub(crate) error_code: u32,
}

impl Exception {
    /// An exception that an instruction has caused.
    pub(crate) fn new(vector: u32, error_code: u32) -> Exception {
        Exception { vector, source: Source::Exception, error_code }
    }
}

bitflags::bitflags! {
    /// What decides whether an interrupt may come to a core. The shim knows the same bits.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(crate) struct Openness: u32 {
        /// RFLAGS.IF.
        const INTERRUPT_FLAG = 1;
        /// The one instruction after STI or MOV SS (SDM 3A 6.8.3).
        const SHADOW = 1 << 1;
        /// An NMI is being handled (SDM 3A 6.7.1).
        const NMI_BLOCKED = 1 << 2;
    }
}

impl Openness {
    /// Of a core in state `cpu`.
    pub(crate) fn of(cpu: &CpuState) -> Openness {
        let mut openness = Openness::empty();
        openness.set(Openness::INTERRUPT_FLAG, cpu.rflags & FLAGS_IF != 0);
        openness.set(Openness::SHADOW, cpu.interrupt_shadow != 0);
        openness.set(Openness::NMI_BLOCKED, cpu.nmi_blocked != 0);
        openness
    }

    /// Whether an interrupt that can be masked may come now.
    pub(crate) fn admits_maskable(self) -> bool {
        self.contains(Openness::INTERRUPT_FLAG) && !self.contains(Openness::SHADOW)
    }

    /// Whether a non-maskable interrupt may come now.
    pub(crate) fn admits_nmi(self) -> bool {
        !self.intersects(Openness::SHADOW | Openness::NMI_BLOCKED)
    }
}

impl Exception {
    /// An interrupt from outside the core.
    pub(crate) fn interrupt(vector: u8) -> Exception {
        Exception { vector: vector.into(), source: Source::Hardware, error_code: 0 }
    }
}

/// What has come of an interruption.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Delivery {
    /// The handler of `vector` is entered: the one asked for, or that of an exception on the way to it.
    Entered { vector: u32 },
    /// Not even the double fault could be delivered.
    TripleFault,
    /// The processor looked where there is no memory.
    NoMemory,
}
