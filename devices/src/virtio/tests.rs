//! The transport and its queues, by a disk; and the bench that all virtio tests use.

use std::collections::VecDeque;
use std::sync::Arc;

use super::mmio::{Kind, VirtioMmio};
use super::{Broken, VirtioBlock, VirtioNet, Wire};
use crate::fuzz;
use crate::{Device, Disk, Irq, PhysAddr, SECTOR_BYTES, Signal, Ticks, Width};
use proptest::prelude::*;

/// A device, memory, and a driver of the simplest kind; every signal is performed at once, as the machine does.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Bench<D> {
    pub(super) device: D,
    memory: Vec<u8>,
    /// What `avail.idx` of each queue is.
    available: [u16; 2],
    /// Whether the interrupt line is active.
    pub(super) irq: bool,
    now: u64,
    /// Signals yet to be performed, while that is put off.
    put_off: Option<VecDeque<Signal>>,
}

pub(super) const IRQ: Irq = Irq(11);

/// Where memory begins and ends.
const MEMORY: u64 = 0x1_0000;
const MEMORY_BYTES: u64 = 0x1_0000;
/// Where buffers are.
pub(super) const BUFFERS: u64 = MEMORY + 0x8000;

pub(super) const SIZE: u16 = 8;

pub(super) const STATUS: u64 = 0x70;
pub(super) const QUEUE_READY: u64 = 0x44;
const QUEUE_NOTIFY: u64 = 0x50;

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

/// The status after a driver's initialisation, and of a device that needs a reset.
pub(super) const LIVE: u32 = 0xf;
pub(super) const NEEDS_RESET: u32 = 0x4f;

impl<D: Device> Bench<D> {
    /// A device that nobody has touched.
    pub(super) fn new(device: D) -> Self {
        let memory = vec![0; MEMORY_BYTES as usize];
        Bench { device, memory, available: [0; 2], irq: false, now: 0, put_off: None }
    }

    /// A device with so many queues, each of them ready (3.1.1).
    pub(super) fn ready(device: D, queues: u32) -> Self {
        let mut bench = Bench::new(device);
        bench.initialise(queues);
        bench
    }

    pub(super) fn initialise(&mut self, queues: u32) {
        self.memory.fill(0);
        self.available = [0; 2];
        for (offset, value) in [(STATUS, 0), (STATUS, 1), (STATUS, 3)] {
            self.write(offset, value);
        }
        self.accept_features();
        self.write(STATUS, 0xb);
        assert_eq!(self.read(STATUS), 0xb, "the features are agreed on");
        for queue in 0..queues {
            self.set_up_queue(queue, SIZE.into());
            assert_eq!(self.read(QUEUE_READY), 1);
        }
        self.write(STATUS, LIVE);
    }

    /// Accepts whatever is offered.
    pub(super) fn accept_features(&mut self) {
        for half in 0..2 {
            self.write(0x14, half);
            let features = self.read(0x10);
            self.write(0x24, half);
            self.write(0x20, features);
        }
    }

    pub(super) fn set_up_queue(&mut self, queue: u32, size: u32) {
        let [descriptors, available, used] = parts(queue).map(|address| address as u32);
        for (offset, value) in [(0x30, queue), (0x38, size), (0x80, descriptors), (0x90, available), (0xa0, used)] {
            self.write(offset, value);
        }
        self.write(QUEUE_READY, 1);
    }

    pub(super) fn read(&mut self, offset: u64) -> u32 {
        let (value, signals) = self.device.read(offset, Width::Dword);
        self.perform(signals);
        value as u32
    }

    pub(super) fn write(&mut self, offset: u64, value: u32) {
        let signals = self.device.write(offset, Width::Dword, value.into());
        self.perform(signals);
    }

    pub(super) fn notify(&mut self, queue: u32) {
        self.write(QUEUE_NOTIFY, queue);
    }

    /// Lets time come to `now`.
    pub(super) fn advance(&mut self, now: u64) {
        self.now = now;
        let signals = self.device.advance(Ticks(now));
        self.perform(signals);
    }

    /// Lets time come to the next event, and tells when that is.
    pub(super) fn next_event(&mut self) -> Option<u64> {
        let Ticks(event) = self.device.next_event()?;
        assert!(event > self.now, "{event} is not after {}", self.now);
        self.advance(event);
        Some(event)
    }

    /// Waits until nothing more happens by itself.
    pub(super) fn settle(&mut self) {
        let events = std::iter::from_fn(|| self.next_event()).take(10_000).count();
        assert!(events < 10_000, "the device comes to rest");
    }

    fn perform(&mut self, signals: Vec<Signal>) {
        match &mut self.put_off {
            Some(queue) => queue.extend(signals),
            None => signals.into_iter().for_each(|signal| self.perform_one(signal)),
        }
    }

    /// Performs the first signal that was put off.
    fn perform_next(&mut self) -> bool {
        let signal = self.put_off.as_mut().and_then(VecDeque::pop_front);
        signal.map(|signal| self.perform_one(signal)).is_some()
    }

    fn perform_one(&mut self, signal: Signal) {
        match signal {
            Signal::RaiseIrq(irq) => {
                assert!(irq == IRQ && !self.irq, "raised once");
                self.irq = true;
            }
            Signal::LowerIrq(irq) => {
                assert!(irq == IRQ && self.irq, "lowered once");
                self.irq = false;
            }
            Signal::ReadMemory { address, length } => {
                assert!(length > 0, "a read of nothing");
                if let Some(range) = range(address.0, length) {
                    let bytes = self.memory[range].to_vec();
                    let signals = self.device.memory_read(address, &bytes);
                    self.perform(signals);
                }
            }
            Signal::WriteMemory { address, bytes } => {
                if let Some(range) = range(address.0, bytes.len() as u64) {
                    self.memory[range].copy_from_slice(&bytes);
                }
            }
            other => panic!("no signal of a virtio device: {other:?}"),
        }
    }

    pub(super) fn poke(&mut self, address: u64, bytes: &[u8]) {
        let range = range(address, bytes.len() as u64).expect("a test writes to memory");
        self.memory[range].copy_from_slice(bytes);
    }

    pub(super) fn peek(&self, address: u64, length: u64) -> &[u8] {
        &self.memory[range(address, length).expect("a test reads memory")]
    }

    fn number(&self, address: u64) -> u16 {
        u16::from_le_bytes(self.peek(address, 2).try_into().expect("two bytes"))
    }

    pub(super) fn describe(&mut self, table: u64, index: u16, (address, length, flags, next): (u64, u32, u16, u16)) {
        let bytes = [&address.to_le_bytes()[..], &length.to_le_bytes(), &flags.to_le_bytes(), &next.to_le_bytes()];
        self.poke(table + 16 * u64::from(index), &bytes.concat());
    }

    /// Writes a chain from descriptor `head` on: buffers to read, then buffers to write.
    pub(super) fn chain(&mut self, queue: u32, head: u16, readable: &[(u64, u32)], writable: &[(u64, u32)]) {
        let flags = readable.iter().map(|_| 0).chain(writable.iter().map(|_| WRITE));
        let last = readable.len() + writable.len() - 1;
        for (at, (&(address, length), flags)) in readable.iter().chain(writable).zip(flags).enumerate() {
            let (index, more) = (head + at as u16, if at == last { 0 } else { NEXT });
            self.describe(parts(queue)[0], index, (address, length, flags | more, index + 1));
        }
    }

    /// Makes a chain available, without a doorbell.
    pub(super) fn offer(&mut self, queue: u32, head: u16) {
        let [_, available, _] = parts(queue);
        let index = self.available[queue as usize];
        self.poke(available + 4 + 2 * u64::from(index % SIZE), &head.to_le_bytes());
        self.available[queue as usize] = index.wrapping_add(1);
        self.poke(available + 2, &index.wrapping_add(1).to_le_bytes());
    }

    /// As a driver does: rings unless notifications are suppressed.
    pub(super) fn submit(&mut self, queue: u32, head: u16) {
        self.offer(queue, head);
        if !self.notifications_are_suppressed(queue) {
            self.notify(queue);
        }
    }

    pub(super) fn notifications_are_suppressed(&self, queue: u32) -> bool {
        self.number(parts(queue)[2]) == 1
    }

    /// `used.idx`.
    pub(super) fn used(&self, queue: u32) -> u16 {
        self.number(parts(queue)[2] + 2)
    }

    /// The used element of that number: head and length.
    pub(super) fn used_element(&self, queue: u32, index: u16) -> (u32, u32) {
        let element = self.peek(parts(queue)[2] + 4 + 8 * u64::from(index % SIZE), 8);
        let (head, length) = element.split_at(4);
        let word = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().expect("four bytes"));
        (word(head), word(length))
    }

    /// `avail.flags`.
    pub(super) fn want_interrupts(&mut self, want: bool) {
        self.poke(parts(0)[1], &u16::from(!want).to_le_bytes());
    }
}

/// Descriptor table, available ring and used ring of a queue.
fn parts(queue: u32) -> [u64; 3] {
    let base = MEMORY + 0x1000 * u64::from(queue);
    [base, base + 0x800, base + 0xc00]
}

fn range(address: u64, length: u64) -> Option<std::ops::Range<usize>> {
    let start = address.checked_sub(MEMORY)?;
    let end = start.checked_add(length).filter(|&end| end <= MEMORY_BYTES)?;
    Some(start as usize..end as usize)
}

/// A disk whose sectors are full of the low byte of their number.
pub(super) fn disk(sectors: usize) -> VirtioBlock {
    let image: Vec<u8> = (0..sectors * SECTOR_BYTES).map(|at| (at / SECTOR_BYTES) as u8).collect();
    VirtioBlock::new(Disk::new(Arc::from(image)), IRQ)
}

pub(super) const HEADER: u64 = BUFFERS;
pub(super) const DATA: u64 = BUFFERS + 0x100;
pub(super) const REQUEST_STATUS: u64 = BUFFERS + 0x80;

/// Writes a request for one sector to be read as the chain from `head` on.
fn read_request(bench: &mut Bench<VirtioBlock>, head: u16, sector: u8) {
    bench.poke(HEADER, &[0, 0, 0, 0, 0, 0, 0, 0, sector, 0, 0, 0, 0, 0, 0, 0]);
    bench.poke(REQUEST_STATUS, &[0xee]);
    bench.chain(0, head, &[(HEADER, 16)], &[(DATA, 512), (REQUEST_STATUS, 1)]);
}

fn one_request() -> Bench<VirtioBlock> {
    let mut bench = Bench::ready(disk(16), 1);
    read_request(&mut bench, 0, 5);
    bench
}

#[test]
fn a_driver_finds_the_device() {
    let mut bench = Bench::new(disk(16));
    assert_eq!([0, 4, 8, 12].map(|offset| bench.read(offset)), [0x7472_6976, 2, 2, 0x554d_4551]);
    bench.write(0x14, 1);
    assert_eq!(bench.read(0x10), 1, "VIRTIO_F_VERSION_1");
    bench.write(0x14, 2);
    assert_eq!(bench.read(0x10), 0);
    assert_eq!(bench.read(0x34), 128);
    bench.write(0x30, 1);
    assert_eq!([bench.read(0x34), bench.read(0x44)], [0, 0], "there is no second queue");
    assert_eq!(bench.read(0xfc), 0);
}

#[test]
fn registers_have_names() {
    let device = disk(1);
    let names = [0, 0x73, 0x28, 0x94, 0x100, 0x116, 0x120].map(|offset| device.register(offset));
    assert_eq!(names, ["MagicValue", "Status", "reserved", "QueueDriverHigh", "capacity", "blk_size", "config"]);
}

#[test]
fn registers_take_words_only_and_the_configuration_any_width() {
    let mut device = disk(0x1234);
    assert_eq!(device.read(0, Width::Byte).0, 0xff);
    assert_eq!(device.read(2, Width::Dword).0, 0xffff_ffff);
    device.write(STATUS, Width::Byte, 1);
    assert_eq!(device.read(STATUS, Width::Dword).0, 0);
    assert_eq!([0x100, 0x101].map(|offset| device.read(offset, Width::Byte).0), [0x34, 0x12]);
    assert_eq!(device.read(0x114, Width::Word).0, 512);
    assert_eq!(device.read(u64::MAX, Width::Dword).0, 0);
}

#[test]
fn features_are_agreed_on_only_if_offered_and_modern() {
    for (low, high) in [(0, 0), (1 << 29, 1), (0, 3)] {
        let mut bench = Bench::new(disk(1));
        for (half, features) in [(0, low), (1, high)] {
            bench.write(0x24, half);
            bench.write(0x20, features);
        }
        bench.write(STATUS, 0xb);
        assert_eq!(bench.read(STATUS), 3, "{low:#x} {high:#x}");
    }
}

#[test]
fn a_request_takes_time_and_then_interrupts() {
    let mut bench = one_request();
    bench.submit(0, 0);
    assert_eq!((bench.used(0), bench.irq), (0, false));
    assert_eq!(bench.next_event(), Some(1_000));
    assert_eq!((bench.used(0), bench.used_element(0, 0)), (1, (0, 513)));
    assert_eq!((bench.peek(DATA, 512), bench.peek(REQUEST_STATUS, 1)), (&[5; 512][..], &[0][..]));
    assert_eq!((bench.irq, bench.read(0x60)), (true, 1));
    bench.write(0x64, 1);
    assert_eq!((bench.irq, bench.read(0x60)), (false, 0));
}

#[test]
fn notifications_are_suppressed_until_the_queue_has_rested() {
    let mut bench = one_request();
    bench.submit(0, 0);
    assert!(bench.notifications_are_suppressed(0), "as soon as it is told");
    bench.next_event();
    assert!(bench.notifications_are_suppressed(0), "still");
    assert_eq!(bench.next_event(), Some(1_010));
    assert!(!bench.notifications_are_suppressed(0));
    assert_eq!(bench.device.next_event(), None);
}

#[test]
fn what_becomes_available_without_a_doorbell_is_found_before_the_queue_rests() {
    for moment in [500, 1_000, 1_005] {
        let mut bench = one_request();
        bench.submit(0, 0);
        bench.advance(moment);
        bench.submit(0, 0);
        bench.settle();
        assert_eq!((bench.used(0), bench.notifications_are_suppressed(0)), (2, false), "{moment}");
    }
}

/// What a driver without a fence can do: its store of `avail.idx` drains after the device has looked again, although it
/// read `used.flags` before that.
#[test]
fn a_store_that_drains_after_the_last_look_is_a_lost_doorbell() {
    let mut bench = one_request();
    bench.submit(0, 0);
    bench.advance(1_005);
    assert!(bench.notifications_are_suppressed(0), "so the driver does not notify");
    bench.settle();
    bench.offer(0, 0);
    bench.advance(1_000_000_000);
    assert_eq!((bench.used(0), bench.device.next_event()), (1, None), "nobody sees it");
    bench.notify(0);
    bench.settle();
    assert_eq!(bench.used(0), 2, "until the next doorbell");
}

#[test]
fn several_requests_are_taken_one_after_another() {
    let mut bench = one_request();
    bench.offer(0, 0);
    bench.offer(0, 0);
    bench.submit(0, 0);
    let events: Vec<(u64, u16)> = std::iter::from_fn(|| Some((bench.next_event()?, bench.used(0)))).collect();
    assert_eq!(events, [(1_000, 1), (2_000, 2), (3_000, 3), (3_010, 3)]);
}

#[test]
fn rings_go_round_and_indices_wrap() {
    let mut bench = one_request();
    for count in 1..=70_000_u32 {
        bench.submit(0, 0);
        bench.settle();
        assert_eq!(u32::from(bench.used(0)), count % 0x1_0000);
    }
}

#[test]
fn a_driver_that_wants_no_interrupt_gets_none() {
    let mut bench = one_request();
    bench.want_interrupts(false);
    bench.submit(0, 0);
    bench.settle();
    assert_eq!((bench.used(0), bench.irq, bench.read(0x60)), (1, false, 0));
    bench.want_interrupts(true);
    bench.submit(0, 0);
    bench.settle();
    assert!(bench.irq);
}

#[test]
fn indirect_descriptors_may_follow_others() {
    let mut bench = one_request();
    let table = BUFFERS + 0x1000;
    bench.describe(table, 0, (DATA, 256, WRITE | NEXT, 2));
    bench.describe(table, 2, (DATA + 256, 256, WRITE | NEXT, 1));
    bench.describe(table, 1, (REQUEST_STATUS, 1, WRITE, 9));
    bench.describe(parts(0)[0], 1, (table, 48, INDIRECT | WRITE, 0));
    bench.submit(0, 0);
    bench.settle();
    assert_eq!((bench.used_element(0, 0), bench.peek(DATA, 512)), ((0, 513), &[5; 512][..]));
}

#[test]
fn buffers_may_be_cut_anywhere() {
    let mut bench = one_request();
    bench.chain(0, 0, &[(HEADER, 7), (0, 0), (HEADER + 7, 9)], &[(DATA, 500), (DATA + 500, 13)]);
    bench.submit(0, 0);
    bench.settle();
    assert_eq!((bench.used_element(0, 0), bench.peek(DATA, 513)), ((0, 513), &[&[5; 512][..], &[0]].concat()[..]));
}

/// A guest spoils something; the device needs a reset, says why, and works after that.
fn check_broken(spoil: impl FnOnce(&mut Bench<VirtioBlock>), expected: Broken) {
    let mut bench = one_request();
    spoil(&mut bench);
    bench.submit(0, 0);
    bench.settle();
    assert_eq!(bench.device.broken(), Some(expected));
    assert_eq!((bench.read(STATUS), bench.irq, bench.read(0x60)), (NEEDS_RESET, true, 2), "{expected}");
    bench.notify(0);
    assert_eq!((bench.used(0), bench.device.next_event()), (0, None), "it does nothing more");
    bench.initialise(1);
    assert_eq!((bench.device.broken(), bench.irq), (None, false));
    read_request(&mut bench, 0, 6);
    bench.submit(0, 0);
    bench.settle();
    assert_eq!(bench.peek(DATA, 1), [6]);
}

#[test]
fn broken_rings_need_a_reset() {
    let table = parts(0)[0];
    let far = PhysAddr(0x4000_0000);
    let indirect = |address, length, flags| {
        move |bench: &mut Bench<VirtioBlock>| bench.describe(table, 0, (address, length, INDIRECT | flags, 1))
    };
    check_broken(|bench| bench.describe(table, 2, (DATA, 1, NEXT | WRITE, 1)), Broken::Loop);
    check_broken(|bench| bench.describe(table, 0, (HEADER, 16, NEXT, 8)), Broken::DescriptorIndex { index: 8 });
    check_broken(|bench| bench.submit(0, 8), Broken::DescriptorIndex { index: 8 });
    check_broken(|bench| bench.available[0] = 8, Broken::AvailableIndex { index: 9 });
    check_broken(|bench| bench.describe(table, 0, (far.0, 16, NEXT, 1)), Broken::NoMemory { address: far });
    let end = PhysAddr(u64::MAX - 3);
    check_broken(|bench| bench.describe(table, 1, (end.0, 512, NEXT | WRITE, 2)), Broken::Buffer { address: end });
    check_broken(|bench| bench.describe(table, 2, (DATA, 16, 0, 0)), Broken::Order);
    check_broken(|bench| bench.chain(0, 0, &[(HEADER, 15)], &[(DATA, 513)]), Broken::Request);
    check_broken(|bench| bench.chain(0, 0, &[(HEADER, 16)], &[(DATA, 0)]), Broken::Request);
    check_broken(indirect(BUFFERS, 40, 0), Broken::Indirect);
    check_broken(indirect(BUFFERS, 0, 0), Broken::Indirect);
    check_broken(indirect(BUFFERS, 48, NEXT), Broken::Indirect);
    check_broken(indirect(u64::MAX - 15, 32, 0), Broken::Indirect);
    check_broken(indirect(table, 16, 0), Broken::Indirect);
    check_broken(indirect(far.0, 48, 0), Broken::NoMemory { address: far });
}

#[test]
fn an_empty_answer_says_at_once_that_there_is_no_memory() {
    let mut bench = one_request();
    bench.put_off = Some(VecDeque::new());
    bench.submit(0, 0);
    bench.perform_next();
    bench.advance(1_000);
    let Some(Signal::ReadMemory { address, .. }) = bench.put_off.take().and_then(|mut put_off| put_off.pop_front())
    else {
        panic!("the device asks for something")
    };
    assert_eq!(bench.device.memory_read(address, &[]), [Signal::RaiseIrq(IRQ)]);
    assert_eq!(bench.device.broken(), Some(Broken::NoMemory { address }));
}

#[test]
fn indirect_descriptors_have_to_be_agreed_on() {
    let mut bench = Bench::new(disk(16));
    bench.write(0x24, 1);
    bench.write(0x20, 1);
    bench.write(STATUS, 0xb);
    bench.set_up_queue(0, SIZE.into());
    bench.write(STATUS, LIVE);
    bench.describe(parts(0)[0], 0, (BUFFERS, 48, INDIRECT, 0));
    bench.submit(0, 0);
    bench.settle();
    assert_eq!(bench.device.broken(), Some(Broken::Indirect));
}

#[test]
fn a_queue_that_cannot_be_right_does_not_become_ready() {
    let mut bench = Bench::new(disk(1));
    for size in [0, 3, 256, u32::MAX] {
        bench.set_up_queue(0, size);
        assert_eq!(bench.read(QUEUE_READY), 0, "{size}");
    }
    for (offset, value) in [(0x80, 0x1_0008), (0x90, 0x1_0001), (0xa0, 0x1_0002), (0xa4, u32::MAX)] {
        let mut bench = bench.clone();
        bench.set_up_queue(0, 8);
        bench.write(QUEUE_READY, 0);
        bench.write(0xa0, 0xffff_fffc);
        bench.write(offset, value);
        bench.write(QUEUE_READY, 1);
        assert_eq!(bench.read(QUEUE_READY), 0, "{offset:#x}");
    }
}

#[test]
fn a_queue_in_use_stays_as_it_is() {
    let mut bench = one_request();
    bench.write(0x80, 0x4000_0000);
    bench.write(0x38, 1);
    bench.submit(0, 0);
    bench.settle();
    assert_eq!(bench.used(0), 1);
}

#[test]
fn a_doorbell_before_the_device_is_live_is_nothing() {
    let mut bench = Bench::new(disk(1));
    bench.accept_features();
    bench.write(STATUS, 0xb);
    bench.set_up_queue(0, 8);
    bench.submit(0, 0);
    assert_eq!((bench.device.next_event(), bench.notifications_are_suppressed(0)), (None, false));
    bench.write(STATUS, LIVE);
    bench.notify(1);
    bench.notify(u32::MAX);
    assert_eq!(bench.device.next_event(), None, "nor one for a queue that there is not");
}

/// Puts signals off, so that a test can come in between.
fn put_off() -> Bench<VirtioBlock> {
    let mut bench = one_request();
    bench.submit(0, 0);
    bench.put_off = Some(VecDeque::new());
    bench.advance(1_000);
    bench
}

#[test]
fn a_reset_in_the_middle_of_a_request_ends_it() {
    let steps = std::iter::repeat_with(|| ()).take_while({
        let mut bench = put_off();
        move |()| bench.perform_next()
    });
    let steps = steps.count();
    assert!(steps > 8, "a request is so many signals: {steps}");
    for before in 0..steps {
        let mut bench = put_off();
        (0..before).for_each(|_| assert!(bench.perform_next()));
        bench.write(STATUS, 0);
        while bench.perform_next() {}
        assert_eq!((bench.read(STATUS), bench.device.next_event(), bench.irq), (0, None, false), "{before}");
        bench.put_off = None;
        bench.initialise(1);
        read_request(&mut bench, 0, 7);
        bench.submit(0, 0);
        bench.settle();
        assert_eq!((bench.used(0), bench.peek(DATA, 1)), (1, &[7][..]), "{before}");
    }
}

#[test]
fn a_queue_that_is_taken_away_is_left_alone() {
    let mut bench = put_off();
    bench.perform_next();
    bench.write(0x30, 0);
    bench.write(QUEUE_READY, 0);
    while bench.perform_next() {}
    assert_eq!((bench.used(0), bench.read(STATUS), bench.device.next_event()), (0, LIVE, None));
}

#[test]
fn a_snapshot_in_the_middle_of_a_request_changes_nothing() {
    let mut bench = put_off();
    loop {
        let mut snapshot = bench.clone();
        while snapshot.perform_next() {}
        snapshot.put_off = None;
        snapshot.settle();
        assert_eq!((snapshot.used(0), snapshot.peek(DATA, 512), snapshot.irq), (1, &[5; 512][..], true));
        if !bench.perform_next() {
            break;
        }
    }
}

#[test]
fn an_answer_that_nobody_waits_for_is_nothing() {
    let mut device = disk(1);
    let before = device.clone();
    assert_eq!(device.memory_read(PhysAddr(0), &[1, 2, 3]), []);
    assert_eq!(device.memory_read(PhysAddr(0), &[]), []);
    assert_eq!(device, before);
}

/// A driver that sets the device up, rings, and waits until memory has answered, with bytes that a few bits choose.
fn random_driver<K: Kind>(device: &mut VirtioMmio<K>, [kind, seed, favourite, count]: [u8; 4]) -> Vec<Signal> {
    match kind % 8 {
        0 => device.memory_read(PhysAddr(seed.into()), &[seed; 2]),
        1 | 2 => set_up_again(device),
        3 => device.write(QUEUE_NOTIFY, Width::Dword, u64::from(seed % 2)),
        _ => {
            let queue = K::QUEUES as u64 - 1;
            let mut all = if kind < 0xa0 { set_up_again(device) } else { Vec::new() };
            all.extend(device.write(QUEUE_NOTIFY, Width::Dword, queue));
            for round in 0..count % 64 {
                all.extend(match device.queues.iter().find_map(|queue| queue.awaited()) {
                    Some((address, length)) => device.memory_read(address, &answer(length, favourite, seed, round)),
                    None => device.next_event().map(|event| device.advance(event)).unwrap_or_default(),
                });
            }
            all
        }
    }
}

fn set_up_again<K: Kind>(device: &mut VirtioMmio<K>) -> Vec<Signal> {
    let raised = device.irq_is_raised();
    let mut bench = Bench::new(device.clone());
    bench.irq = raised;
    bench.initialise(K::QUEUES as u32);
    *device = bench.device;
    raised.then_some(Signal::LowerIrq(IRQ)).into_iter().collect()
}

/// Memory's answer: often a number or a descriptor that makes sense.
fn answer(length: u64, favourite: u8, seed: u8, round: u8) -> Vec<u8> {
    let mixed = seed.wrapping_mul(167).wrapping_add(round.wrapping_mul(59));
    match length {
        16 if favourite < 200 => {
            let flags = [0, 1, 1, 2, 2, 3, 3, favourite % 8][usize::from(mixed >> 5)];
            vec![0, 0, 9, 0, 0, 0, 0, 0, favourite, mixed % 3, 0, 0, flags, 0, mixed % 8, 0]
        }
        2 if favourite < 200 => vec![mixed % 4, 0],
        _ => (0..length.min(1 << 16)).map(|at| random_byte(favourite, seed, round, at)).collect(),
    }
}

/// Mostly zeroes and small numbers, which are what rings and descriptors are made of.
fn random_byte(favourite: u8, seed: u8, round: u8, at: u64) -> u8 {
    let [at, ..] = at.to_le_bytes();
    let mixed = seed.wrapping_mul(167).wrapping_add(round.wrapping_mul(59)).wrapping_add(at.wrapping_mul(101));
    match mixed % 4 {
        0 => favourite % 8,
        1 if favourite > 200 => mixed,
        _ => 0,
    }
}

const FAVOURITES: [u8; 12] = [0, 1, 2, 3, 4, 8, 11, 15, 16, 64, 128, 255];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(fuzz::cases()))]

    #[test]
    fn any_guest_is_stood(run in fuzz::runs(0x120, &FAVOURITES)) {
        fuzz::check(disk(16), &run, random_driver);
        fuzz::check(VirtioNet::new([2; 6], Wire::loopback(Ticks(700)), IRQ), &run, random_driver);
        let script = (0..9).map(|at| (Ticks(at * at * 5_000), vec![at as u8; 60])).collect();
        fuzz::check(VirtioNet::new([2; 6], Wire::script(script), IRQ), &run, random_driver);
    }

    /// Rings full of anything, in a memory that performs what the device asks for.
    #[test]
    fn any_guest_with_any_rings_is_stood(
        ops in prop::collection::vec((0..8_u8, any::<[u8; 4]>(), any::<u64>()), 1..120),
    ) {
        any_rings(Bench::ready(disk(16), 1), 1, &ops);
        any_rings(Bench::ready(VirtioNet::new([2; 6], Wire::loopback(Ticks(700)), IRQ), 2), 2, &ops);
    }
}

/// Lets a driver that makes mistakes drive the device.
fn any_rings<D: Device>(mut bench: Bench<D>, queues: u32, ops: &[(u8, [u8; 4], u64)]) {
    for &(op, [a, b, c, d], number) in ops {
        let (queue, index) = (u32::from(a) % queues, u16::from(b) % SIZE);
        let address = BUFFERS + u64::from(b) * 16 + u64::from(c % 3);
        match op {
            0 => {
                let length = if d < 250 { u32::from(d) * 8 } else { number as u32 };
                let address = if c < 250 { address } else { number };
                bench.describe(parts(queue)[0], index, (address, length, (c % 8).into(), (d % 9).into()));
            }
            1 | 2 => {
                let readable = [(address, 16), (address, u32::from(d))];
                let writable = [(DATA, 256 * u32::from(d % 8)), (REQUEST_STATUS, 1)];
                match (queues, queue) {
                    (1, _) => bench.chain(queue, index % 4, &readable[..1 + usize::from(d / 128)], &writable),
                    (_, 0) => bench.chain(queue, index % 4, &[], &writable),
                    (_, _) => bench.chain(queue, index % 4, &readable, &[]),
                }
                bench.submit(queue, index % 4);
            }
            3 => bench.submit(queue, index),
            4 => bench.poke(parts(queue)[usize::from(b % 3)] + u64::from(c), &[d]),
            5 | 6 => drop(bench.next_event()),
            _ if a < 100 => bench.initialise(queues),
            _ => bench.advance(bench.now + number % 4_096),
        }
    }
    bench.settle();
}
