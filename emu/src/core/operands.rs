//! Where an instruction's memory operands are, from its registers: only needed where the engine does not say.

use super::Core;
use super::cpu_state::{CpuState, SegmentName};
use super::decode::{self, Class};
use super::paging::Mode;
use super::tlb::Side;
use crate::memory::Memory;
use crate::processor::Processor;
use fencepost_devices::PhysAddr;
use iced_x86::{Instruction, InstructionInfoFactory, Mnemonic, OpAccess, Register, UsedMemory};
use std::ops::Range;

/// The linear address ranges that `instruction` may access, from the registers before it executes.
pub(crate) fn linear_ranges(instruction: &Instruction, cpu: &CpuState) -> Vec<Range<u64>> {
    let mut factory = InstructionInfoFactory::new();
    let info = factory.info(instruction);
    let ranges = info.used_memory().iter().filter_map(|operand| {
        let start = operand.virtual_address(0, |register, _, _| register_value(register, cpu))?;
        let size = operand.memory_size().size().max(1) as u64;
        Some(start..start.saturating_add(size))
    });
    ranges.collect()
}

/// Whether `instruction`, in 64-bit code, goes to the stack segment for an address that is not canonical.
pub(crate) fn leaves_stack(instruction: &Instruction, cpu: &CpuState) -> bool {
    let is_canonical = |address: u64| matches!(address as i64 >> 47, 0 | -1);
    let mut factory = InstructionInfoFactory::new();
    let info = factory.info(instruction);
    // By its base: other segments than FS and GS make no difference there (SDM 1 3.4.2.1).
    let is_stack = |operand: &&UsedMemory| {
        let is_other = matches!(operand.segment(), Register::FS | Register::GS);
        !is_other && matches!(operand.base().full_register(), Register::RSP | Register::RBP)
    };
    info.used_memory().iter().filter(is_stack).any(|operand| {
        let start = operand.virtual_address(0, |register, _, _| register_value(register, cpu));
        let last = operand.memory_size().size().max(1) as u64 - 1;
        start.is_some_and(|start| !is_canonical(start) || !is_canonical(start.wrapping_add(last)))
    })
}

/// The linear address of the memory operand of `instruction`, whatever it does there.
pub(crate) fn linear_address(instruction: &Instruction, cpu: &CpuState) -> Option<u64> {
    instruction.virtual_address(0, 0, |register, _, _| register_value(register, cpu))
}

/// The value of `register` as address arithmetic needs it: segment registers give their base.
fn register_value(register: Register, cpu: &CpuState) -> Option<u64> {
    let segment = match register {
        Register::ES => Some(SegmentName::Es),
        Register::CS => Some(SegmentName::Cs),
        Register::SS => Some(SegmentName::Ss),
        Register::DS => Some(SegmentName::Ds),
        Register::FS => Some(SegmentName::Fs),
        Register::GS => Some(SegmentName::Gs),
        _ => None,
    };
    if let Some(name) = segment {
        return Some(cpu.segment(name).base);
    }
    let full = register.full_register();
    if !full.is_gpr64() {
        return None;
    }
    let value = cpu.gpr[full.number()];
    Some(match register.size() {
        8 => value,
        4 => value & 0xffff_ffff,
        2 => value & 0xffff,
        _ => value & 0xff,
    })
}

/// The instruction at linear address `pc`, as `core` would fetch it; `None` when there is none.
pub(crate) fn instruction_at(pc: u64, core: &Core, memory: &Memory) -> Option<Instruction> {
    let mode = Mode::of(&core.cpu);
    let mut bytes = [0; 15];
    let length = core.tlb.fetch(pc, &mode, memory, &mut bytes);
    decode::decode(&bytes[..length], pc, mode.bits)
}

/// Whether the next instruction of `core` may make several accesses that another core can step between.
pub(crate) fn has_several_accesses(core: &Core, memory: &Memory, processor: Processor) -> bool {
    let cpu = &core.cpu;
    let Some(instruction) = instruction_at(cpu.linear_pc(), core, memory) else { return false };
    if decode::classify(&instruction) == Class::Locked {
        return false;
    }
    let mut factory = InstructionInfoFactory::new();
    let operands = factory.info(&instruction).used_memory();
    let accesses = operands.iter().map(|operand| {
        // A repeated string instruction's operand has no size of its own: it is as many rounds as RCX says.
        let size = operand.memory_size().size().max(instruction.memory_size().size()) as u64;
        let pieces = match operand.virtual_address(0, |register, _, _| register_value(register, cpu)) {
            Some(start) => atomic_pieces(start, size, processor.whole_within()),
            None => 2,
        };
        pieces * directions(operand.access())
    });
    accesses.sum::<u64>() > 1
}

/// How many accesses `size` bytes at `start` are at least: 8 bytes each at most, none across a multiple of `border`.
fn atomic_pieces(start: u64, size: u64, border: u64) -> u64 {
    let quadwords = size.div_ceil(8).max(1);
    let crosses = start % border + size.max(1) > border;
    quadwords + u64::from(crosses)
}

/// Reads and writes of one operand.
fn directions(access: OpAccess) -> u64 {
    match access {
        OpAccess::ReadWrite | OpAccess::ReadCondWrite => 2,
        OpAccess::None | OpAccess::NoMemAccess => 0,
        OpAccess::Read | OpAccess::CondRead | OpAccess::Write | OpAccess::CondWrite => 1,
    }
}

/// How many instructions ahead an exchange is looked for.
const LOOKED_AHEAD: usize = 8;

/// The memory of the next XCHG or CMPXCHG, as far as the registers tell where that is: its place and length in bytes.
pub(crate) fn next_exchange(core: &Core, memory: &Memory) -> Option<(PhysAddr, u64)> {
    let cpu = &core.cpu;
    let mode = Mode::of(cpu);
    let mut pc = cpu.linear_pc();
    for _ in 0..LOOKED_AHEAD {
        let instruction = instruction_at(pc, core, memory)?;
        if matches!(instruction.mnemonic(), Mnemonic::Xchg | Mnemonic::Cmpxchg) {
            let range = linear_ranges(&instruction, cpu).into_iter().next()?;
            let physical = core.tlb.translate(Side::Data, range.start, &mode, memory)?;
            return Some((physical, range.end.wrapping_sub(range.start).min(8)));
        }
        pc = pc.wrapping_add(instruction.len() as u64);
    }
    None
}
