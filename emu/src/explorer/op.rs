//! What a core does next, as far as others can observe it.

use super::local::LocalId;
use crate::store_buffer::Entry;
use crate::trace::Fault;
use fencepost_devices::PhysAddr;

/// Bytes of memory that an operation touches: at most 8, none across a cache line.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Place {
    pub(super) address: PhysAddr,
    pub(super) length: u64,
}

/// The next operation of a core in some local state. Everything here is decided by that state alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Op {
    /// Nothing that others could observe.
    Nothing,
    /// Reads memory.
    Load(Place),
    /// Writes memory; the bytes are known.
    Store(Entry),
    /// LOCK-prefixed, or XCHG with memory: reads and writes in one step, with an empty buffer.
    Locked {
        /// What it reads.
        loads: Vec<Place>,
        /// What it may write, whatever it reads.
        stores: Vec<Place>,
    },
    /// Waits for an empty buffer and does nothing else that others could observe: MFENCE, CPUID.
    FullFence,
    /// SFENCE.
    StoreFence,
    /// Reaches a device: IN, OUT, an access to uncached memory. Waits for an empty buffer.
    Device,
    /// HLT, the end of the explored region, or a return to where cores are parked: takes no steps any more.
    Finished,
    /// Goes on for ever without an operation that others could observe.
    Diverges,
    /// An exception or software interrupt, which ends the run.
    Fault {
        /// Linear address of the instruction.
        pc: u64,
        /// What it did.
        fault: Fault,
    },
    /// Something the explorer does not follow.
    Beyond {
        /// Linear address of the instruction.
        pc: u64,
        /// Why.
        reason: Beyond,
    },
}

/// Why exploration ends at an instruction.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Beyond {
    /// RDTSC, or a device that tells the time: the clocks are no part of explored states.
    ReadsTime,
    /// A count of a device starts, or its clock is set.
    SetsClock,
    /// A store to bytes that some core executes.
    StoresToCode,
    /// A change of how addresses are translated.
    ChangesTranslation,
    /// An exception or software interrupt that the guest handles.
    EntersHandler,
    /// A timer or another device that does things by itself is running.
    RunsTimer,
    /// A non-maskable interrupt is on its way.
    NonMaskable,
    /// A core is reset or started.
    StartsCores,
    /// A core that others were to wait for comes to its end; said only of what is looked at behind the region.
    ComesToItsEnd,
    /// Too many instructions in a row without an operation that others could observe.
    TooLong,
}

impl std::fmt::Display for Beyond {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Beyond::ReadsTime => "reads the time",
            Beyond::SetsClock => "sets a clock, or starts a count",
            Beyond::StoresToCode => "stores to code that is executed",
            Beyond::ChangesTranslation => "changes how addresses are translated",
            Beyond::EntersHandler => "enters the handler of an exception",
            Beyond::RunsTimer => "goes on while a timer or another device does things by itself",
            Beyond::NonMaskable => "goes on with a non-maskable interrupt on its way",
            Beyond::StartsCores => "resets or starts a core",
            Beyond::ComesToItsEnd => "comes to its end",
            Beyond::TooLong => "has executed too many instructions without touching memory or devices",
        })
    }
}

/// What an operation leads to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Edge {
    /// The core's next local state.
    pub(super) to: LocalId,
    /// How the operation is said as a choice.
    pub(super) taken: Taken,
    /// Steps of instructions after it that are no scheduling points.
    pub(super) then: u64,
    /// What a locked instruction has written.
    pub(super) writes: Vec<Entry>,
}

/// How an operation is said as a choice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Taken {
    /// The rest of the instruction: one step.
    Step,
    /// One access of an instruction that may have more.
    Access,
    /// Nothing: the core is where it was.
    Nothing,
}
