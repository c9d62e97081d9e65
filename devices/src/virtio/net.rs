//! A network card (5.1) on a [`Wire`]: a queue of buffers to receive into, and one of frames to send.
//!
//! A frame that finds no buffer, or too small a one, is lost and counted, as is one to send that is no Ethernet frame.
//! Notifications of the receive queue do nothing, since only an arriving frame makes the card look for a buffer.

use std::sync::Arc;

use super::chain::Broken;
use super::mmio::{Kind, Occasion, Served, VirtioMmio, region};
use super::queue::Request;
use super::wire::{Sent, Wire};
use crate::{Irq, Region, TICKS_PER_SECOND, Ticks};

/// A virtio network card.
pub type VirtioNet = VirtioMmio<Net>;

/// What is a network card in a [`VirtioNet`].
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Net {
    mac: [u8; 6],
    wire: Wire,
    sent: Sent,
    dropped: u64,
}

impl VirtioNet {
    /// Where the second of QEMU's microvm answers.
    pub const REGIONS: &[Region] = &[region(1)];

    /// A card of this address on this wire, which interrupts by `irq`.
    pub fn new(mac: [u8; 6], wire: Wire, irq: Irq) -> VirtioNet {
        VirtioMmio::of_kind(Net { mac, wire, sent: Sent::default(), dropped: 0 }, irq)
    }

    /// The frames the guest has sent, each with its time: what [`write_pcap`](crate::write_pcap) takes.
    pub fn sent(&self) -> impl Iterator<Item = (Ticks, &[u8])> {
        self.kind.sent.iter()
    }

    /// How many frames were lost, in both directions.
    pub fn dropped(&self) -> u64 {
        self.kind.dropped
    }
}

/// `VIRTIO_NET_F_MAC`: the configuration tells the card's address.
const F_MAC: u64 = 1 << 5;

/// The receive queue.
const RECEIVE: usize = 0;

/// `struct virtio_net_hdr` (5.1.6), which precedes each frame.
const HEADER_BYTES: usize = 12;
/// The header of a frame that arrives: nothing was offloaded, and it is in one buffer (5.1.6.4.1).
const ARRIVED: [u8; HEADER_BYTES] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0];

/// Addresses and type of an Ethernet frame.
const LEAST_FRAME: usize = 14;
/// The longest Ethernet frame, with a tag and without its checksum.
const MOST_FRAME: usize = 1518;

impl Kind for Net {
    const NAME: &'static str = "virtio-net";
    const DEVICE_ID: u32 = 1;
    const QUEUES: usize = 2;
    /// 1 us: a frame of 125 bytes at a gigabit a second.
    const LATENCY: Ticks = Ticks(TICKS_PER_SECOND / 1_000_000);
    /// 64 KiB and a header: the buffers that drivers with and without offloads receive into (5.1.6.3.1).
    const MOST_BYTES: u64 = (64 << 10) + HEADER_BYTES as u64;
    const FEATURES: u64 = F_MAC;
    const FIELDS: &'static [(u64, &'static str)] = &[(0, "mac"), (6, "config")];

    fn config(&self) -> Vec<u8> {
        self.mac.to_vec()
    }

    fn occasion(queue: usize) -> Occasion {
        if queue == RECEIVE { Occasion::Arrival } else { Occasion::Notification }
    }

    fn arrival(&self, queue: usize) -> Option<Ticks> {
        self.wire.arrival().filter(|_| queue == RECEIVE)
    }

    fn miss(&mut self, _queue: usize) {
        self.wire.pass();
        self.dropped += 1;
    }

    fn serve(&mut self, queue: usize, request: Request, now: Ticks) -> Result<Served, Broken> {
        match (queue, request) {
            (RECEIVE, Request::Whole { room, .. } | Request::TooLong { room }) => Ok(self.receive(room)),
            (_, Request::Whole { contents, .. }) => {
                let frame = contents.get(HEADER_BYTES..).ok_or(Broken::Request)?;
                Ok(self.send(frame, now))
            }
            (_, Request::TooLong { .. }) => Ok(self.send(&[], now)),
        }
    }
}

impl Net {
    /// The frame that has arrived goes into a buffer, which stays for a shorter one if it does not fit.
    fn receive(&mut self, room: u64) -> Served {
        let bytes = self.wire.next_frame().map(|frame| [&ARRIVED, frame].concat()).unwrap_or_default();
        self.wire.pass();
        if bytes.len() as u64 <= room {
            return Served::Used { skip: 0, bytes };
        }
        self.dropped += 1;
        Served::Left
    }

    fn send(&mut self, frame: &[u8], now: Ticks) -> Served {
        if (LEAST_FRAME..=MOST_FRAME).contains(&frame.len()) {
            let frame: Arc<[u8]> = frame.into();
            self.wire.send(now, &frame);
            self.sent.push(now, frame);
        } else {
            self.dropped += 1;
        }
        Served::Used { skip: 0, bytes: Vec::new() }
    }
}

#[cfg(test)]
mod tests;
