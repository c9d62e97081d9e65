//! What is known about recently executed instructions, by address.

use crate::core::decode::{self, Class};
use crate::core::paging::Mode;
use crate::core::tlb::{Lost, Tlb};
use crate::memory::Memory;
use iced_x86::Instruction;

/// Slots in the table; a power of two.
const SLOTS: usize = 2048;

/// What is known about an instruction.
#[derive(Clone, Copy)]
pub(super) struct Known {
    /// What it is to the memory model.
    pub(super) class: Class,
    /// See [`decode::is_cmpxchg_of_halves`].
    pub(super) is_cmpxchg_of_halves: bool,
    /// See [`decode::loses_flags`].
    pub(super) loses_flags: bool,
}

impl Known {
    /// Nothing special.
    pub(super) const PLAIN: Known = Known { class: Class::Plain, is_cmpxchg_of_halves: false, loses_flags: false };
}

/// The table, valid for one way of translating addresses and until code changes.
#[derive(Default)]
pub(super) struct Decoded {
    mode: Mode,
    slots: Vec<Option<(u64, Known)>>,
}

impl Decoded {
    /// Forgets what was remembered under another mode.
    pub(super) fn enter(&mut self, mode: Mode) {
        if self.mode != mode || self.slots.is_empty() {
            *self = Decoded { mode, slots: vec![None; SLOTS] };
        }
    }

    /// Forgets everything, because code has changed.
    pub(super) fn forget(&mut self) {
        self.slots.fill(None);
    }

    /// How addresses are translated.
    pub(super) fn mode(&self) -> Mode {
        self.mode
    }

    /// The instruction at `pc`, when its bytes can be read: an invalid one where no processor has one.
    pub(super) fn instruction(&self, pc: u64, tlb: &Tlb, memory: &Memory) -> Option<Instruction> {
        let mut bytes = [0; 15];
        let length = tlb.fetch(pc, &self.mode, memory, &mut bytes);
        decode::fetched(&bytes[..length], pc, self.mode.bits)
    }

    /// What is known about the instruction at `pc`, whose pages are noted as such that code was fetched from.
    ///
    /// Plain when its bytes cannot be read or decoded: the engine will fault on it.
    pub(super) fn classify(&mut self, pc: u64, tlb: &mut Tlb, memory: &Memory, lost: &mut Lost) -> Known {
        let slot = (pc ^ pc >> 11) as usize % SLOTS;
        if let Some((at, known)) = self.slots[slot]
            && at == pc
        {
            return known;
        }
        let Some(instruction) = self.instruction(pc, tlb, memory) else { return Known::PLAIN };
        for at in [pc, pc + instruction.len() as u64 - 1] {
            tlb.note_fetch(at, &self.mode, memory, lost);
        }
        if lost.code {
            self.forget();
        }
        let class = decode::classify(&instruction);
        let is_cmpxchg_of_halves = decode::is_cmpxchg_of_halves(&instruction);
        let known = Known { class, is_cmpxchg_of_halves, loses_flags: decode::loses_flags(&instruction) };
        self.slots[slot] = Some((pc, known));
        known
    }
}
