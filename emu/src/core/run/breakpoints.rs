//! Breakpoints on data: those of DR0 to DR3 that DR7 enables for stores, or for loads and stores (SDM 3B 18.2.4, 18.2.5).
//!
//! An access that touches one ends, with its instruction, in a debug exception that DR6 tells more of (18.3.1.2).
//! Left out: breakpoints on ports, DR7.GD.

use crate::core::cpu_state::CpuState;
use iced_x86::{Instruction, Mnemonic, Register};

/// What DR7 says a breakpoint is for.
const ON_STORES: u64 = 1;
const ON_ACCESSES: u64 = 3;

/// A breakpoint on data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct DataBreakpoint {
    /// Its bit in DR6.
    pub(super) bit: u64,
    pub(super) linear: u64,
    pub(super) length: u64,
}

/// The breakpoints of `cpu` that a load, or a store, meets.
pub(super) fn on_data(cpu: &CpuState, is_store: bool) -> impl Iterator<Item = DataBreakpoint> {
    let dr7 = cpu.dr[7];
    (0..4).filter_map(move |index| {
        let is_enabled = dr7 >> (2 * index) & 3 != 0;
        let kind = dr7 >> (16 + 4 * index) & 3;
        let is_met = kind == ON_ACCESSES || kind == ON_STORES && is_store;
        let length = [1, 2, 8, 4][(dr7 >> (18 + 4 * index) & 3) as usize];
        let linear = cpu.dr[index] & !(length - 1);
        (is_enabled && is_met).then_some(DataBreakpoint { bit: 1 << index, linear, length })
    })
}

/// Whether `instruction` holds breakpoints on the next one off: MOV and POP to SS (SDM 3A 6.8.3).
pub(super) fn are_held_off_by(instruction: &Instruction) -> bool {
    matches!(instruction.mnemonic(), Mnemonic::Mov | Mnemonic::Pop) && instruction.op0_register() == Register::SS
}
