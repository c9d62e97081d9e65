//! What a task that has just been switched to begins with (SDM 3A 8.2.1, 8.3).

use crate::core::cpu_state::Segment;

/// The type of a 32-bit task state segment, and where it lies in a descriptor's flags.
const WIDE: u32 = 1 << 11;
/// Offsets in one: the instruction pointer, and the debug trap flag.
const EIP: u64 = 0x20;
const DEBUG_TRAP: u64 = 0x64;
/// In one of 16 bits, which has no such flag.
const IP: u64 = 0x0e;
/// DR6.BT.
const TRAPPED: u64 = 1 << 15;

/// A task.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Task {
    /// Where it begins.
    pub(super) instruction_pointer: u64,
    /// The debug exception before its first instruction, as in DR6; 0 if there is none.
    pub(super) trap: u64,
}

impl Task {
    /// That of `segment`, which `read` reads.
    pub(super) fn read(segment: Segment, read: impl Fn(u64, &mut [u8])) -> Task {
        let word = |offset: u64| {
            let mut bytes = [0; 2];
            read(segment.base.wrapping_add(offset), &mut bytes);
            u64::from(u16::from_le_bytes(bytes))
        };
        if segment.flags & WIDE == 0 {
            return Task { instruction_pointer: word(IP), trap: 0 };
        }
        let trap = if word(DEBUG_TRAP) & 1 != 0 { TRAPPED } else { 0 };
        Task { instruction_pointer: word(EIP + 2) << 16 | word(EIP), trap }
    }
}
