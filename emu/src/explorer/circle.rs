//! A machine whose cores take turns and come back to a state goes round for ever: whoever waits for its end need not.
//!
//! (Brent, An Improved Monte Carlo Factorization Algorithm, BIT 20, 1980: the state after 2^n rounds is compared with those that
//! follow.) Clocks do not count, so that a guest that reads the time may go on all the same; what is noticed here is where to
//! look closer, and no proof.

use crate::board::Board;
use crate::core::CoreId;
use crate::machine::Machine;
use crate::machine::staging::Local;
use crate::memory::Memory;
use crate::store_buffer::StoreBuffer;

/// Rounds before a state is kept: most guests have come to their end by then.
const FIRST_KEPT: usize = 256;
/// How often all of memory is compared with the state that is kept: that takes long, and one that only counts would never be
/// in it again. What goes round in more rounds where the cores look alike is not noticed.
const MOST_COMPARED: usize = 64;

/// Notices that a machine is in a state again.
#[derive(Default)]
pub(super) struct Circle {
    rounds: usize,
    kept: Option<Kept>,
    /// How often the state kept has been compared.
    compared: usize,
}

/// A state.
#[derive(PartialEq, Eq)]
struct Kept {
    cores: Vec<(Local, StoreBuffer)>,
    board: Board,
    memory: Memory,
}

impl Circle {
    /// Whether `machine`, after another round, is where it was once before.
    pub(super) fn closes(&mut self, machine: &mut Machine) -> bool {
        self.rounds += 1;
        if self.rounds >= FIRST_KEPT && self.rounds.is_power_of_two() {
            let (board, memory) = (machine.outer_state().board.clone(), machine.outer_state().memory.clone());
            self.kept = Some(Kept { cores: cores(machine), board, memory });
            self.compared = 0;
            return false;
        }
        let Some(kept) = self.kept.as_ref().filter(|_| self.compared < MOST_COMPARED) else { return false };
        let programs = || (0..kept.cores.len()).map(|index| CoreId(index as u8));
        let is_near =
            |(core, (local, _)): (CoreId, &(Local, StoreBuffer))| machine.linear_pc(core) == local.cpu.linear_pc();
        if !programs().zip(&kept.cores).all(is_near) {
            return false;
        }
        if cores(machine) != kept.cores || machine.outer_state().board != kept.board {
            return false;
        }
        self.compared += 1;
        machine.outer_state().memory == kept.memory
    }
}

fn cores(machine: &mut Machine) -> Vec<(Local, StoreBuffer)> {
    let buffers: Vec<StoreBuffer> = machine.outer_state().cores.iter().map(|core| core.buffer.clone()).collect();
    let at = buffers.into_iter().enumerate();
    at.map(|(index, buffer)| (machine.local(CoreId(index as u8)), buffer)).collect()
}
