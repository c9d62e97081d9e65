//! Breakpoints on data and ports: those of DR0 to DR3 that DR7 enables for stores, for loads and stores, or for ports (SDM 3B
//! 18.2.4, 18.2.5).
//!
//! An access that touches one ends, with its instruction, in a debug exception that DR6 tells more of (18.3.1.2). Breakpoints on
//! instructions are the engine's.

use crate::core::cpu_state::CpuState;
use iced_x86::{Instruction, Mnemonic, Register};

/// What DR7 says a breakpoint is for.
const ON_STORES: u64 = 1;
const ON_PORTS: u64 = 2;
const ON_ACCESSES: u64 = 3;
/// CR4.DE: without it there are no breakpoints on ports.
const DEBUGGING_EXTENSIONS: u64 = 1 << 3;

/// A breakpoint on data, or on ports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct DataBreakpoint {
    /// Its bit in DR6.
    pub(super) bit: u64,
    pub(super) linear: u64,
    pub(super) length: u64,
}

/// The breakpoints of `cpu` that a load, or a store, meets.
pub(super) fn on_data(cpu: &CpuState, is_store: bool) -> impl Iterator<Item = DataBreakpoint> {
    of_kinds(cpu, move |kind| kind == ON_ACCESSES || kind == ON_STORES && is_store)
}

/// The breakpoints of `cpu` that an access of `bytes` bytes at `port` touches, as in DR6.
pub(super) fn on_ports(cpu: &CpuState, port: u16, bytes: u64) -> u64 {
    let has_any = cpu.cr4 & DEBUGGING_EXTENSIONS != 0;
    let (first, end) = (u64::from(port), u64::from(port) + bytes);
    let touched = of_kinds(cpu, move |kind| has_any && kind == ON_PORTS)
        .filter(|breakpoint| breakpoint.linear < end && first < breakpoint.linear.saturating_add(breakpoint.length));
    touched.fold(0, |bits, breakpoint| bits | breakpoint.bit)
}

/// The enabled breakpoints of `cpu` whose kind `is_met`.
fn of_kinds(cpu: &CpuState, is_met: impl Fn(u64) -> bool) -> impl Iterator<Item = DataBreakpoint> {
    let dr7 = cpu.dr[7];
    (0..4).filter_map(move |index| {
        let is_enabled = dr7 >> (2 * index) & 3 != 0;
        let kind = dr7 >> (16 + 4 * index) & 3;
        let length = [1, 2, 8, 4][(dr7 >> (18 + 4 * index) & 3) as usize];
        let linear = cpu.dr[index] & !(length - 1);
        (is_enabled && is_met(kind)).then_some(DataBreakpoint { bit: 1 << index, linear, length })
    })
}

/// Whether `instruction` holds breakpoints on the next one off: MOV and POP to SS (SDM 3A 6.8.3).
pub(super) fn are_held_off_by(instruction: &Instruction) -> bool {
    matches!(instruction.mnemonic(), Mnemonic::Mov | Mnemonic::Pop) && instruction.op0_register() == Register::SS
}
