//! Local states of cores, numbered, and what each does next: executed once by the engine, and remembered.
//!
//! A core is a deterministic function: its local state (registers, and the accesses its instruction has already made) decides
//! which operation comes next, and the local state and the bytes that are read decide what follows. So each pair of the two
//! is executed once, on the real engine, however many states of the whole machine it occurs in.
//! The instructions between two operations that others could observe are no scheduling points and belong to the first.

use super::numbering::Numbering;
use super::op::{Edge, Op};
use crate::machine::staging::Local;
use rustc_hash::FxHashMap;
use siphasher::sip128::{Hasher128, SipHasher13};
use std::collections::BTreeSet;
use std::hash::Hash;
use std::sync::Arc;

/// The number of a local state.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct LocalId(u32);

impl LocalId {
    /// From 0, without gaps.
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

/// What an operation reads: up to 16 bytes, as a number.
pub(super) type Input = u128;

/// Every local state that this thread has met, out of those that all have numbered.
#[derive(Default)]
pub(super) struct Locals {
    all: Arc<Numbering<Local>>,
    met: Vec<Option<Met>>,
    /// Numbers by fingerprint: what this thread has numbered before it need not ask for again.
    numbers: FxHashMap<u128, LocalId>,
}

/// A local state, and what is known of its future.
struct Met {
    local: Arc<Local>,
    op: Option<Op>,
    /// What follows on each input that has been tried.
    edges: Vec<(Input, Edge)>,
}

impl Locals {
    /// For another thread: nothing met, the same numbers.
    pub(super) fn fork(&self) -> Locals {
        Locals { all: Arc::clone(&self.all), ..Locals::default() }
    }

    /// The number of `local`.
    pub(super) fn number(&mut self, local: Local) -> LocalId {
        let name = fingerprint(&local);
        if let Some(&known) = self.numbers.get(&name) {
            return known;
        }
        let (number, local) = self.all.number(local);
        self.numbers.insert(name, LocalId(number));
        self.meet(number as usize, local);
        LocalId(number)
    }

    /// Learns what the number stands for, which another thread may have given.
    pub(super) fn know(&mut self, id: LocalId) {
        let index = id.0 as usize;
        if self.met.get(index).is_none_or(Option::is_none) {
            let local = self.all.value(id.0);
            self.meet(index, local);
        }
    }

    fn meet(&mut self, index: usize, local: Arc<Local>) {
        if self.met.len() <= index {
            self.met.resize_with(index + 1, || None);
        }
        self.met[index].get_or_insert(Met { local, op: None, edges: Vec::new() });
    }

    fn met(&self, id: LocalId) -> &Met {
        self.met[id.0 as usize].as_ref().expect("the number is known to this thread")
    }

    fn met_mut(&mut self, id: LocalId) -> &mut Met {
        self.met[id.0 as usize].as_mut().expect("the number is known to this thread")
    }

    /// The local state with this number.
    pub(super) fn local(&self, id: LocalId) -> &Local {
        &self.met(id).local
    }

    /// What it does next, if that has been tried.
    pub(super) fn op(&self, id: LocalId) -> Option<&Op> {
        self.met(id).op.as_ref()
    }

    /// What follows when it reads `input`, if that has been tried.
    pub(super) fn edge(&self, id: LocalId, input: Input) -> Option<&Edge> {
        self.met(id).edges.iter().find(|(known, _)| *known == input).map(|(_, edge)| edge)
    }

    /// Remembers what it does next.
    pub(super) fn learn_op(&mut self, id: LocalId, op: Op) {
        self.met_mut(id).op = Some(op);
    }

    /// Remembers what follows.
    pub(super) fn learn_edge(&mut self, id: LocalId, input: Input, edge: Edge) {
        self.met_mut(id).edges.push((input, edge));
    }

    /// Forgets what they do, and keeps their numbers.
    pub(super) fn forget(&mut self) {
        for met in self.met.iter_mut().flatten() {
            met.op = None;
            met.edges.clear();
        }
    }

    /// Forgets what those do whose next instruction is at one of these linear addresses.
    pub(super) fn forget_at(&mut self, places: &BTreeSet<u64>) {
        let there = |met: &&mut Met| places.contains(&met.local.cpu.linear_pc());
        for met in self.met.iter_mut().flatten().filter(there) {
            met.op = None;
            met.edges.clear();
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.met.iter().flatten().count()
    }
}

/// What values, each of so many bytes, come to as an input: themselves as long as there is room for them.
pub(super) fn input_of(values: &[(u64, u64)]) -> Input {
    if values.iter().map(|(length, _)| length).sum::<u64>() > 16 {
        return fingerprint(&values);
    }
    values.iter().rev().fold(0, |input, (length, value)| input << (8 * length) | Input::from(*value))
}

/// 128 bits that stand for `value`: of a million million values, the odds that any two share them are below 10^-14.
pub(super) fn fingerprint(value: &impl Hash) -> u128 {
    let mut hasher = SipHasher13::new();
    value.hash(&mut hasher);
    hasher.finish128().as_u128()
}
