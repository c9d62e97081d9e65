//! Memory models: which stores are buffered, and in what order a core's buffered stores may drain.
//!
//! Everything the models share (same-byte order, fences, forwarding) is in [`store_buffer`](crate::store_buffer);
//! a model is the two answers below. To add one: a file in `memory_model/` and a row in [`MemoryModel::ALL`].

mod pso;
mod sc;
mod tso;

use crate::store_buffer::StoreKind;

/// The answers that make a model.
struct Rules {
    name: &'static str,
    summary: &'static str,
    /// Whether a store waits in the buffer; otherwise it commits at once.
    buffers: fn(StoreKind) -> bool,
    /// Whether an older entry of the first kind must drain before a younger one of the second kind.
    keeps_order: fn(StoreKind, StoreKind) -> bool,
}

/// A memory model, by name.
#[derive(Clone, Copy)]
pub struct MemoryModel(&'static Rules);

impl MemoryModel {
    /// Sequential consistency.
    pub const SC: MemoryModel = MemoryModel(&sc::RULES);
    /// Total store order: what x86 processors do.
    pub const TSO: MemoryModel = MemoryModel(&tso::RULES);
    /// Partial store order: a teaching contrast, not x86.
    pub const PSO: MemoryModel = MemoryModel(&pso::RULES);
    /// Every model, strongest first.
    pub const ALL: [MemoryModel; 3] = [MemoryModel::SC, MemoryModel::TSO, MemoryModel::PSO];

    /// The model called `name`.
    pub fn named(name: &str) -> Option<MemoryModel> {
        MemoryModel::ALL.into_iter().find(|model| model.name() == name)
    }

    /// `sc`, `tso` or `pso`.
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// One line for people.
    pub fn summary(self) -> &'static str {
        self.0.summary
    }

    /// Whether a store of `kind` waits in the store buffer.
    pub fn buffers(self, kind: StoreKind) -> bool {
        (self.0.buffers)(kind)
    }

    /// Whether an older store of kind `older` must become visible before a younger one of kind `younger`.
    pub fn keeps_order(self, older: StoreKind, younger: StoreKind) -> bool {
        (self.0.keeps_order)(older, younger)
    }
}

impl PartialEq for MemoryModel {
    fn eq(&self, other: &MemoryModel) -> bool {
        self.name() == other.name()
    }
}

impl Eq for MemoryModel {}

impl std::fmt::Debug for MemoryModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::fmt::Display for MemoryModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
