//! Processors: where makers differ in what is one access, and in what a load may take out of its core's store buffer.
//!
//! In which order stores become visible is the same for all of them, and is the [memory model](crate::memory_model)'s.
//! A processor is the two answers below, and a row in [`Processor::ALL`].
//!
//! | | `intel` | `amd` and `any` |
//! |---|---|---|
//! | a load or store that is one access | lies within a cache line (SDM 3A 9.1.1) | lies within an aligned 8 bytes (APM 2, 7.3.2) |
//! | a load that no single buffered store covers | waits (Optimization Reference Manual, "Store Forwarding") | waits, or takes the bytes of several if no store to another line stands between them in the buffer |
//!
//! What `intel` does `amd` may do, too: an access in two pieces may be as good as one, and whoever may take bytes may wait
//! for them. So `any`, which must hold on every x86, has the rules of `amd` today; it is a row of its own because those of
//! `amd` may become narrower.
//!
//! That neighbouring stores are put together is documented by nobody. It was measured, on AMD's Zen 3 and Zen 4, and
//! `tests/litmus/native.rs` measures it again.
//!
//! Not modelled: which processors of a maker do more than it promises; and that the two pieces of an access may be made in
//! either order: the lower one is first, here.

use crate::memory::LINE;

/// What all processors do in one access if it is aligned, and AMD's promise no more of: 8 bytes (APM 2, 7.3.2).
const QUADWORD: u64 = 8;

/// The answers that make a processor.
struct Rules {
    name: &'static str,
    summary: &'static str,
    /// Accesses are cut where they cross a multiple of so many bytes.
    whole_within: u64,
    /// Whether a load may take its bytes from several buffered stores.
    joins_stores: bool,
}

/// A kind of processor, by name.
#[derive(Clone, Copy)]
pub struct Processor(&'static Rules);

impl Processor {
    /// Any x86: all that the others may do.
    pub const ANY: Processor = Processor(&Rules {
        name: "any",
        summary: "every x86: what the processors of all makers may do",
        whole_within: QUADWORD,
        joins_stores: true,
    });
    /// Intel's.
    pub const INTEL: Processor = Processor(&Rules {
        name: "intel",
        summary: "Intel's: an access within a cache line is one, and one store forwards to a load or none",
        whole_within: LINE,
        joins_stores: false,
    });
    /// AMD's.
    pub const AMD: Processor = Processor(&Rules {
        name: "amd",
        summary: "AMD's: an access within an aligned 8 bytes is one, and neighbouring stores may forward together",
        whole_within: QUADWORD,
        joins_stores: true,
    });
    /// Every processor, the default first.
    pub const ALL: [Processor; 3] = [Processor::ANY, Processor::INTEL, Processor::AMD];

    /// The processor called `name`.
    pub fn named(name: &str) -> Option<Processor> {
        Processor::ALL.into_iter().find(|processor| processor.name() == name)
    }

    /// `any`, `intel` or `amd`.
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// One line for people.
    pub fn summary(self) -> &'static str {
        self.0.summary
    }

    /// An unlocked access that crosses a multiple of so many bytes is two, and may be torn there.
    pub fn whole_within(self) -> u64 {
        self.0.whole_within
    }

    /// Whether a load that no single buffered store covers may take its bytes from several.
    pub fn joins_stores(self) -> bool {
        self.0.joins_stores
    }
}

impl PartialEq for Processor {
    fn eq(&self, other: &Processor) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Processor {}

impl std::fmt::Debug for Processor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::fmt::Display for Processor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
