//! Virtio over memory-mapped registers, version 2 (4.2), whatever the device is.

use std::fmt::Debug;
use std::hash::Hash;

use super::chain::{Broken, Chain};
use super::queue::{Limits, Notice, Progress, Queue, Request};
use super::registers::{CONFIG, Features, Interrupts, Register, Status};
use super::ring::MOST_ENTRIES;
use crate::now::Now;
use crate::{Device, Irq, PhysAddr, Region, Signal, Ticks, Width};

/// A virtio device of some kind behind its registers: a [`VirtioBlock`](crate::VirtioBlock) or a
/// [`VirtioNet`](crate::VirtioNet).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct VirtioMmio<K> {
    pub(super) kind: K,
    irq: Irq,
    status: Status,
    interrupts: Interrupts,
    /// Which half of the features is read or written: 0 or 1, others have none.
    device_features_half: u32,
    driver_features_half: u32,
    /// What the driver accepts.
    driver_features: u64,
    queue_selected: u32,
    pub(super) queues: Vec<Queue>,
    /// Why the device needs a reset, if it does.
    broken: Option<Broken>,
    now: Now,
    /// Whether the interrupt line is active, as last signalled.
    pin: bool,
}

/// What makes a virtio device a disk or a network card.
pub(super) trait Kind: Clone + Eq + Hash + Debug + Send + Sync + 'static {
    /// The name in traces.
    const NAME: &'static str;
    /// What DeviceID reads as (chapter 5).
    const DEVICE_ID: u32;
    /// How many queues there are.
    const QUEUES: usize;
    /// How long the device takes to begin with a request.
    const LATENCY: Ticks;
    /// The most bytes it reads or writes in a request.
    const MOST_BYTES: u64;
    /// The features it offers beside those of every device.
    const FEATURES: u64;
    /// The fields of its configuration, each with the offset it begins at.
    const FIELDS: &'static [(u64, &'static str)];

    /// The configuration's bytes; what follows is zeroes.
    fn config(&self) -> Vec<u8>;

    /// What makes the device look into a queue.
    fn occasion(queue: usize) -> Occasion;

    /// When the device next wants a buffer from a queue of [`Occasion::Arrival`].
    fn arrival(&self, queue: usize) -> Option<Ticks>;

    /// There was none.
    fn miss(&mut self, queue: usize);

    /// The driver's request, at a time.
    fn serve(&mut self, queue: usize, request: Request, now: Ticks) -> Result<Served, Broken>;
}

/// What makes a device look into a queue.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Occasion {
    /// The driver notifies.
    Notification,
    /// Something arrives for the guest.
    Arrival,
}

/// What became of a request.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Served {
    /// These bytes are written into its buffers, after so many that are left as they are.
    Used { skip: u64, bytes: Vec<u8> },
    /// It waits for another occasion.
    Left,
}

/// "virt".
const MAGIC: u32 = u32::from_le_bytes(*b"virt");
/// Registers as of virtio 1.0.
const VERSION: u32 = 2;
/// "QEMU": some drivers, xv6's among them, take no other.
const VENDOR: u32 = u32::from_le_bytes(*b"QEMU");

/// Bytes from one device to the next, as QEMU's microvm has them.
pub(super) const REGISTER_BYTES: u64 = 0x200;

/// Where the device of that number answers; eight are in one page.
pub(super) const fn region(number: u64) -> Region {
    Region::memory(PhysAddr(0xfeb0_0000 + REGISTER_BYTES * number), REGISTER_BYTES)
}

impl<K> VirtioMmio<K> {
    /// Why the device needs a reset; `None` while it does not.
    pub fn broken(&self) -> Option<Broken> {
        self.broken
    }
}

#[expect(private_bounds, reason = "kinds of devices are added here, not by others")]
impl<K: Kind> VirtioMmio<K> {
    pub(super) fn of_kind(kind: K, irq: Irq) -> Self {
        VirtioMmio {
            kind,
            irq,
            status: Status::empty(),
            interrupts: Interrupts::empty(),
            device_features_half: 0,
            driver_features_half: 0,
            driver_features: 0,
            queue_selected: 0,
            queues: vec![Queue::default(); K::QUEUES],
            broken: None,
            now: Now::default(),
            pin: false,
        }
    }

    /// Whether the interrupt line is active.
    #[cfg(test)]
    pub(super) fn irq_is_raised(&self) -> bool {
        self.pin
    }

    fn offered_features() -> u64 {
        (Features::INDIRECT_DESC | Features::VERSION_1).bits() | K::FEATURES
    }

    /// Whether buffers can be used (2.1.2).
    fn is_live(&self) -> bool {
        self.status.contains(Status::DRIVER_OK | Status::FEATURES_OK)
            && !self.status.contains(Status::DEVICE_NEEDS_RESET)
    }

    fn limits(&self) -> Limits {
        Limits {
            indirect: Features::from_bits_retain(self.driver_features).contains(Features::INDIRECT_DESC),
            bytes: K::MOST_BYTES,
        }
    }

    fn selected_queue(&self) -> Option<&Queue> {
        self.queues.get(self.queue_selected as usize)
    }

    fn read_register(&self, register: Register) -> u32 {
        match register {
            Register::MagicValue => MAGIC,
            Register::Version => VERSION,
            Register::DeviceId => K::DEVICE_ID,
            Register::VendorId => VENDOR,
            Register::DeviceFeatures => half(Self::offered_features(), self.device_features_half),
            Register::QueueNumMax => self.selected_queue().map_or(0, |_| MOST_ENTRIES.into()),
            Register::QueueReady => self.selected_queue().is_some_and(Queue::is_ready).into(),
            Register::InterruptStatus => self.interrupts.bits(),
            Register::Status => self.status.bits(),
            // No configuration here ever changes.
            Register::ConfigGeneration => 0,
            Register::DeviceFeaturesSel
            | Register::DriverFeatures
            | Register::DriverFeaturesSel
            | Register::QueueSel
            | Register::QueueNum
            | Register::QueueNotify
            | Register::InterruptAck
            | Register::QueueDescLow
            | Register::QueueDescHigh
            | Register::QueueDriverLow
            | Register::QueueDriverHigh
            | Register::QueueDeviceLow
            | Register::QueueDeviceHigh => u32::MAX,
        }
    }

    fn write_register(&mut self, register: Register, value: u32) -> Vec<Signal> {
        match register {
            Register::DeviceFeaturesSel => self.device_features_half = value,
            Register::DriverFeatures => self.accept_features(value),
            Register::DriverFeaturesSel => self.driver_features_half = value,
            Register::QueueSel => self.queue_selected = value,
            Register::QueueNum => self.set_up(|queue| queue.ring.size = value),
            Register::QueueReady => self.set_queue_ready(value),
            Register::QueueNotify => return self.notify(value),
            Register::InterruptAck => self.interrupts -= Interrupts::from_bits_truncate(value),
            Register::Status => self.write_status(Status::from_bits_truncate(value)),
            Register::QueueDescLow => self.set_up(|queue| set_half(&mut queue.ring.descriptors, 0, value)),
            Register::QueueDescHigh => self.set_up(|queue| set_half(&mut queue.ring.descriptors, 1, value)),
            Register::QueueDriverLow => self.set_up(|queue| set_half(&mut queue.ring.available, 0, value)),
            Register::QueueDriverHigh => self.set_up(|queue| set_half(&mut queue.ring.available, 1, value)),
            Register::QueueDeviceLow => self.set_up(|queue| set_half(&mut queue.ring.used, 0, value)),
            Register::QueueDeviceHigh => self.set_up(|queue| set_half(&mut queue.ring.used, 1, value)),
            Register::MagicValue
            | Register::Version
            | Register::DeviceId
            | Register::VendorId
            | Register::DeviceFeatures
            | Register::QueueNumMax
            | Register::InterruptStatus
            | Register::ConfigGeneration => {}
        }
        Vec::new()
    }

    /// Once agreed on, features stay (3.1.1).
    fn accept_features(&mut self, value: u32) {
        if !self.status.contains(Status::FEATURES_OK) {
            set_half(&mut self.driver_features, self.driver_features_half, value);
        }
    }

    /// Bits are set one after another and cleared only all at once, by a reset (2.1.1, 2.4).
    fn write_status(&mut self, mut status: Status) {
        if status.is_empty() {
            return self.reset();
        }
        let version_1 = Features::from_bits_retain(self.driver_features).contains(Features::VERSION_1);
        if !version_1 || self.driver_features & !Self::offered_features() != 0 {
            status -= Status::FEATURES_OK;
        }
        self.status |= status - Status::DEVICE_NEEDS_RESET;
    }

    /// The registers as at the beginning; the disk, the wire and the time are not among them.
    fn reset(&mut self) {
        let fresh = Self::of_kind(self.kind.clone(), self.irq);
        *self = VirtioMmio { now: self.now, pin: self.pin, ..fresh };
    }

    /// Changes the selected queue, which must not be in use (4.2.2.2).
    fn set_up(&mut self, change: impl FnOnce(&mut Queue)) {
        let queue = self.queues.get_mut(self.queue_selected as usize);
        if let Some(queue) = queue.filter(|queue| !queue.is_ready()) {
            change(queue);
        }
    }

    /// Whatever was being done with the queue ends; setting it ready twice changes nothing.
    fn set_queue_ready(&mut self, value: u32) {
        let ready = value & 1 == 1;
        if let Some(queue) = self.queues.get_mut(self.queue_selected as usize)
            && !(ready && queue.is_ready())
        {
            queue.set_ready(ready);
        }
    }

    fn notify(&mut self, number: u32) -> Vec<Signal> {
        let (live, now) = (self.is_live(), self.now);
        match self.queues.get_mut(number as usize) {
            Some(queue) if live && queue.is_ready() => match K::occasion(number as usize) {
                Occasion::Notification => queue.notified(now, K::LATENCY),
                Occasion::Arrival => Vec::new(),
            },
            Some(_) | None => Vec::new(),
        }
    }

    /// What comes next, and in which queue.
    fn next(&self) -> Option<(Ticks, usize)> {
        (0..self.queues.len()).filter_map(|number| Some((self.next_in(number)?, number))).min()
    }

    fn next_in(&self, number: usize) -> Option<Ticks> {
        let queue = &self.queues[number];
        if queue.is_idle() { self.kind.arrival(number) } else { queue.next_event() }
    }

    /// Time comes to `then`: what is due until then, each at its moment.
    fn run(&mut self, then: Ticks) -> Vec<Signal> {
        let mut signals = Vec::new();
        while let Some((event, number)) = self.next().filter(|(event, _)| *event <= then) {
            self.now.advance(event);
            signals.extend(self.due(number));
        }
        self.now.advance(then);
        signals
    }

    fn due(&mut self, number: usize) -> Vec<Signal> {
        let usable = self.is_live() && self.queues[number].is_ready();
        let (now, queue) = (self.now, &mut self.queues[number]);
        if !queue.is_idle() {
            return queue.due(now).unwrap_or_else(|broken| self.fail(broken));
        }
        if usable {
            return queue.take(now);
        }
        self.kind.miss(number);
        Vec::new()
    }

    /// Memory has answered a queue.
    fn progress(&mut self, number: usize, bytes: &[u8]) -> Result<Vec<Signal>, Broken> {
        let (now, limits) = (self.now, self.limits());
        match self.queues[number].answer(now, bytes, limits, K::LATENCY)? {
            Progress::On(signals) => Ok(signals),
            Progress::Nothing => {
                if K::occasion(number) == Occasion::Arrival {
                    self.kind.miss(number);
                }
                self.go_on(number);
                Ok(Vec::new())
            }
            Progress::Request(chain, request) => self.serve(number, &chain, request),
            Progress::Over(notice) => {
                if notice == Notice::Interrupt {
                    self.interrupts |= Interrupts::USED_BUFFER;
                }
                self.go_on(number);
                Ok(Vec::new())
            }
        }
    }

    fn serve(&mut self, number: usize, chain: &Chain, request: Request) -> Result<Vec<Signal>, Broken> {
        match self.kind.serve(number, request, self.now.0)? {
            Served::Used { skip, bytes } => Ok(self.queues[number].use_buffer(self.now, chain, skip, &bytes)),
            Served::Left => {
                self.go_on(number);
                Ok(Vec::new())
            }
        }
    }

    fn go_on(&mut self, number: usize) {
        match K::occasion(number) {
            Occasion::Notification => self.queues[number].go_on(self.now, K::LATENCY),
            Occasion::Arrival => self.queues[number].stop(),
        }
    }

    /// The device, which is live, cannot go on; the driver is told as if the configuration had changed (2.1.2).
    fn fail(&mut self, broken: Broken) -> Vec<Signal> {
        self.broken = Some(broken);
        self.status |= Status::DEVICE_NEEDS_RESET;
        self.queues.iter_mut().for_each(Queue::stop);
        self.interrupts |= Interrupts::CONFIGURATION_CHANGE;
        self.drive_pin()
    }

    /// Brings the interrupt line to where the registers say, and tells if it moved.
    fn drive_pin(&mut self) -> Vec<Signal> {
        let active = !self.interrupts.is_empty();
        if active == self.pin {
            return Vec::new();
        }
        self.pin = active;
        vec![if active { Signal::RaiseIrq(self.irq) } else { Signal::LowerIrq(self.irq) }]
    }

    /// So many bytes of the configuration, which can be read in any width (4.2.2.2).
    fn read_config(&self, offset: u64, width: Width) -> u64 {
        let config = self.kind.config();
        (0..width.bytes()).fold(0, |value, at| {
            let place = offset.checked_add(at).and_then(|place| usize::try_from(place).ok());
            let byte = place.and_then(|place| config.get(place)).copied().unwrap_or(0);
            value | u64::from(byte) << (8 * at)
        })
    }
}

impl<K: Kind> Device for VirtioMmio<K> {
    fn name(&self) -> &'static str {
        K::NAME
    }

    fn register(&self, offset: u64) -> &'static str {
        match offset.checked_sub(CONFIG) {
            None => Register::name(offset),
            Some(offset) => K::FIELDS.iter().rfind(|(at, _)| *at <= offset).map_or("config", |(_, name)| *name),
        }
    }

    fn widest(&self) -> Width {
        Width::Dword
    }

    fn read(&mut self, offset: u64, width: Width) -> (u64, Vec<Signal>) {
        let value = match (offset.checked_sub(CONFIG), width) {
            (Some(offset), _) => self.read_config(offset, width),
            (None, Width::Dword) => {
                Register::at(offset).map_or(u32::MAX, |register| self.read_register(register)).into()
            }
            (None, Width::Byte | Width::Word | Width::Qword) => width.mask(),
        };
        (value, Vec::new())
    }

    fn write(&mut self, offset: u64, width: Width, value: u64) -> Vec<Signal> {
        let Some(register) = Register::at(offset).filter(|_| width == Width::Dword) else {
            return Vec::new();
        };
        let mut signals = self.write_register(register, half(value, 0));
        signals.extend(self.drive_pin());
        signals.extend(self.run(self.now.0));
        signals
    }

    fn memory_read(&mut self, address: PhysAddr, bytes: &[u8]) -> Vec<Signal> {
        let Some(number) = self.queues.iter().position(|queue| queue.awaits(address, bytes)) else {
            return Vec::new();
        };
        let mut signals = self.progress(number, bytes).unwrap_or_else(|broken| self.fail(broken));
        signals.extend(self.drive_pin());
        signals.extend(self.run(self.now.0));
        signals
    }

    fn advance(&mut self, now: Ticks) -> Vec<Signal> {
        self.run(now)
    }

    fn next_event(&self) -> Option<Ticks> {
        self.next().map(|(event, _)| event)
    }
}

/// A half of 64 bits; there are two.
fn half(value: u64, which: u32) -> u32 {
    match which {
        0 => (value & u64::from(u32::MAX)) as u32,
        1 => (value >> 32) as u32,
        _ => 0,
    }
}

fn set_half(value: &mut u64, which: u32, half: u32) {
    match which {
        0 => *value = *value & !u64::from(u32::MAX) | u64::from(half),
        1 => *value = *value & u64::from(u32::MAX) | u64::from(half) << 32,
        _ => {}
    }
}
