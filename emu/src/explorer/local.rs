//! Local states of cores, numbered, and what each does next: executed once by the engine, and remembered.
//!
//! A core is a deterministic function: its local state (registers, and the accesses its instruction has already made) decides
//! which operation comes next, and the local state and the bytes that are read decide what follows. So each pair of the two
//! is executed once, on the real engine, however many states of the whole machine it occurs in.
//! The instructions between two operations that others could observe are no scheduling points and belong to the first.

use super::op::{Edge, Op};
use crate::machine::staging::Local;
use siphasher::sip128::{Hasher128, SipHasher13};
use std::collections::HashMap;
use std::hash::Hash;

/// The number of a local state.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct LocalId(u32);

/// What an operation reads: up to 16 bytes, as a number.
pub(super) type Input = u128;

/// Every local state met so far.
#[derive(Default)]
pub(super) struct Locals {
    met: Vec<Met>,
    numbers: HashMap<u128, LocalId>,
}

/// A local state, and what is known of its future.
struct Met {
    local: Local,
    op: Option<Op>,
    /// What follows on each input that has been tried.
    edges: Vec<(Input, Edge)>,
}

impl Locals {
    /// The number of `local`.
    pub(super) fn number(&mut self, local: Local) -> LocalId {
        let next = LocalId(u32::try_from(self.met.len()).expect("there are fewer than 2^32 local states"));
        let number = *self.numbers.entry(fingerprint(&local)).or_insert(next);
        if number == next {
            self.met.push(Met { local, op: None, edges: Vec::new() });
        }
        number
    }

    /// The local state with this number.
    pub(super) fn local(&self, id: LocalId) -> &Local {
        &self.met[id.0 as usize].local
    }

    /// All of them, with what they do next.
    pub(super) fn all(&self) -> impl Iterator<Item = (&Local, Option<&Op>)> {
        self.met.iter().map(|met| (&met.local, met.op.as_ref()))
    }

    /// What it does next, if that has been tried.
    pub(super) fn op(&self, id: LocalId) -> Option<&Op> {
        self.met[id.0 as usize].op.as_ref()
    }

    /// What follows when it reads `input`, if that has been tried.
    pub(super) fn edge(&self, id: LocalId, input: Input) -> Option<&Edge> {
        self.met[id.0 as usize].edges.iter().find(|(known, _)| *known == input).map(|(_, edge)| edge)
    }

    /// Remembers what it does next.
    pub(super) fn learn_op(&mut self, id: LocalId, op: Op) {
        self.met[id.0 as usize].op = Some(op);
    }

    /// Remembers what follows.
    pub(super) fn learn_edge(&mut self, id: LocalId, input: Input, edge: Edge) {
        self.met[id.0 as usize].edges.push((input, edge));
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.met.len()
    }
}

/// 128 bits that stand for `value`: of a million million values, the odds that any two share them are below 10^-14.
pub(super) fn fingerprint(value: &impl Hash) -> u128 {
    let mut hasher = SipHasher13::new();
    value.hash(&mut hasher);
    hasher.finish128().as_u128()
}
