//! Devices as they were met, numbered: most states share them.

use super::local::fingerprint;
use crate::board::Board;
use std::collections::HashMap;

/// The number of a state of all devices and of the writes on their way to them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct BoardId(u32);

/// Every state of the devices met so far.
#[derive(Default)]
pub(super) struct Boards {
    met: Vec<Board>,
    numbers: HashMap<u128, BoardId>,
}

impl Boards {
    /// The number of `board`.
    pub(super) fn number(&mut self, board: Board) -> BoardId {
        let next = BoardId(u32::try_from(self.met.len()).expect("there are fewer than 2^32 states of the devices"));
        let number = *self.numbers.entry(fingerprint(&board)).or_insert(next);
        if number == next {
            self.met.push(board);
        }
        number
    }

    /// The devices with this number.
    pub(super) fn board(&self, id: BoardId) -> &Board {
        &self.met[id.0 as usize]
    }
}
