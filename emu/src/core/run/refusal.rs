//! What the engine executes and a processor refuses, with a general protection fault and before anything has changed:
//!
//! - LGDT, LIDT, LLDT and LTR of a base that is not canonical (APM 3, the pages of the four; the SDM leaves it out);
//! - LTR of a null selector (SDM 2A, LTR);
//! - a bit of the upper half of DR6 or DR7 (SDM 2B, "MOV - Move to/from Debug Registers").
//!
//! And with a debug exception: debug registers that DR7.GD guards (SDM 3B 18.2.4, 18.3.1.3).
//!
//! What control registers refuse is in `core/emulate/control.rs`.

use super::{GUARD, RESUME_FLAG};
use crate::core::cpu_state::CpuState;
use crate::core::emulate::privilege;
use crate::core::interruption::{Exception, vector};
use crate::core::paging::Mode;
use iced_x86::{Instruction, Mnemonic, OpKind, Register};

/// DR6.BD: a guarded debug register would have been accessed.
const GUARDED: u64 = 1 << 13;

/// The exception that an instruction is, and the registers before it.
pub(in crate::core) type Refused = (Exception, Box<CpuState>);

/// Whether `instruction` can be refused at all.
pub(in crate::core) fn concerns(instruction: &Instruction) -> bool {
    use Mnemonic::*;
    matches!(instruction.mnemonic(), Lgdt | Lidt | Lldt | Ltr) || accesses_debug_registers(instruction)
}

fn accesses_debug_registers(instruction: &Instruction) -> bool {
    instruction.op0_register().is_dr() || instruction.op1_register().is_dr()
}

/// What `instruction` is refused for before it reads anything, with the registers `cpu`, which tell of it.
pub(in crate::core) fn at_once(instruction: &Instruction, cpu: &mut CpuState) -> Option<Exception> {
    if accesses_debug_registers(instruction) && cpu.dr[7] & GUARD != 0 && privilege::level(cpu) == 0 {
        cpu.dr[6] |= GUARDED;
        // Unlike a breakpoint on the instruction (SDM 3B 18.3.1.1).
        cpu.rflags |= RESUME_FLAG;
        return Some(Exception::new(vector::DEBUG, 0));
    }
    let value = |operand: u32| cpu.gpr[instruction.op_register(operand).full_register().number()];
    let is_refused = match instruction.mnemonic() {
        Mnemonic::Ltr => instruction.op0_kind() == OpKind::Register && is_null(value(0) as u32),
        Mnemonic::Mov if matches!(instruction.op0_register(), Register::DR6 | Register::DR7) => {
            Mode::of(cpu).bits == 64 && value(1) >> 32 != 0
        }
        _ => false,
    };
    is_refused.then(|| general_protection(0))
}

/// The load of a table's base that is executing: what it reads tells whether it is refused.
#[derive(Clone)]
pub(in crate::core) struct TableLoad {
    mnemonic: Mnemonic,
    /// The registers before it.
    before: Box<CpuState>,
    /// The selector of a descriptor, once it is known.
    selector: Option<u32>,
    /// Reads still to come before that of the base, or of its upper half.
    reads_left: u32,
}

impl TableLoad {
    /// For `instruction`, which comes next with the registers `cpu`; `None` when the engine can be left alone.
    pub(in crate::core) fn before(instruction: &Instruction, cpu: &CpuState) -> Option<TableLoad> {
        let mnemonic = instruction.mnemonic();
        let (selector, reads_left) = match (mnemonic, instruction.op0_kind()) {
            // The limit, and then the base as a whole.
            (Mnemonic::Lgdt | Mnemonic::Lidt, _) => (None, 1),
            // The descriptor by doublewords.
            (Mnemonic::Lldt | Mnemonic::Ltr, OpKind::Register) => {
                (Some(cpu.gpr[instruction.op0_register().full_register().number()] as u32), 2)
            }
            // The selector, and then the same.
            (Mnemonic::Lldt | Mnemonic::Ltr, _) => (None, 3),
            _ => return None,
        };
        Some(TableLoad { mnemonic, before: Box::new(cpu.clone()), selector, reads_left })
    }

    /// It reads `bytes`, which may be what it is refused for.
    pub(in crate::core) fn read(&mut self, bytes: &[u8]) -> Option<Refused> {
        let exception = match self.reads_left.checked_sub(1) {
            Some(left) => {
                self.reads_left = left;
                self.read_selector(bytes)
            }
            None => self.read_base(bytes),
        };
        exception.map(|exception| (exception, self.before.clone()))
    }

    fn read_selector(&mut self, bytes: &[u8]) -> Option<Exception> {
        let is_descriptor = matches!(self.mnemonic, Mnemonic::Lldt | Mnemonic::Ltr);
        if !is_descriptor || self.selector.is_some() {
            return None;
        }
        let selector = u32::from(u16::from_le_bytes(bytes.try_into().ok()?));
        self.selector = Some(selector);
        (self.mnemonic == Mnemonic::Ltr && is_null(selector)).then(|| general_protection(0))
    }

    /// All 8 bytes of the base, or in a descriptor the upper 4; outside of long mode there are only the lower 4.
    fn read_base(&self, bytes: &[u8]) -> Option<Exception> {
        if self.selector.is_none() && bytes.len() < 8 {
            return None;
        }
        let upper = i32::from_le_bytes(*bytes.last_chunk()?);
        let is_canonical = matches!(upper >> 15, 0 | -1);
        (!is_canonical).then(|| general_protection(self.selector.unwrap_or(0) & 0xfffc))
    }
}

fn is_null(selector: u32) -> bool {
    selector & 0xfffc == 0
}

fn general_protection(error_code: u32) -> Exception {
    Exception::new(vector::GENERAL_PROTECTION, error_code)
}
