//! What a network card is plugged into: nothing outside the machine, so that a run is the same each time.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::Ticks;
use crate::crc32::crc32;
use crate::now::Now;

/// A wire: where frames for the guest come from.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Wire(Source);

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Source {
    Loopback { latency: Ticks, under_way: VecDeque<Frame> },
    Script { script: Script, next: usize },
}

/// An Ethernet frame on its way, and when it arrives.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Frame {
    at: Ticks,
    bytes: Arc<[u8]>,
}

impl Wire {
    /// A plug whose ends are joined: what is sent comes back so much later.
    pub fn loopback(latency: Ticks) -> Wire {
        Wire(Source::Loopback { latency, under_way: VecDeque::new() })
    }

    /// Frames that arrive at these times, whatever the guest does; two at one time arrive in the order given.
    ///
    /// A frame of time 0, before anything can happen, arrives a tick later.
    ///
    /// ```
    /// use fencepost_devices::{Irq, Resolution, Ticks, VirtioNet, Wire, parse_pcap, write_pcap};
    ///
    /// let capture = write_pcap([(Ticks(0), &[0xff; 60][..])], Resolution::Microseconds);
    /// let wire = Wire::script(parse_pcap(&capture)?);
    /// let card = VirtioNet::new([0x52, 0x54, 0, 0x12, 0x34, 0x56], wire, Irq(10));
    /// assert_eq!(card.sent().count(), 0);
    /// # Ok::<(), fencepost_devices::PcapError>(())
    /// ```
    pub fn script(frames: Vec<(Ticks, Vec<u8>)>) -> Wire {
        Wire(Source::Script { script: Script::new(frames), next: 0 })
    }

    /// When the next frame arrives, or arrived if nobody has taken it.
    pub(super) fn arrival(&self) -> Option<Ticks> {
        self.front().map(|frame| frame.at)
    }

    /// The frame that arrives next.
    pub(super) fn next_frame(&self) -> Option<&[u8]> {
        self.front().map(|frame| &*frame.bytes)
    }

    /// That frame is gone, taken or lost.
    pub(super) fn pass(&mut self) {
        match &mut self.0 {
            Source::Loopback { under_way, .. } => drop(under_way.pop_front()),
            Source::Script { next, .. } => *next += 1,
        }
    }

    /// The guest sends a frame.
    pub(super) fn send(&mut self, now: Ticks, bytes: &Arc<[u8]>) {
        match &mut self.0 {
            Source::Loopback { latency, under_way } => {
                under_way.push_back(Frame { at: Ticks(now.0.saturating_add(latency.0)), bytes: bytes.clone() });
            }
            Source::Script { .. } => {}
        }
    }

    fn front(&self) -> Option<&Frame> {
        match &self.0 {
            Source::Loopback { under_way, .. } => under_way.front(),
            Source::Script { script, next } => script.frames.get(*next),
        }
    }
}

/// Frames that are known beforehand; snapshots share them.
#[derive(Clone, PartialEq, Eq)]
struct Script {
    frames: Arc<[Frame]>,
    /// Stands for the frames in a hash, since no run changes them.
    checksum: u32,
}

impl Script {
    fn new(mut frames: Vec<(Ticks, Vec<u8>)>) -> Script {
        frames.iter_mut().for_each(|(at, _)| *at = (*at).max(Ticks(1)));
        frames.sort_by_key(|(at, _)| *at);
        let checksum =
            frames.iter().fold(0, |checksum, (at, bytes)| chained(chained(checksum, &at.0.to_le_bytes()), bytes));
        let frames = frames.into_iter().map(|(at, bytes)| Frame { at, bytes: bytes.into() }).collect();
        Script { frames, checksum }
    }
}

impl Hash for Script {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        (self.frames.len(), self.checksum).hash(hasher);
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Script({} frames, CRC {:08x})", self.frames.len(), self.checksum)
    }
}

/// What the guest has sent. A snapshot shares it; the next frame after that copies the list, but no frame.
#[derive(Clone, PartialEq, Eq, Default)]
pub(super) struct Sent {
    /// When a frame was sent makes no difference to what comes, so two lists are equal if the frames are.
    frames: Arc<Vec<(Now, Arc<[u8]>)>>,
    /// Stands for the frames in a hash.
    checksum: u32,
}

impl Sent {
    pub(super) fn push(&mut self, now: Ticks, bytes: Arc<[u8]>) {
        self.checksum = chained(self.checksum, &bytes);
        Arc::make_mut(&mut self.frames).push((Now(now), bytes));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Ticks, &[u8])> {
        self.frames.iter().map(|(Now(at), bytes)| (*at, &**bytes))
    }
}

impl Hash for Sent {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        (self.frames.len(), self.checksum).hash(hasher);
    }
}

impl fmt::Debug for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sent({} frames, CRC {:08x})", self.frames.len(), self.checksum)
    }
}

/// The checksum of something that follows what `checksum` is of.
fn chained(checksum: u32, bytes: &[u8]) -> u32 {
    crc32(&[&checksum.to_le_bytes(), bytes].concat())
}
