//! RETF in real and virtual-8086 mode, whose new instruction pointer the engine forgets.
//!
//! The engine takes the offset off the stack and then the segment, and a hook on the second access puts its instruction
//! pointer back to the instruction that makes it. So what the first access gets is remembered, and put in place afterwards.

use crate::core::cpu_state::CpuState;
use iced_x86::{Instruction, Mnemonic};

const CR0_PE: u64 = 1;
const FLAGS_VM: u64 = 1 << 17;

/// What is known of the far return that is executing.
#[derive(Clone, Copy)]
pub(in crate::core) enum FarReturn {
    /// It has not read the offset yet.
    Begun,
    /// It goes on at this offset into the new segment.
    To(u64),
}

impl FarReturn {
    /// For `instruction`, which comes next with the registers that `read` gives; `None` when the engine can be left alone.
    pub(in crate::core) fn before(instruction: &Instruction, read: impl Fn() -> CpuState) -> Option<FarReturn> {
        if instruction.mnemonic() != Mnemonic::Retf {
            return None;
        }
        let cpu = read();
        let is_real = cpu.cr0 & CR0_PE == 0 || cpu.rflags & FLAGS_VM != 0;
        is_real.then_some(FarReturn::Begun)
    }

    /// It has read `value`: first the offset, then the segment.
    pub(in crate::core) fn read(&mut self, value: u64) {
        if matches!(self, FarReturn::Begun) {
            *self = FarReturn::To(value);
        }
    }
}
