//! The upper halves that a CMPXCHG of 4 bytes leaves alone and the engine clears.
//!
//! See [`decode::is_cmpxchg_of_halves`](crate::core::decode::is_cmpxchg_of_halves). What was not written is put back after the
//! instruction. Whether the comparison succeeded shows in the accumulator: a failure loads something else into it.

use crate::core::cpu_state::gpr;
use iced_x86::{Instruction, OpKind};

/// The registers that a CMPXCHG of 4 bytes may have to leave alone.
#[derive(Clone, Copy)]
pub(in crate::core) struct Halves {
    accumulator: u64,
    /// The destination, where it is a register: number and value.
    destination: Option<(usize, u64)>,
}

impl Halves {
    /// For `instruction`, which comes next; `None` when nothing can get lost. `read` gives the registers before it.
    pub(in crate::core) fn before(instruction: &Instruction, read: impl Fn(usize) -> u64) -> Option<Halves> {
        let destination =
            (instruction.op0_kind() == OpKind::Register).then(|| instruction.op0_register().full_register().number());
        if destination == Some(gpr::RAX) {
            // Compared with itself: it succeeds, and the destination is written.
            return None;
        }
        let halves =
            Halves { accumulator: read(gpr::RAX), destination: destination.map(|number| (number, read(number))) };
        let has_upper = |value: u64| value >> 32 != 0;
        let is_wide = has_upper(halves.accumulator) || halves.destination.is_some_and(|(_, value)| has_upper(value));
        is_wide.then_some(halves)
    }

    /// The register to put back, and its value, where `accumulator` is what the instruction has left there.
    ///
    /// Nothing changes when the instruction has not executed after all.
    pub(in crate::core) fn to_put_back(self, accumulator: u64) -> Option<(usize, u64)> {
        let has_succeeded = accumulator as u32 == self.accumulator as u32;
        if has_succeeded { Some((gpr::RAX, self.accumulator)) } else { self.destination }
    }
}
