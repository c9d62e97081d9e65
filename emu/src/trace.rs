//! What happens in a machine, as a stream of events, and the hash that names a run.
//!
//! Two runs are the same run exactly when their trace hashes are equal. The hash covers every event but the
//! [details](Event::is_detail), which exist only while they are asked for.

use crate::core::CoreId;
use crate::core::decode::Mark;
use crate::core::interruption::{Source, vector};
use crate::memory::MemoryType;
use crate::store_buffer::StoreKind;
use serde::Serialize;
use siphasher::sip::SipHasher13;
use std::hash::{Hash, Hasher};

/// Something that happened.
///
/// Addresses are guest-physical except `pc`, which is linear; `width` and `length` are bytes.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum Event {
    /// A core has taken `steps` steps and is at `pc` now; its clock stands at `clock`.
    Ran { core: CoreId, steps: u64, clock: u64, pc: u64 },
    /// A core has made one access of an instruction that makes several.
    Accessed { core: CoreId, pc: u64 },
    /// A buffered store has become visible to all.
    Drained { core: CoreId, address: u64, length: u8, value: u64, kind: StoreKind },
    /// Detail: a load of memory, with what it got.
    Loaded {
        core: CoreId,
        pc: u64,
        address: u64,
        length: u8,
        value: u64,
        #[serde(skip_serializing_if = "MemoryType::is_write_back")]
        memory: MemoryType,
    },
    /// Detail: a store to memory; `buffered` when other cores do not see it yet.
    Stored {
        core: CoreId,
        pc: u64,
        address: u64,
        length: u8,
        value: u64,
        buffered: bool,
        #[serde(skip_serializing_if = "MemoryType::is_write_back")]
        memory: MemoryType,
    },
    /// IN.
    PortRead { core: CoreId, port: u16, width: u8, value: u64 },
    /// OUT.
    PortWritten { core: CoreId, port: u16, width: u8, value: u64 },
    /// A load from a device register.
    DeviceRead { core: CoreId, address: u64, width: u8, value: u64 },
    /// A store to a device register has left the core; it is on its way.
    Posted { core: CoreId, address: u64, width: u8, value: u64 },
    /// A posted store has arrived at its device.
    Arrived { core: CoreId, address: u64, width: u8, value: u64 },
    /// An access that no device answers: it reads as all ones.
    Unanswered { core: CoreId, address: u64, port: bool },
    /// A byte has left the machine on the serial line.
    Serial { byte: u8 },
    /// A byte has been written to the debug console.
    DebugConsole { byte: u8 },
    /// An interrupt line has changed.
    Irq { line: u8, raised: bool },
    /// A display has latched its frame number `number`.
    FrameReady { number: u64 },
    /// A core has halted.
    Halted { core: CoreId },
    /// A core has done what it cannot recover from.
    Faulted { core: CoreId, pc: u64, fault: Fault },
    /// The guest has ended the run.
    Exited { code: u8 },
    /// A core has passed a mark of the explored region.
    Marked { core: CoreId, mark: Mark },
    /// A core has been interrupted at `pc` and has entered a handler of the guest: that of `vector`, or of another exception
    /// on the way to it; `address` is CR2 for page faults.
    Interrupted { core: CoreId, pc: u64, vector: u32, source: Source, error_code: u32, address: u64, entered: u32 },
    /// A message of an interrupt controller to cores, its delivery mode numbered as in the registers (SDM 3A 11.6.1).
    Sent { delivery: u8, vector: u8 },
    /// A store to a device register that is not posted: the local APIC's.
    DeviceWritten { core: CoreId, address: u64, width: u8, value: u64 },
    /// Somebody has typed a character on the keyboard.
    Typed { byte: u8 },
    /// A byte has arrived at the serial port from outside.
    Received { byte: u8 },
    /// Every core waits, and time has gone on to `time`, when the next device does something.
    Passed { time: u64 },
    /// A core has been reset and waits for a start-up.
    CoreReset { core: CoreId },
    /// A core has been started at `pc`.
    Started { core: CoreId, pc: u64 },
    /// The mouse has moved to the right and away from the user, and its buttons are now `buttons`, as in its packets.
    MouseMoved { dx: i16, dy: i16, buttons: u8 },
}

impl Event {
    /// Whether the event is left out of the hash, because it is reported only on request.
    pub fn is_detail(&self) -> bool {
        matches!(self, Event::Loaded { .. } | Event::Stored { .. })
    }
}

/// What a guest did that ends its run: exceptions are named here when the guest has no handler for them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum Fault {
    /// An exception, INT3 and INTO included; `address` is CR2 for page faults.
    Exception { vector: u32, error_code: u32, address: u64 },
    /// INT n, or an interrupt from outside the core.
    Interrupt { vector: u32, source: Source },
    /// Instructions were fetched from where there is no memory.
    NothingToFetch,
}

impl Fault {
    /// What it is to a guest without a handler that `source` interrupts it with `vector`; `address` is CR2 for page faults.
    pub(crate) fn of(vector: u32, source: Source, error_code: u32, address: u64) -> Fault {
        let is_instruction = source == Source::Exception
            || source == Source::Software && matches!(vector, vector::BREAKPOINT | vector::OVERFLOW);
        if is_instruction {
            Fault::Exception { vector, error_code, address }
        } else {
            Fault::Interrupt { vector, source }
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Fault::Exception { vector: 14, error_code, address } => {
                let access = match (error_code & 0x10 != 0, error_code & 2 != 0) {
                    (true, _) => "executing",
                    (_, true) => "writing",
                    (_, false) => "reading",
                };
                write!(f, "page fault (#PF, vector 14, error code {error_code:#x}) {access} {address:#x}")
            }
            Fault::Exception { vector, error_code, .. } => match exception_name(vector) {
                Some(name) => write!(f, "{name}, vector {vector}, error code {error_code:#x}"),
                None => write!(f, "exception, vector {vector}, error code {error_code:#x}"),
            },
            Fault::Interrupt { vector: 2, source: Source::Hardware } => f.write_str("non-maskable interrupt (NMI)"),
            Fault::Interrupt { vector, source } => {
                let kind =
                    if source == Source::Hardware { "interrupt of a device or core" } else { "software interrupt" };
                write!(f, "{kind}, vector {vector:#x}")
            }
            Fault::NothingToFetch => f.write_str("instruction fetch from where there is no memory"),
        }
    }
}

/// The manual's name of an exception (SDM 3A, table 6-1).
fn exception_name(vector: u32) -> Option<&'static str> {
    Some(match vector {
        0 => "divide error (#DE)",
        1 => "debug exception (#DB)",
        3 => "breakpoint (#BP)",
        4 => "overflow (#OF)",
        5 => "bound range exceeded (#BR)",
        6 => "invalid opcode (#UD)",
        7 => "device not available (#NM)",
        8 => "double fault (#DF)",
        10 => "invalid TSS (#TS)",
        11 => "segment not present (#NP)",
        12 => "stack fault (#SS)",
        13 => "general protection (#GP)",
        14 => "page fault (#PF)",
        16 => "x87 error (#MF)",
        17 => "alignment check (#AC)",
        19 => "SIMD error (#XM)",
        _ => return None,
    })
}

/// An event with the name of the device register it is about, where there is one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Line {
    /// The event.
    #[serde(flatten)]
    pub event: Event,
    /// `device > REGISTER`; only while details are on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub register: Option<String>,
}

/// The events since they were last taken, and the hash of all of them.
#[derive(Clone, Debug)]
pub struct EventLog {
    lines: Vec<Line>,
    hasher: SipHasher13,
    details: bool,
    /// Which events interrupt the choice in which they happen.
    breaks_on: Option<fn(&Event) -> bool>,
    is_broken: bool,
    /// From which of the lines on they are what a core does on its way into a handler.
    entry: Option<usize>,
}

impl EventLog {
    /// An empty log, without details.
    pub(crate) fn new() -> EventLog {
        let (lines, hasher) = (Vec::new(), SipHasher13::new());
        EventLog { lines, hasher, details: false, breaks_on: None, is_broken: false, entry: None }
    }

    /// Whether loads, stores and register names are wanted.
    pub(crate) fn details(&self) -> bool {
        self.details
    }

    pub(crate) fn set_details(&mut self, details: bool) {
        self.details = details;
    }

    /// Makes events that satisfy `condition` end a core's turn.
    pub(crate) fn set_break(&mut self, condition: Option<fn(&Event) -> bool>) {
        self.breaks_on = condition;
    }

    /// Whether such an event has happened in this turn.
    pub(crate) fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// A new turn begins.
    pub(crate) fn mend(&mut self) {
        self.is_broken = false;
    }

    /// Adds an event.
    pub(crate) fn push(&mut self, event: Event) {
        self.push_named(event, || None);
    }

    /// Adds an event about a device register.
    pub(crate) fn push_named(&mut self, event: Event, register: impl FnOnce() -> Option<String>) {
        if event.is_detail() {
            if !self.details {
                return;
            }
        } else {
            event.hash(&mut self.hasher);
        }
        self.is_broken |= self.breaks_on.is_some_and(|breaks| breaks(&event));
        let register = if self.details { register() } else { None };
        self.lines.push(Line { event, register });
    }

    /// The hash of everything so far.
    pub(crate) fn hash(&self) -> u64 {
        self.hasher.finish()
    }

    /// The events since they were last taken.
    pub(crate) fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// The events since the last call.
    pub(crate) fn take(&mut self) -> Vec<Line> {
        self.entry = None;
        std::mem::take(&mut self.lines)
    }

    /// What follows a core does on its way into a handler.
    pub(crate) fn begin_entry(&mut self) {
        self.entry.get_or_insert(self.lines.len());
    }

    /// How many of the lines come before the first entry of a handler.
    pub(crate) fn before_entry(&self) -> usize {
        self.entry.unwrap_or(self.lines.len())
    }

    /// Goes on from where `other` was, without its lines.
    pub(crate) fn resume_from(&mut self, other: &EventLog) {
        self.hasher = other.hasher;
        self.lines.clear();
        self.entry = None;
    }
}
