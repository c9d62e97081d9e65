//! Fences that a program has, whatever they look like, and the program without one of them.
//!
//! Compilers make a sequentially consistent fence of MFENCE or of a locked instruction that changes nothing (`lock or [rsp], 0`),
//! and a sequentially consistent store of XCHG, whose result nobody looks at. All of these drain the core's buffer (SDM 3A
//! 9.2.2), and of each one can ask whether the program is right without.
//! *Without* is another program, of the same length: a NOP instead of the fence, a MOV instead of the XCHG. What is said of it
//! is found by exploring that program, so a register that is wrongly taken not to be needed makes no wrong verdict, only one
//! nobody asked for.
//!
//! Left out: locked instructions whose result counts, CPUID and others that serialise, and what only the values in registers
//! make a fence (`lock or [rsp], eax`).

use crate::core::decode::{self, Class};
use iced_x86::{
    FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register, RflagsBits, UsedRegister,
};
use rustc_hash::FxHashSet;
use serde::Serialize;

/// Instructions that are followed to find out whether a value is needed; it is, where that is not known by then.
const FARTHEST: usize = 512;

/// The flags that arithmetic leaves behind.
const STATUS: u32 = RflagsBits::OF | RflagsBits::SF | RflagsBits::ZF | RflagsBits::AF | RflagsBits::PF | RflagsBits::CF;

/// What a fence of the program's own is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OwnFence {
    /// MFENCE.
    Full,
    /// SFENCE.
    Store,
    /// A locked instruction that changes nothing, and whose flags nobody looks at.
    LockedNothing,
    /// XCHG with memory, whose result nobody looks at: a store and a fence.
    Exchange,
}

impl OwnFence {
    /// What `instruction` is, in code of so many `bits`, where `fetch` has the instruction at an address.
    pub(super) fn of(
        instruction: &Instruction,
        bits: u32,
        fetch: impl FnMut(u64) -> Option<Instruction>,
    ) -> Option<OwnFence> {
        let class = decode::classify(instruction);
        if class == Class::FullFence {
            return Some(OwnFence::Full);
        }
        if class == Class::StoreFence {
            return Some(OwnFence::Store);
        }
        let (fence, result) = if class == Class::Locked && changes_nothing(instruction) {
            (OwnFence::LockedNothing, Value::Flags)
        } else if class == Class::Locked && can_be_mov(instruction, bits) {
            (OwnFence::Exchange, Value::Register(instruction.op1_register().full_register()))
        } else {
            return None;
        };
        result.is_dead(instruction.next_ip(), bits, fetch).then_some(fence)
    }

    /// Makes `bytes`, which are the instruction, those of what is there without the fence.
    pub(super) fn leave_out(self, bytes: &mut [u8]) {
        match self {
            OwnFence::Full | OwnFence::Store | OwnFence::LockedNothing => {
                let (last, prefixes) = bytes.split_last_mut().expect("an instruction has bytes");
                prefixes.fill(OPERAND_SIZE);
                *last = NOP;
            }
            OwnFence::Exchange => {
                let opcode = bytes.iter().position(|byte| matches!(*byte, 0x86 | 0x87));
                let (opcode, prefixes) =
                    bytes[..=opcode.expect("no prefix looks like XCHG")].split_last_mut().expect("it is not empty");
                // MOV is two further on, with the same operands (SDM 2B, MOV and XCHG).
                *opcode += 2;
                prefixes.iter_mut().filter(|byte| **byte == LOCK).for_each(|byte| *byte = DATA_SEGMENT);
            }
        }
    }
}

const NOP: u8 = 0x90;
const LOCK: u8 = 0xf0;
/// Before a NOP it changes nothing, however often it is there.
const OPERAND_SIZE: u8 = 0x66;
/// In 64-bit code it changes nothing (SDM 2A 2.1.1).
const DATA_SEGMENT: u8 = 0x3e;

/// Whether what `instruction`, which is locked, writes is what was there, whatever the registers hold.
fn changes_nothing(instruction: &Instruction) -> bool {
    let Ok(operand) = instruction.try_immediate(1) else { return false };
    let bytes = instruction.memory_size().size();
    let all_ones = u64::MAX >> (64 - 8 * bytes.clamp(1, 8));
    match instruction.mnemonic() {
        Mnemonic::Or | Mnemonic::Xor | Mnemonic::Add | Mnemonic::Sub => operand & all_ones == 0,
        Mnemonic::And => operand & all_ones == all_ones,
        _ => false,
    }
}

/// Whether `instruction` is an XCHG with memory that becomes a MOV with other bytes in the same places.
fn can_be_mov(instruction: &Instruction, bits: u32) -> bool {
    instruction.mnemonic() == Mnemonic::Xchg
        && instruction.op0_kind() == OpKind::Memory
        && !instruction.has_xacquire_prefix()
        && !instruction.has_xrelease_prefix()
        && (bits == 64 || !instruction.has_lock_prefix())
}

/// What an instruction leaves behind.
#[derive(Clone, Copy)]
enum Value {
    /// In a whole register.
    Register(Register),
    /// In the flags.
    Flags,
}

/// What an instruction does with a value.
enum Fate {
    Needed,
    Overwritten,
    Kept,
}

impl Value {
    /// Whether nobody looks at the value that is there before the instruction at `from`, on whatever path.
    ///
    /// Of callers and of functions that are called by address only what everybody agrees on is known: the flags and some
    /// registers are theirs to change (System V ABI, AMD64 supplement, 3.2.1).
    fn is_dead(self, from: u64, bits: u32, mut fetch: impl FnMut(u64) -> Option<Instruction>) -> bool {
        let mut seen = FxHashSet::default();
        let mut open = vec![from];
        while let Some(at) = open.pop() {
            if !seen.insert(at) {
                continue;
            }
            let Some(instruction) = fetch(at).filter(|_| seen.len() <= FARTHEST) else { return false };
            match self.fate(&instruction) {
                Fate::Needed => return false,
                Fate::Overwritten => continue,
                Fate::Kept => (),
            }
            match instruction.flow_control() {
                FlowControl::Next => open.push(instruction.next_ip()),
                FlowControl::ConditionalBranch => {
                    open.extend([instruction.next_ip(), instruction.near_branch_target()]);
                }
                FlowControl::UnconditionalBranch if instruction.is_jmp_short_or_near() => {
                    open.push(instruction.near_branch_target());
                }
                // What is dead where the function returns is dead after the call.
                FlowControl::Call if instruction.is_call_near() => open.push(instruction.near_branch_target()),
                FlowControl::Return if self.is_dead_at_return(bits) => (),
                _ => return false,
            }
        }
        true
    }

    fn fate(self, instruction: &Instruction) -> Fate {
        // Marks do nothing, though they are made of XCHG.
        if decode::mark_of(instruction).is_some() {
            return Fate::Kept;
        }
        match self {
            Value::Flags if instruction.rflags_read() & STATUS != 0 => Fate::Needed,
            Value::Flags if instruction.rflags_modified() & STATUS == STATUS => Fate::Overwritten,
            Value::Flags => Fate::Kept,
            Value::Register(register) => {
                let mut factory = InstructionInfoFactory::new();
                let uses = factory.info(instruction).used_registers().iter();
                let uses: Vec<&UsedRegister> = uses.filter(|it| it.register().full_register() == register).collect();
                if uses.iter().any(|it| !matches!(it.access(), OpAccess::Write | OpAccess::CondWrite)) {
                    Fate::Needed
                } else if uses.iter().any(|it| it.access() == OpAccess::Write && it.register().size() >= 4) {
                    Fate::Overwritten
                } else {
                    Fate::Kept
                }
            }
        }
    }

    fn is_dead_at_return(self, bits: u32) -> bool {
        match self {
            Value::Flags => true,
            Value::Register(Register::RCX) => true,
            Value::Register(
                Register::RSI | Register::RDI | Register::R8 | Register::R9 | Register::R10 | Register::R11,
            ) => bits == 64,
            Value::Register(_) => false,
        }
    }
}
