//! What is looked at in each instruction where somebody asks for it: refusals, alignment, breakpoints, and what SSE raises.

use super::{Extent, PreciseRun};
use crate::core::decode::Class;
use crate::core::engine::Hooked;
use crate::core::floats::{self, Floats, Loaded, Outcome, Raised};
use crate::core::interruption::{Exception, vector};
use crate::core::run::breakpoints;
use crate::core::run::refusal::{self, TableLoad};
use crate::core::tlb::Side;
use fencepost_devices::PhysAddr;

impl PreciseRun<'_, '_> {
    /// Looks at an access, if anything depends on where it is: at alignment first, then for breakpoints.
    pub(super) fn look_at(&mut self, address: PhysAddr, size: u64, is_store: bool) {
        if self.before.is_none() || self.is_abandoned && self.extent != Extent::Rehearsal {
            return;
        }
        if self.mode.aligns && !address.0.is_multiple_of(size) {
            let exception = Exception::new(vector::ALIGNMENT_CHECK, 0);
            self.refusal = self.before.take().map(|before| (exception, before));
            self.is_abandoned = true;
            return;
        }
        let Some(before) = self.before.as_ref().filter(|_| self.mode.breaks) else { return };
        for breakpoint in breakpoints::on_data(before, is_store) {
            let at = self.core.tlb.translate(Side::Data, breakpoint.linear, &self.mode, self.world.memory);
            let is_touched = |at: PhysAddr| at.0 < address.0 + size && address.0 < at.0 + breakpoint.length;
            if at.is_some_and(is_touched) {
                self.breakpoints |= breakpoint.bit;
            }
        }
    }

    /// Looks for breakpoints on `port`, which is about to be accessed.
    pub(super) fn look_at_port(&mut self, port: u16, size: u64) {
        if let Some(before) = self.before.as_ref().filter(|_| self.mode.breaks) {
            self.breakpoints |= breakpoints::on_ports(before, port, size);
        }
    }

    /// Judges what the instruction that has executed has raised: it may be refused for it. Returns the flags to be set.
    pub(super) fn judge_floats(&mut self, floats: &Floats) -> Raised {
        let is_in_vain = self.is_abandoned && self.extent != Extent::Rehearsal;
        let (Some(current), Some(before), None, false) = (&self.current, &self.before, &self.refusal, is_in_vain)
        else {
            return Raised::empty();
        };
        let outcome = if current.class == Class::MediaControl {
            let exception = Exception::new(vector::GENERAL_PROTECTION, 0);
            Outcome { flags: Raised::empty(), exception: floats::is_reserved(&floats.after).then_some(exception) }
        } else if let Some(instruction) = self.instruction_at(current.pc).filter(|_| self.mode.floats) {
            floats::judge(&instruction, before, self.loaded, floats)
        } else {
            return Raised::empty();
        };
        let Some(exception) = outcome.exception else { return outcome.flags };
        self.refusal = self.before.take().map(|mut before| {
            before.mxcsr |= outcome.flags.bits();
            (exception, before)
        });
        self.is_abandoned = true;
        Raised::empty()
    }

    /// Notes `bytes` that the instruction that is executing loads, one after the other, where they are looked at.
    pub(super) fn note_loaded(&mut self, bytes: &[u8]) {
        if self.mode.floats {
            let Loaded { value, length } = &mut self.loaded;
            for &byte in bytes.iter().take(16 - *length) {
                *value |= u128::from(byte) << (8 * *length);
                *length += 1;
            }
        }
    }

    /// Notes what the load of `size` bytes at `address`, that is about to happen, finds in memory.
    pub(super) fn note_load(&mut self, engine: Hooked, address: PhysAddr, size: u64) {
        if self.mode.floats {
            let mut bytes = vec![0; size as usize];
            for (address, size, from) in self.pieces(engine, address, size) {
                self.world.memory.read(address, &mut bytes[from as usize..(from + size) as usize]);
            }
            self.note_loaded(&bytes);
        }
    }

    /// Whether the instruction at `pc` is refused before it begins; looks out for what it is refused for later.
    pub(super) fn is_refused_at_once(&mut self, engine: Hooked, pc: u64) -> bool {
        let Some(instruction) = self.instruction_at(pc) else { return false };
        if !refusal::concerns(&instruction) {
            return false;
        }
        let mut before = Box::new(engine.registers());
        self.table_load = TableLoad::before(&instruction, &before);
        self.refusal = refusal::at_once(&instruction, &mut before).map(|exception| (exception, before));
        self.is_abandoned |= self.refusal.is_some();
        self.refusal.is_some()
    }

    /// Refuses the load of a table whose base is what is read now, and no address: nothing of it takes effect.
    pub(super) fn refuse_base(&mut self, engine: Hooked, address: PhysAddr, size: u64) {
        let mut bytes = vec![0; size as usize];
        for (address, size, from) in self.pieces(engine, address, size) {
            self.world.memory.read(address, &mut bytes[from as usize..(from + size) as usize]);
        }
        self.refusal = self.table_load.as_mut().and_then(|load| load.read(&bytes));
        self.is_abandoned |= self.refusal.is_some();
    }
}
