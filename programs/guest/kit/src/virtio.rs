//! Drivers' half of virtio: a device's registers in memory, and a queue that driver and device share (Virtio 1.2, 2.7, 4.2.2).
//!
//! The driver puts a buffer into the available ring and counts up `avail.idx`, the device puts it into the used ring and
//! counts up `used.idx`. Each tells the other what it need not be told of. The device sees only what has left the core's
//! store buffer.

use crate::mmio::{read32, write32};
use core::cell::UnsafeCell;

/// A device behind memory-mapped registers.
#[derive(Clone, Copy, Debug)]
pub struct Transport {
    base: u64,
    id: u32,
}

/// The network card of this machine; its line is 11.
pub const NETWORK_CARD: Transport = Transport { base: 0xfeb0_0200, id: 1 };

const MAGIC_VALUE: u64 = 0x00;
const DEVICE_ID: u64 = 0x08;
const DRIVER_FEATURES: u64 = 0x20;
const DRIVER_FEATURES_SEL: u64 = 0x24;
const QUEUE_SEL: u64 = 0x30;
const QUEUE_NUM: u64 = 0x38;
const QUEUE_READY: u64 = 0x44;
const QUEUE_NOTIFY: u64 = 0x50;
const INTERRUPT_STATUS: u64 = 0x60;
const INTERRUPT_ACK: u64 = 0x64;
const STATUS: u64 = 0x70;
const QUEUE_DESC: u64 = 0x80;
const QUEUE_DRIVER: u64 = 0x90;
const QUEUE_DEVICE: u64 = 0xa0;
const CONFIG: u64 = 0x100;

/// "virt".
const MAGIC: u32 = u32::from_le_bytes(*b"virt");
/// Status: noticed, and a driver found.
const ACKNOWLEDGE_DRIVER: u32 = 1 | 2;
/// Status: both agree on the features.
const FEATURES_OK: u32 = 8;
/// Status: the device is live.
const DRIVER_OK: u32 = 4;
/// Feature 32, the only one accepted here: no legacy device.
const VERSION_1: (u32, u32) = (1, 1);

impl Transport {
    /// Resets the device and agrees with it on its features; queues come next.
    pub fn begin(self) {
        assert_eq!((self.read(MAGIC_VALUE), self.read(DEVICE_ID)), (MAGIC, self.id), "another device is here");
        self.write(STATUS, 0);
        self.write(STATUS, ACKNOWLEDGE_DRIVER);
        self.write(DRIVER_FEATURES_SEL, VERSION_1.0);
        self.write(DRIVER_FEATURES, VERSION_1.1);
        self.write(STATUS, ACKNOWLEDGE_DRIVER | FEATURES_OK);
        assert!(self.read(STATUS) & FEATURES_OK != 0, "the device does not agree");
    }

    /// Gives the device its queue `number`.
    pub fn set_queue(self, number: u32, queue: &'static Queue) {
        self.write(QUEUE_SEL, number);
        self.write(QUEUE_NUM, ENTRIES as u32);
        let rings = queue.0.get() as u64;
        for (register, offset) in [(QUEUE_DESC, DESCRIPTORS), (QUEUE_DRIVER, AVAILABLE), (QUEUE_DEVICE, USED)] {
            let at = rings + offset as u64;
            self.write(register, at as u32);
            self.write(register + 4, (at >> 32) as u32);
        }
        self.write(QUEUE_READY, 1);
        assert_eq!(self.read(QUEUE_READY), 1, "the device does not take the queue");
    }

    /// All queues are there: the device may begin.
    pub fn go(self) {
        self.write(STATUS, ACKNOWLEDGE_DRIVER | FEATURES_OK | DRIVER_OK);
        // Read back, so that it has arrived.
        self.read(STATUS);
    }

    /// Rings the bell: there is something in queue `number`. A posted write.
    #[inline(always)]
    pub fn notify(self, number: u32) {
        self.write(QUEUE_NOTIFY, number);
    }

    /// Why the device interrupts: bit 0, it has used a buffer.
    #[inline(always)]
    pub fn interrupt_status(self) -> u32 {
        self.read(INTERRUPT_STATUS)
    }

    /// Lets go of the interrupt line for these reasons. A posted write.
    #[inline(always)]
    pub fn acknowledge(self, reasons: u32) {
        self.write(INTERRUPT_ACK, reasons);
    }

    /// Four bytes of the device's own configuration.
    pub fn config(self, offset: u64) -> [u8; 4] {
        self.read(CONFIG + offset).to_le_bytes()
    }

    #[inline(always)]
    fn read(self, register: u64) -> u32 {
        // SAFETY: reading registers makes the device do nothing.
        unsafe { read32(self.base + register) }
    }

    #[inline(always)]
    fn write(self, register: u64, value: u32) {
        // SAFETY: the device reaches only into queues and the buffers in them, which are made of cells.
        unsafe { write32(self.base + register, value) };
    }
}

/// Entries of a queue.
pub const ENTRIES: usize = 8;
/// Offsets of the three parts of a queue, and its size.
const DESCRIPTORS: usize = 0;
const AVAILABLE: usize = 16 * ENTRIES;
const USED: usize = AVAILABLE + 64;
const BYTES: usize = USED + 128;
/// From a ring's start to its index and its entries.
const INDEX: usize = 2;
const RING: usize = 4;
/// Descriptor flag: the device writes the buffer.
const DEVICE_WRITES: u16 = 2;
/// In `avail.flags`: the driver looks by itself.
const NO_INTERRUPT: u16 = 1;
/// In `used.flags`: the device looks by itself, and need not be notified.
const NO_NOTIFY: u16 = 1;

/// A queue of a few entries; descriptor n is always buffer n.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Queue(UnsafeCell<[u8; BYTES]>);

// SAFETY: every access is one volatile one of a cell's aligned part, or the device's.
unsafe impl Sync for Queue {}

/// What the device does with a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// It reads it: a frame to be sent.
    ToDevice,
    /// It writes it: room for a frame that arrives.
    FromDevice,
}

impl Queue {
    /// An empty queue.
    pub const fn new() -> Queue {
        Queue(UnsafeCell::new([0; BYTES]))
    }

    /// Descriptor `number` describes `buffer`.
    pub fn describe<const N: usize>(&self, number: u16, buffer: &'static Buffer<N>, direction: Direction) {
        let flags = match direction {
            Direction::ToDevice => 0,
            Direction::FromDevice => DEVICE_WRITES,
        };
        let at = DESCRIPTORS + 16 * number as usize;
        self.write(at, buffer.0.get() as u64);
        self.write(at + 8, N as u32);
        self.write(at + 12, flags);
    }

    /// Writes the available ring's entry that `index`, counted from 0 and round and round, is in.
    #[inline(always)]
    pub fn put(&self, index: u16, descriptor: u16) {
        self.write(AVAILABLE + RING + 2 * (index as usize % ENTRIES), descriptor);
    }

    /// `avail.idx`: so many entries have been put. An ordinary store.
    #[inline(always)]
    pub fn make_available(&self, index: u16) {
        self.write(AVAILABLE + INDEX, index);
    }

    /// `avail.flags`: the device need not interrupt for a buffer that it has used.
    pub fn want_no_interrupt(&self) {
        self.write(AVAILABLE, NO_INTERRUPT);
    }

    /// `used.flags`: whether the device wants to be notified. An ordinary load.
    #[inline(always)]
    pub fn wants_notification(&self) -> bool {
        self.read::<u16>(USED) & NO_NOTIFY == 0
    }

    /// `used.idx`: so many buffers have been used.
    #[inline(always)]
    pub fn used(&self) -> u16 {
        self.read(USED + INDEX)
    }

    /// Used element `index`: the descriptor, and how many bytes the device wrote.
    pub fn used_element(&self, index: u16) -> (u32, u32) {
        let at = USED + RING + 8 * (index as usize % ENTRIES);
        (self.read(at), self.read(at + 4))
    }

    #[inline(always)]
    fn read<T: Copy>(&self, offset: usize) -> T {
        // SAFETY: it lies within the cell and is aligned; any bits are a number.
        unsafe { self.0.get().cast::<u8>().add(offset).cast::<T>().read_volatile() }
    }

    #[inline(always)]
    fn write<T: Copy>(&self, offset: usize, value: T) {
        // SAFETY: it lies within the cell and is aligned.
        unsafe { self.0.get().cast::<u8>().add(offset).cast::<T>().write_volatile(value) };
    }
}

impl Default for Queue {
    fn default() -> Queue {
        Queue::new()
    }
}

/// Bytes that a device reads or writes.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Buffer<const N: usize>(UnsafeCell<[u8; N]>);

// SAFETY: as for `Queue`; whose turn it is, the queue says.
unsafe impl<const N: usize> Sync for Buffer<N> {}

impl<const N: usize> Buffer<N> {
    /// Zeroes.
    pub const fn new() -> Buffer<N> {
        Buffer(UnsafeCell::new([0; N]))
    }

    /// What is in it.
    pub fn get(&self) -> [u8; N] {
        // SAFETY: any bytes will do.
        unsafe { self.0.get().read_volatile() }
    }

    /// Puts this in.
    pub fn set(&self, bytes: [u8; N]) {
        // SAFETY: it is a cell.
        unsafe { self.0.get().write_volatile(bytes) };
    }
}

impl<const N: usize> Default for Buffer<N> {
    fn default() -> Buffer<N> {
        Buffer::new()
    }
}
