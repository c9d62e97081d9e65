//! Which of a core's code is at work: the code that was interrupted, or the handler of an interrupt, or one that has
//! interrupted that handler. On one core they are parties as cores are to each other.
//!
//! A handler begins with the delivery of its interrupt and ends with the next IRET that no handler within it has taken
//! (SDM 3A 7.12.1, 7.14). What it keeps on its stack, from the frame that the processor has pushed downwards, is its own.
//! Left out: a handler that is left without IRET, as by a switch to another thread, goes on until some IRET, and one in which
//! a story begins is taken for what it has interrupted.

use super::op::Place;
use crate::core::CoreId;
use std::ops::Range;

/// Bytes below the stack pointer that code may use, too (System V ABI for AMD64, 3.2.2).
const RED_ZONE: u64 = 128;

/// A stack that is said to be deeper than this is another one, which the handler has gone over to: Linux's have 16 KiB.
const DEEPEST_STACK: u64 = 16 << 10;

/// What code is at work.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Level {
    /// In how many handlers the core is, each of which has interrupted the one before.
    pub(super) handlers: usize,
    /// What is the last one's own: physical addresses of its stack, and of the frame that its interrupt has pushed.
    pub(super) own: Range<u64>,
}

/// The handlers that each core is in.
pub(super) struct Handlers(Vec<Vec<Handler>>);

/// A handler that has not ended.
struct Handler {
    /// The end of the frame: there its stack begins.
    top: u64,
    /// Where its stack pointer has been lowest.
    lowest: u64,
}

impl Handlers {
    /// So many cores, none in a handler.
    pub(super) fn of(cores: usize) -> Handlers {
        Handlers((0..cores).map(|_| Vec::new()).collect())
    }

    /// `core` has `pushed` a frame, the youngest of it last, on its way into a handler.
    pub(super) fn enter(&mut self, core: CoreId, pushed: &[Place]) {
        let lowest = pushed.last().map_or(0, |place| place.address.0);
        let is_near = |place: &&Place| place.address.0.abs_diff(lowest) < DEEPEST_STACK;
        let top = pushed.iter().filter(is_near).map(|place| place.address.0 + place.length).max().unwrap_or(lowest);
        self.0[core.index()].push(Handler { top, lowest });
    }

    /// `core` has executed IRET. Returns whether that has ended a handler.
    pub(super) fn leave(&mut self, core: CoreId) -> bool {
        self.0[core.index()].pop().is_some()
    }

    /// What is at work on `core`, whose stack pointer is at this physical address now; `None` where that is not known.
    pub(super) fn level(&mut self, core: CoreId, stack_pointer: Option<u64>) -> Level {
        let handlers = &mut self.0[core.index()];
        let Some(last) = handlers.last_mut() else { return Level::default() };
        let is_same_stack = |at: &u64| (last.top.saturating_sub(DEEPEST_STACK)..last.top).contains(at);
        last.lowest = stack_pointer.filter(is_same_stack).map_or(last.lowest, |at| at.min(last.lowest));
        Level { own: last.lowest.saturating_sub(RED_ZONE)..last.top, handlers: self.0[core.index()].len() }
    }
}
