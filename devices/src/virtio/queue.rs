//! A virtqueue as the device goes through it (2.7.13, 2.7.14): one request at a time, one read of memory at a time.
//!
//! `avail.idx`, ring entry, descriptors, contents; then the answer, used element, `used.idx`, `avail.flags`.
//! A read is answered with what memory holds when it is answered, so of two equal questions it makes no difference
//! which one an answer is for, and an answer that nobody waits for any more, as after a reset, is not missed.

use super::chain::{Broken, Chain, Walk, Walked};
use super::ring::Ring;
use crate::now::Now;
use crate::{PhysAddr, Signal, TICKS_PER_SECOND, Ticks};

/// How long a queue stays as it is after its last request, with notifications still suppressed: a few instructions,
/// in which a driver may make another one available.
const REST: u64 = 10;

/// How long the device waits for memory to answer, 10 ms: longer than any slice of a core, and nothing to a person.
///
/// A machine in which so much time passes before it tells the device of an event, or answers, breaks it.
const PATIENCE: u64 = TICKS_PER_SECOND / 100;

/// In `avail.flags`: the driver wants no interrupt (2.7.7).
const NO_INTERRUPT: u16 = 1;

/// A queue's rings, how far the device is in them, and what it does with it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Queue {
    pub(super) ring: Ring,
    ready: bool,
    /// What `avail.idx` was last seen to be.
    offered: u16,
    /// Buffers taken; never after `offered`.
    taken: u16,
    /// Buffers used: what `used.idx` is.
    used: u16,
    activity: Activity,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
enum Activity {
    /// Until there is an occasion.
    #[default]
    Idle,
    Waiting {
        until: Ticks,
        then: Then,
    },
    /// Memory is to answer.
    Asking {
        read: Read,
        about: About,
        /// When the device gives up.
        patience: Ticks,
    },
}

/// What comes after waiting.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Then {
    /// The next request.
    Take,
    /// The queue was empty.
    Rest,
}

/// A read of memory.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Read {
    address: PhysAddr,
    length: u64,
}

/// What is read.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum About {
    /// `avail.idx`, to take a request.
    Index,
    /// `avail.idx`, after notifications were wanted again.
    IndexAgain,
    /// An entry of the available ring.
    Entry,
    Descriptor(Walk),
    /// A readable buffer of the chain; those before it are in `contents`.
    Contents {
        chain: Chain,
        at: usize,
        contents: Vec<u8>,
    },
    /// `avail.flags`.
    Flags,
}

/// What an answer of memory leads to.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Progress {
    /// The next read.
    On(Vec<Signal>),
    /// No buffer is available.
    Nothing,
    /// A request is whole: it is to be used, or left.
    Request(Chain, Request),
    /// A request is over.
    Over(Notice),
}

/// What a driver asks for.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Request {
    Whole {
        /// All bytes that the device reads, however they were spread.
        contents: Vec<u8>,
        /// How many it can write.
        room: u64,
    },
    /// It is longer than the device takes, and was not read.
    TooLong { room: u64 },
}

/// Whether the driver wants to be told of a used buffer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Notice {
    Interrupt,
    Silence,
}

/// What a queue may contain.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Limits {
    /// Whether indirect descriptors were negotiated.
    pub(super) indirect: bool,
    /// The most bytes of a request, in each direction.
    pub(super) bytes: u64,
}

impl Queue {
    pub(super) fn is_ready(&self) -> bool {
        self.ready
    }

    pub(super) fn is_idle(&self) -> bool {
        self.activity == Activity::Idle
    }

    /// The driver says whether the queue can be used (4.2.2, QueueReady); one that makes no sense stays unready.
    pub(super) fn set_ready(&mut self, ready: bool) {
        let ring = std::mem::take(&mut self.ring);
        *self = Queue { ready: ready && ring.is_sound(), ring, ..Queue::default() };
    }

    /// The device stops where it is.
    pub(super) fn stop(&mut self) {
        self.activity = Activity::Idle;
    }

    /// When the queue's next step is due.
    pub(super) fn next_event(&self) -> Option<Ticks> {
        match self.activity {
            Activity::Idle => None,
            Activity::Waiting { until, .. } => Some(until),
            Activity::Asking { patience, .. } => Some(patience),
        }
    }

    /// The driver notifies: from now on it need not.
    pub(super) fn notified(&mut self, now: Now, latency: Ticks) -> Vec<Signal> {
        if !self.is_idle() {
            return Vec::new();
        }
        self.wait(now, latency);
        vec![self.suppress_notifications(true)]
    }

    /// The device wants a buffer.
    pub(super) fn take(&mut self, now: Now) -> Vec<Signal> {
        self.ask(now, self.ring.available_index(), 2, About::Index)
    }

    /// The moment of [`Queue::next_event`] has come.
    pub(super) fn due(&mut self, now: Now) -> Result<Vec<Signal>, Broken> {
        match self.activity {
            Activity::Idle => Ok(Vec::new()),
            Activity::Waiting { then: Then::Take, .. } => Ok(self.take(now)),
            Activity::Waiting { then: Then::Rest, .. } => {
                let mut signals = vec![self.suppress_notifications(false)];
                signals.extend(self.ask(now, self.ring.available_index(), 2, About::IndexAgain));
                Ok(signals)
            }
            Activity::Asking { read, .. } => Err(Broken::NoMemory { address: read.address }),
        }
    }

    /// What the queue waits for.
    #[cfg(test)]
    pub(super) fn awaited(&self) -> Option<(PhysAddr, u64)> {
        match &self.activity {
            Activity::Asking { read, .. } => Some((read.address, read.length)),
            Activity::Idle | Activity::Waiting { .. } => None,
        }
    }

    /// Whether the queue waits for these bytes; no bytes say that there is no memory.
    pub(super) fn awaits(&self, address: PhysAddr, bytes: &[u8]) -> bool {
        match &self.activity {
            Activity::Asking { read, .. } => {
                read.address == address && (bytes.is_empty() || read.length == bytes.len() as u64)
            }
            Activity::Idle | Activity::Waiting { .. } => false,
        }
    }

    /// Memory answers what the queue [awaits](Queue::awaits).
    pub(super) fn answer(
        &mut self,
        now: Now,
        bytes: &[u8],
        limits: Limits,
        latency: Ticks,
    ) -> Result<Progress, Broken> {
        let Activity::Asking { read, about, .. } = std::mem::take(&mut self.activity) else {
            return Ok(Progress::On(Vec::new()));
        };
        if bytes.is_empty() {
            return Err(Broken::NoMemory { address: read.address });
        }
        match about {
            About::Index => {
                self.offer(number(bytes))?;
                Ok(self.take_entry(now))
            }
            About::IndexAgain => {
                self.offer(number(bytes))?;
                Ok(Progress::On(self.rest_or_go_on(now, latency)))
            }
            About::Entry => {
                let walk = Walk::from(number(bytes), self.ring.descriptors, self.ring.size)?;
                Ok(self.ask_descriptor(now, walk))
            }
            About::Descriptor(walk) => match walk.step(bytes.try_into().unwrap_or_default(), limits.indirect)? {
                Walked::On(walk) => Ok(self.ask_descriptor(now, walk)),
                Walked::Whole(chain) => Ok(self.begin_contents(now, chain, limits)),
            },
            About::Contents { chain, at, mut contents } => {
                contents.extend(bytes);
                Ok(self.ask_contents(now, chain, at + 1, contents))
            }
            About::Flags if number(bytes) & NO_INTERRUPT != 0 => Ok(Progress::Over(Notice::Silence)),
            About::Flags => Ok(Progress::Over(Notice::Interrupt)),
        }
    }

    /// A request was answered: its buffers go back to the driver with `bytes` in them, after `skip` bytes that are left
    /// as they are.
    pub(super) fn use_buffer(&mut self, now: Now, chain: &Chain, skip: u64, bytes: &[u8]) -> Vec<Signal> {
        // What is counted begins at the first byte, so it is none if that was skipped (2.7.8.2).
        let written = if skip == 0 { bytes.len() as u32 } else { 0 };
        let element = [u32::from(chain.head), written].map(u32::to_le_bytes).concat();
        let mut signals = chain.scatter(skip, bytes);
        signals.push(Signal::WriteMemory { address: self.ring.used_element(self.used), bytes: element });
        self.taken = self.taken.wrapping_add(1);
        self.used = self.used.wrapping_add(1);
        let index = self.used.to_le_bytes().to_vec();
        signals.push(Signal::WriteMemory { address: self.ring.used_index(), bytes: index });
        signals.extend(self.ask(now, self.ring.available_flags(), 2, About::Flags));
        signals
    }

    /// After a request: the next one that is known of, or a rest.
    pub(super) fn go_on(&mut self, now: Now, latency: Ticks) {
        if self.taken == self.offered {
            self.activity = Activity::Waiting { until: now.after(REST), then: Then::Rest };
        } else {
            self.wait(now, latency);
        }
    }

    /// After the last look: nothing, or more work, for which notifications are suppressed again.
    fn rest_or_go_on(&mut self, now: Now, latency: Ticks) -> Vec<Signal> {
        if self.taken == self.offered {
            return Vec::new();
        }
        self.wait(now, latency);
        vec![self.suppress_notifications(true)]
    }

    fn wait(&mut self, now: Now, latency: Ticks) {
        self.activity = Activity::Waiting { until: now.after(latency.0), then: Then::Take };
    }

    /// `VIRTQ_USED_F_NO_NOTIFY` (2.7.10).
    fn suppress_notifications(&self, suppress: bool) -> Signal {
        Signal::WriteMemory { address: self.ring.used_flags(), bytes: u16::from(suppress).to_le_bytes().to_vec() }
    }

    /// `avail.idx` is so.
    fn offer(&mut self, index: u16) -> Result<(), Broken> {
        if u32::from(index.wrapping_sub(self.taken)) > self.ring.size {
            return Err(Broken::AvailableIndex { index });
        }
        self.offered = index;
        Ok(())
    }

    fn take_entry(&mut self, now: Now) -> Progress {
        if self.taken == self.offered {
            return Progress::Nothing;
        }
        Progress::On(self.ask(now, self.ring.available_entry(self.taken), 2, About::Entry))
    }

    fn ask_descriptor(&mut self, now: Now, walk: Walk) -> Progress {
        Progress::On(self.ask(now, walk.descriptor(), 16, About::Descriptor(walk)))
    }

    fn begin_contents(&mut self, now: Now, chain: Chain, limits: Limits) -> Progress {
        let room = chain.writable_bytes();
        if room.max(chain.readable_bytes()) > limits.bytes {
            return Progress::Request(chain, Request::TooLong { room });
        }
        self.ask_contents(now, chain, 0, Vec::new())
    }

    fn ask_contents(&mut self, now: Now, chain: Chain, at: usize, contents: Vec<u8>) -> Progress {
        match chain.readable.get(at).copied() {
            Some(buffer) => {
                let about = About::Contents { chain, at, contents };
                Progress::On(self.ask(now, PhysAddr(buffer.address), buffer.length.into(), about))
            }
            None => {
                let room = chain.writable_bytes();
                Progress::Request(chain, Request::Whole { contents, room })
            }
        }
    }

    fn ask(&mut self, now: Now, address: PhysAddr, length: u64, about: About) -> Vec<Signal> {
        self.activity = Activity::Asking { read: Read { address, length }, about, patience: now.after(PATIENCE) };
        vec![Signal::ReadMemory { address, length }]
    }
}

/// Two bytes of memory.
fn number(bytes: &[u8]) -> u16 {
    bytes.first_chunk().map_or(0, |bytes| u16::from_le_bytes(*bytes))
}
