//! Chains of descriptors: how a driver says where a request is (2.7.5), and what can be wrong with them.

use std::error::Error;
use std::fmt;

use bitflags::bitflags;

use super::ring::DESCRIPTOR_BYTES;
use crate::{PhysAddr, Signal};

/// The buffers of a request.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Chain {
    /// The first descriptor, which names the request in both rings.
    pub(super) head: u16,
    /// What the device reads, in order; none is empty.
    pub(super) readable: Vec<Buffer>,
    /// What it writes.
    pub(super) writable: Vec<Buffer>,
}

/// A part of memory that a descriptor tells of; it ends before the end of the address space.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Buffer {
    pub(super) address: u64,
    pub(super) length: u32,
}

/// A chain of which some descriptors have been read.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Walk {
    chain: Chain,
    /// The table the next descriptor is in, and how many it has.
    table: u64,
    entries: u32,
    /// Which one it is.
    index: u16,
    table_kind: TableKind,
    /// How many descriptors may yet come, since a chain can be a loop.
    left: u32,
}

/// Whose table it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum TableKind {
    /// The queue's own.
    Queue,
    /// One that a descriptor refers to (2.7.5.3).
    Indirect,
}

/// How far a walk has come.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Walked {
    /// There is another descriptor.
    On(Walk),
    /// That was the last.
    Whole(Chain),
}

impl Walk {
    /// The walk of a chain from `head` in a queue's table; it cannot be longer than that is (2.7.5.3.1).
    pub(super) fn from(head: u16, table: u64, entries: u32) -> Result<Walk, Broken> {
        let chain = Chain { head, readable: Vec::new(), writable: Vec::new() };
        Walk { chain, table, entries, index: head, table_kind: TableKind::Queue, left: entries }.checked()
    }

    /// Where the next descriptor is.
    pub(super) fn descriptor(&self) -> PhysAddr {
        PhysAddr(self.table + DESCRIPTOR_BYTES * u64::from(self.index))
    }

    /// The next descriptor, as memory has it.
    pub(super) fn step(mut self, bytes: [u8; 16], indirect: bool) -> Result<Walked, Broken> {
        let descriptor = Descriptor::from_bytes(bytes);
        if descriptor.flags.contains(DescriptorFlags::INDIRECT) {
            return if indirect { self.enter(descriptor) } else { Err(Broken::Indirect) };
        }
        self.chain.push(descriptor)?;
        self.left -= 1;
        if !descriptor.flags.contains(DescriptorFlags::NEXT) {
            return Ok(Walked::Whole(self.chain));
        }
        self.index = descriptor.next;
        self.checked().map(Walked::On)
    }

    /// Goes on in the table that `descriptor` refers to; whether the device could write it makes no difference
    /// (2.7.5.3.2).
    fn enter(self, descriptor: Descriptor) -> Result<Walked, Broken> {
        let Buffer { address, length } = descriptor.buffer;
        let whole = length > 0 && u64::from(length).is_multiple_of(DESCRIPTOR_BYTES) && descriptor.buffer.fits();
        if self.table_kind == TableKind::Indirect || descriptor.flags.contains(DescriptorFlags::NEXT) || !whole {
            return Err(Broken::Indirect);
        }
        let entries = length / DESCRIPTOR_BYTES as u32;
        Ok(Walked::On(Walk { table: address, entries, index: 0, table_kind: TableKind::Indirect, ..self }))
    }

    /// Whether the next descriptor is one.
    fn checked(self) -> Result<Walk, Broken> {
        if u32::from(self.index) >= self.entries {
            return Err(Broken::DescriptorIndex { index: self.index });
        }
        if self.left == 0 { Err(Broken::Loop) } else { Ok(self) }
    }
}

impl Chain {
    /// What is readable comes first (2.7.4.2); an empty buffer is nothing.
    fn push(&mut self, descriptor: Descriptor) -> Result<(), Broken> {
        let Descriptor { buffer, flags, .. } = descriptor;
        if !buffer.fits() {
            return Err(Broken::Buffer { address: PhysAddr(buffer.address) });
        }
        match flags.contains(DescriptorFlags::WRITE) {
            _ if buffer.length == 0 => {}
            true => self.writable.push(buffer),
            false if self.writable.is_empty() => self.readable.push(buffer),
            false => return Err(Broken::Order),
        }
        Ok(())
    }

    /// How many bytes the device can read.
    pub(super) fn readable_bytes(&self) -> u64 {
        self.readable.iter().map(|buffer| u64::from(buffer.length)).sum()
    }

    /// How many it can write.
    pub(super) fn writable_bytes(&self) -> u64 {
        self.writable.iter().map(|buffer| u64::from(buffer.length)).sum()
    }

    /// Spreads `bytes` over the writable buffers, the first `skip` bytes of which are left as they are.
    pub(super) fn scatter(&self, mut skip: u64, mut bytes: &[u8]) -> Vec<Signal> {
        let mut signals = Vec::new();
        for buffer in &self.writable {
            let length = u64::from(buffer.length);
            let start = skip.min(length);
            skip -= start;
            let (now, later) = bytes.split_at(bytes.len().min((length - start) as usize));
            if !now.is_empty() {
                let address = PhysAddr(buffer.address + start);
                signals.push(Signal::WriteMemory { address, bytes: now.to_vec() });
            }
            bytes = later;
        }
        signals
    }
}

impl Buffer {
    fn fits(self) -> bool {
        self.address.checked_add(self.length.into()).is_some()
    }
}

/// An entry of a descriptor table (2.7.5).
#[derive(Clone, Copy, Debug)]
struct Descriptor {
    buffer: Buffer,
    flags: DescriptorFlags,
    next: u16,
}

bitflags! {
    /// What a descriptor is (2.7.5).
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    struct DescriptorFlags: u16 {
        /// The chain goes on at `next`.
        const NEXT = 1 << 0;
        /// The device writes it.
        const WRITE = 1 << 1;
        /// It is a table of descriptors.
        const INDIRECT = 1 << 2;
    }
}

impl Descriptor {
    fn from_bytes(bytes: [u8; 16]) -> Descriptor {
        let number = u128::from_le_bytes(bytes);
        let bits = |from: u32, count: u32| (number >> from) & ((1 << count) - 1);
        Descriptor {
            buffer: Buffer { address: bits(0, 64) as u64, length: bits(64, 32) as u32 },
            flags: DescriptorFlags::from_bits_truncate(bits(96, 16) as u16),
            next: bits(112, 16) as u16,
        }
    }
}

/// Why a device needs a reset: what its driver put into a queue makes no sense.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Broken {
    /// A read of memory got no answer: there is none, or not for so long.
    NoMemory {
        /// Where the read began.
        address: PhysAddr,
    },
    /// More buffers became available than the queue has entries.
    AvailableIndex {
        /// What `avail.idx` said.
        index: u16,
    },
    /// There is no such descriptor.
    DescriptorIndex {
        /// Its number.
        index: u16,
    },
    /// A chain has more descriptors than the queue, as one that goes round in a circle has.
    Loop,
    /// A buffer runs past the end of the address space.
    Buffer {
        /// Where it begins.
        address: PhysAddr,
    },
    /// A buffer that is to be read follows one that is to be written.
    Order,
    /// A table of indirect descriptors that is no table, is followed by something, is inside another one, or was not
    /// negotiated.
    Indirect,
    /// A request without room for its header or its status.
    Request,
}

impl Error for Broken {}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Broken::NoMemory { address } => write!(f, "nothing answered a read of memory at {address}"),
            Broken::AvailableIndex { index } => write!(f, "avail.idx {index} is further on than the queue is long"),
            Broken::DescriptorIndex { index } => write!(f, "there is no descriptor {index}"),
            Broken::Loop => write!(f, "a chain of descriptors is longer than the queue, or a loop"),
            Broken::Buffer { address } => write!(f, "the buffer at {address} runs past the end of memory"),
            Broken::Order => write!(f, "a buffer to read follows one to write"),
            Broken::Indirect => write!(f, "an indirect descriptor where none can be, or of no table"),
            Broken::Request => write!(f, "a request without room for its header or its status"),
        }
    }
}
