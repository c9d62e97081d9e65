//! Devices as they were met, numbered: most states share them.

use super::numbering::Numbering;
use crate::board::Board;
use std::collections::HashMap;
use std::sync::Arc;

/// The number of a state of all devices and of the writes on their way to them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct BoardId(u32);

/// Every state of the devices that this thread has met, out of those that all have numbered.
#[derive(Default)]
pub(super) struct Boards {
    all: Arc<Numbering<Board>>,
    met: HashMap<BoardId, Arc<Board>>,
}

impl Boards {
    /// For another thread: nothing met, the same numbers.
    pub(super) fn fork(&self) -> Boards {
        Boards { all: Arc::clone(&self.all), ..Boards::default() }
    }

    /// The number of `board`.
    pub(super) fn number(&mut self, board: Board) -> BoardId {
        let (number, board) = self.all.number(board);
        self.met.insert(BoardId(number), board);
        BoardId(number)
    }

    /// Learns what the number stands for, which another thread may have given.
    pub(super) fn know(&mut self, id: BoardId) {
        self.met.entry(id).or_insert_with(|| self.all.value(id.0));
    }

    /// The devices with this number.
    pub(super) fn board(&self, id: BoardId) -> &Board {
        &self.met[&id]
    }
}
