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
    /// LOCK-prefixed, XCHG with memory, or serialising: reads and writes in one step, with an empty buffer.
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
    /// MOV to or from CR8: reaches the core's own local APIC, and waits for nothing.
    Priority,
    /// Causes an exception, or is INT n: waits for an empty buffer, and then enters the guest's handler, unless that is not
    /// there and the run ends. What is read on the way is not decided by the local state.
    Enters,
    /// HLT, the end of the explored region, or a return to where cores are parked: takes no steps any more.
    Finished,
    /// Goes on for ever without an operation that others could observe.
    Diverges,
    /// An exception or software interrupt, which ends the run: the guest has no table of handlers.
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
    /// RDRAND or RDSEED: one number of many would be followed.
    DrawsRandom,
    /// A count of a device starts, or its clock is set.
    SetsClock,
    /// A store to bytes that some core executes.
    StoresToCode,
    /// A change of how addresses are translated: a store to page tables, another CR3 or other bits of CR0, CR4 and EFER, or the
    /// loss of a translation that page tables have not said for some time.
    ChangesTranslation,
    /// A change of what type memory has: another IA32_PAT, or other MTRRs.
    ChangesMemoryTypes,
    /// A local APIC comes to another address, or is turned on or off.
    MovesApic,
    /// A far jump, call or return.
    FarTransfer,
    /// A debug exception that the guest handles: a single step, a breakpoint of a debug register, INT1.
    DebugException,
    /// An exception after an instruction has accessed memory in a way that is not told apart from the handler's entry.
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
            Beyond::DrawsRandom => "draws a random number, of which there are many",
            Beyond::SetsClock => "sets a clock, or starts a count",
            Beyond::StoresToCode => "stores to code that is executed",
            Beyond::ChangesTranslation => "changes how addresses are translated",
            Beyond::ChangesMemoryTypes => "changes of what type memory is",
            Beyond::MovesApic => "moves its local APIC, or turns it on or off",
            Beyond::FarTransfer => "goes to another code segment",
            Beyond::DebugException => "enters the handler of a debug exception",
            Beyond::EntersHandler => "enters the handler of an exception after it has accessed memory",
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
    /// What it has stored besides, into its buffer: the frame of a handler, what a serialising instruction stores.
    pub(super) pushes: Vec<Entry>,
}

/// What a processor has accessed that its core's local state does not tell.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Entered {
    /// That, as if it were one operation.
    pub(super) touched: Op,
    /// What would have ended the run if there were no handler, and has led into it.
    pub(super) handled: Option<Fault>,
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
