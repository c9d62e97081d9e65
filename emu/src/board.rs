//! The board: which devices the machine has, where they answer, and the writes on their way to them.
//!
//! To add a device, write it in `devices/` and add a line to [`Board::new`].
//!
//! A write to device memory is *posted*: it leaves the core at once and waits in a first-in first-out queue until it arrives,
//! and when it arrives is a choice. A read from device memory, or any IN or OUT, pushes the queue through first;
//! that is what "read back to make sure" means (PCI 3.0, 3.2.5). Port writes are not posted, nor are those to the local APIC,
//! which each core has at hand (SDM 3A 11.4.1).
//!
//! Devices do things by themselves when virtual time has come to their next event. A core's turn is cut there, so nothing
//! that a core can notice happens late; a device hears the time once more before each access to it.

mod interrupts;

pub use interrupts::Interrupts;
pub(crate) use interrupts::{ApicPlace, Request};

use crate::core::CoreId;
use crate::loader::Image;
use crate::machine::{Settings, Stop};
use crate::memory::Memory;
use crate::trace::{Event, EventLog};
use fencepost_devices::{
    ApicSignal, Ata, Bus, CmosRtc, DateTime, DebugConsole, DebugExit, Device, DeviceId, Disk, Framebuffer, FwCfg,
    I8042, IoApic, Irq, Line, Message, MouseButtons, PcTestdev, PhysAddr, Pic8259, Pit8254, ResetControl, Signal,
    Space, TICKS_PER_SECOND, Ticks, Uart16550, VgaText, VirtioBlock, VirtioNet, Width, Wire,
};
use std::collections::VecDeque;

/// A write to a device on its way there.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Posted {
    /// Who wrote.
    pub core: CoreId,
    /// Where to.
    pub address: PhysAddr,
    /// How wide.
    pub width: Width,
    /// What.
    pub value: u64,
}

/// Devices, buses and the posted writes.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Board {
    bus: Bus,
    posted: VecDeque<Posted>,
    interrupts: Interrupts,
    /// The moment before which nothing happens by itself.
    next_event: Option<Ticks>,
}

/// What a device may act on, or what remembers that it did.
pub(crate) struct Surroundings<'a> {
    pub(crate) memory: &'a mut Memory,
    pub(crate) log: &'a mut EventLog,
    pub(crate) stop: &'a mut Option<Stop>,
    /// Memory that devices have changed: translations of it must go.
    pub(crate) written: &'a mut Vec<(PhysAddr, u64)>,
    /// What time it is.
    pub(crate) now: Ticks,
}

/// What the clock of the machine shows at time 0: the same in every run.
const SWITCHED_ON: DateTime = DateTime { year: 2026, month: 1, day: 1, hour: 0, minute: 0, second: 0 };

/// The vector of the non-maskable interrupt (SDM 3A, table 6-1).
const NMI: u8 = 2;

/// The I/O APIC's pin of the timer, whose line 0 is (MultiProcessor Specification 1.4, 3.6.2.3).
const TIMER_PIN: u8 = 2;

/// The virtio disk's line: one that no older device uses.
const VIRTIO_DISK_IRQ: Irq = Irq(10);

/// The virtio card's line: likewise.
const VIRTIO_CARD_IRQ: Irq = Irq(11);

/// Bytes of the virtio disk, which is blank: enough for a few dozen sectors, and nothing to a snapshot, which shares them.
const VIRTIO_DISK_BYTES: usize = 64 << 10;

/// The card's address: QEMU's default, locally administered.
const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

/// From sending a frame to its coming back, 2 us: some hundred metres of cable each way.
const WIRE_LATENCY: Ticks = Ticks(TICKS_PER_SECOND / 500_000);

impl Board {
    /// The devices of a machine with `settings` at their places, with the disks and the network traffic of `image`.
    pub fn new(settings: &Settings, image: &Image) -> Board {
        let drive = |index: usize| image.disks().get(index).map(|image| Disk::new(image.clone()));
        let wire = image.frames().map_or(Wire::loopback(WIRE_LATENCY), |frames| Wire::script(frames.to_vec()));
        let mut bus = Bus::default();
        for attached in [
            bus.attach(Uart16550::default(), Uart16550::REGIONS),
            bus.attach(DebugConsole, DebugConsole::REGIONS),
            bus.attach(DebugExit, DebugExit::REGIONS),
            bus.attach(VgaText::default(), VgaText::REGIONS),
            bus.attach(Framebuffer::default(), Framebuffer::REGIONS),
            bus.attach(Pic8259::default(), Pic8259::REGIONS),
            // The identity that the firmware's tables say: the first that no local APIC has.
            bus.attach(IoApic::new(settings.cores), IoApic::REGIONS),
            bus.attach(Pit8254::default(), Pit8254::REGIONS),
            bus.attach(CmosRtc::new(SWITCHED_ON, settings.ram_bytes), CmosRtc::REGIONS),
            bus.attach(I8042::default(), I8042::REGIONS),
            bus.attach(ResetControl::default(), ResetControl::REGIONS),
            bus.attach(FwCfg::new(settings.cores.into(), settings.ram_bytes), FwCfg::REGIONS),
            bus.attach(PcTestdev::default(), PcTestdev::REGIONS),
            bus.attach(Ata::new([drive(0), drive(1)]), Ata::REGIONS),
            bus.attach(VirtioBlock::new(blank_disk(), VIRTIO_DISK_IRQ), VirtioBlock::REGIONS),
            bus.attach(VirtioNet::new(MAC, wire, VIRTIO_CARD_IRQ), VirtioNet::REGIONS),
        ] {
            attached.expect("the board's devices do not overlap");
        }
        let mut board =
            Board { bus, posted: VecDeque::new(), interrupts: Interrupts::new(settings.cores), next_event: None };
        board.settle();
        board
    }

    /// Writes bytes to ports before anything runs, as firmware has done before a kernel starts.
    pub(crate) fn program(&mut self, writes: &[(u16, u8)]) {
        for &(port, byte) in writes {
            let access = self.bus.write(Space::Ports, port.into(), Width::Byte, byte.into());
            for signal in access.signals {
                if let Signal::RaiseIrq(irq) | Signal::LowerIrq(irq) = signal {
                    self.drive(irq, matches!(signal, Signal::RaiseIrq(_)));
                }
            }
        }
        self.settle();
    }

    /// The buses, to look at devices.
    pub fn bus(&self) -> &Bus {
        &self.bus
    }

    /// The local APICs and what the cores have been asked.
    pub fn interrupts(&self) -> &Interrupts {
        &self.interrupts
    }

    pub(crate) fn interrupts_mut(&mut self) -> &mut Interrupts {
        &mut self.interrupts
    }

    /// When something happens by itself next; later than whatever has happened by itself so far.
    pub fn next_event(&self) -> Option<Ticks> {
        self.next_event
    }

    /// What does something by itself next: a local APIC, whose core is said, or another device; each by its name.
    pub(crate) fn next_by_itself(&self) -> Option<(Option<CoreId>, &'static str)> {
        let apic = self.interrupts.next_apic();
        let of_bus = self.bus.next_by_itself();
        match (apic, of_bus) {
            (Some((at, _)), Some((other, name))) if other < at => Some((None, name)),
            (Some((_, core)), _) => Some((Some(core), self.interrupts.apic(core).name())),
            (None, of_bus) => of_bus.map(|(_, name)| (None, name)),
        }
    }

    /// When something happens by itself that may interrupt a core, as far as can be told while no core runs: what a clock
    /// does to a line that nobody listens to wakes none, however often.
    pub(crate) fn next_waking_event(&self) -> Option<Ticks> {
        let clocks = [(self.bus.id_of::<Pit8254>(), Pit8254::IRQ), (self.bus.id_of::<CmosRtc>(), CmosRtc::IRQ)];
        let unheard = clocks.into_iter().filter(|(_, irq)| !self.listens_to(*irq));
        let unheard: Vec<DeviceId> = unheard.filter_map(|(clock, _)| clock).collect();
        [self.bus.next_event_besides(&unheard), self.interrupts.next_event()].into_iter().flatten().min()
    }

    /// Whether what `core` would read there depends on what time it is.
    pub(crate) fn tells_time(&self, core: CoreId, space: Space, address: u64, width: Width) -> bool {
        match self.apic_at(core, space, address, width) {
            Some(offset) => self.interrupts.apic(core).tells_time(offset),
            None => self.bus.tells_time(space, address, width),
        }
    }

    /// Whether a write of `core` there makes a difference by what time it is.
    pub(crate) fn takes_time(&self, core: CoreId, space: Space, address: u64, width: Width) -> bool {
        match self.apic_at(core, space, address, width) {
            Some(offset) => self.interrupts.apic(core).takes_time(offset),
            None => self.bus.takes_time(space, address, width),
        }
    }

    /// The offset into the registers of the local APIC of `core`, if an access is to them.
    fn apic_at(&self, core: CoreId, space: Space, address: u64, width: Width) -> Option<u64> {
        if space == Space::Memory { self.interrupts.offset(core, PhysAddr(address), width) } else { None }
    }

    /// Writes on their way to devices, oldest first.
    pub fn posted(&self) -> &VecDeque<Posted> {
        &self.posted
    }

    /// IN: pushes posted writes through, then reads the port.
    pub(crate) fn port_in(&mut self, core: CoreId, port: u16, width: Width, around: &mut Surroundings) -> u64 {
        self.push_through(around);
        let register = self.register(Space::Ports, u64::from(port), around);
        let access = self.read(Space::Ports, u64::from(port), width, around);
        let event = Event::PortRead { core, port, width: width.bytes() as u8, value: access.value };
        around.log.push_named(event, || register);
        self.finish(core, Space::Ports, u64::from(port), access.device, access.signals, around);
        access.value
    }

    /// OUT: pushes posted writes through, then writes the port.
    pub(crate) fn port_out(&mut self, core: CoreId, port: u16, width: Width, value: u64, around: &mut Surroundings) {
        self.push_through(around);
        let register = self.register(Space::Ports, u64::from(port), around);
        let event = Event::PortWritten { core, port, width: width.bytes() as u8, value: value & width.mask() };
        around.log.push_named(event, || register);
        self.tell_time(Space::Ports, u64::from(port), around);
        let access = self.bus.write(Space::Ports, u64::from(port), width, value);
        self.finish(core, Space::Ports, u64::from(port), access.device, access.signals, around);
    }

    /// An uncached load: pushes posted writes through, then reads the register.
    pub(crate) fn load(&mut self, core: CoreId, address: PhysAddr, width: Width, around: &mut Surroundings) -> u64 {
        if let Some(offset) = self.interrupts.offset(core, address, width) {
            return self.apic_load(core, offset, width, around);
        }
        self.push_through(around);
        let register = self.register(Space::Memory, address.0, around);
        let access = self.read(Space::Memory, address.0, width, around);
        let event = Event::DeviceRead { core, address: address.0, width: width.bytes() as u8, value: access.value };
        around.log.push_named(event, || register);
        self.finish(core, Space::Memory, address.0, access.device, access.signals, around);
        access.value
    }

    /// An uncached store: posts the write, unless it is to the local APIC.
    pub(crate) fn post(
        &mut self,
        core: CoreId,
        address: PhysAddr,
        width: Width,
        value: u64,
        around: &mut Surroundings,
    ) {
        let value = value & width.mask();
        if let Some(offset) = self.interrupts.offset(core, address, width) {
            return self.apic_store(core, offset, width, value, around);
        }
        let register = self.register(Space::Memory, address.0, around);
        let event = Event::Posted { core, address: address.0, width: width.bytes() as u8, value };
        around.log.push_named(event, || register);
        self.posted.push_back(Posted { core, address, width, value });
    }

    /// The oldest posted write arrives. Returns whether there was one.
    pub(crate) fn arrive(&mut self, around: &mut Surroundings) -> bool {
        let Some(Posted { core, address, width, value }) = self.posted.pop_front() else { return false };
        let register = self.register(Space::Memory, address.0, around);
        let event = Event::Arrived { core, address: address.0, width: width.bytes() as u8, value };
        around.log.push_named(event, || register);
        self.tell_time(Space::Memory, address.0, around);
        let access = self.bus.write(Space::Memory, address.0, width, value);
        self.finish(core, Space::Memory, address.0, access.device, access.signals, around);
        true
    }

    /// Whether the oldest posted write, when it arrives, does nothing but change the device that it is for.
    ///
    /// What it does is decided when it has become the oldest: no access reaches its device before it has arrived.
    pub(crate) fn arrives_quietly(&self) -> bool {
        let oldest = self.posted.front();
        oldest.is_some_and(|write| {
            // An end of interrupt reaches the I/O APIC without pushing anything through.
            let target = self.bus.decode(Space::Memory, write.address.0).map(|(device, _)| device);
            if target.is_some() && target == self.bus.id_of::<IoApic>() {
                return false;
            }
            self.bus.would_cause(Space::Memory, write.address.0, write.width, write.value).is_empty()
        })
    }

    /// All posted writes arrive, oldest first.
    pub(crate) fn push_through(&mut self, around: &mut Surroundings) {
        while self.arrive(around) {}
    }

    /// Time has come to `around.now`: everything that is due happens.
    pub(crate) fn advance(&mut self, around: &mut Surroundings) {
        if self.next_event.is_none_or(|next| next > around.now) {
            return;
        }
        self.interrupts.advance(around.now);
        for (device, signal) in self.bus.advance(around.now) {
            self.perform(device, vec![signal], around);
        }
        self.settle();
    }

    /// Somebody types the character `byte` on the keyboard.
    pub(crate) fn type_key(&mut self, byte: u8, around: &mut Surroundings) {
        around.log.push(Event::Typed { byte });
        self.change::<I8042>(around, |keyboard| {
            // What no key writes is not possible as a choice.
            _ = keyboard.type_text(&char::from(byte).to_string());
            Vec::new()
        });
    }

    /// The mouse moves, and its buttons are then `buttons`.
    pub(crate) fn move_mouse(&mut self, dx: i16, dy: i16, buttons: MouseButtons, around: &mut Surroundings) {
        around.log.push(Event::MouseMoved { dx, dy, buttons: buttons.bits() });
        self.change::<I8042>(around, |controller| {
            controller.mouse(dx, dy, buttons);
            Vec::new()
        });
    }

    /// A byte arrives at the serial port.
    pub(crate) fn receive(&mut self, byte: u8, around: &mut Surroundings) {
        around.log.push(Event::Received { byte });
        self.change::<Uart16550>(around, |uart| uart.receive(byte));
    }

    /// Changes a device from outside.
    fn change<T: Device>(&mut self, around: &mut Surroundings, change: impl FnOnce(&mut T) -> Vec<Signal>) {
        let Some(id) = self.bus.id_of::<T>() else { return };
        let signals = self.bus.advance_device(id, around.now);
        self.perform(id, signals, around);
        let signals = self.bus.device_mut::<T>().map(change).unwrap_or_default();
        self.perform(id, signals, around);
        self.settle();
    }

    /// Whether what is typed or received can interrupt a core.
    pub(crate) fn listens(&self) -> bool {
        [I8042::IRQS[0], I8042::IRQS[1], Uart16550::IRQ].into_iter().any(|irq| self.listens_to(irq))
    }

    /// Whether an interrupt controller lets this line through.
    fn listens_to(&self, irq: Irq) -> bool {
        let (pic, io_apic) = (self.bus.device::<Pic8259>(), self.bus.device::<IoApic>());
        pic.is_some_and(|pic| pic.listens_to(irq)) || io_apic.is_some_and(|io| io.listens_to(pin_of(irq)))
    }

    /// The vector of the interrupt that `core` takes, of those it is asked to take.
    pub(crate) fn acknowledge(&mut self, core: CoreId, request: Request) -> u8 {
        let vector = match request {
            Request::NonMaskable => {
                self.interrupts.asked(core).nmi.is_taken();
                NMI
            }
            Request::Local => {
                self.interrupts.apic_mut(core).acknowledge().expect("a request of the local APIC is pending")
            }
            Request::External => {
                self.interrupts.asked(core).ext_int = false;
                self.bus.device_mut::<Pic8259>().expect("the board has interrupt controllers").acknowledge()
            }
        };
        self.settle();
        vector
    }

    /// IA32_APIC_BASE of `core` moves its local APIC, or turns it on or off.
    pub(crate) fn put_apic(&mut self, core: CoreId, place: ApicPlace) {
        self.interrupts.put(core, place);
        self.settle();
    }

    /// CR8 of `core`: the class of its task priority.
    pub(crate) fn set_task_priority(&mut self, core: CoreId, class: u8) {
        self.interrupts.apic_mut(core).set_cr8(class);
    }

    fn apic_load(&mut self, core: CoreId, offset: u64, width: Width, around: &mut Surroundings) -> u64 {
        let apic = self.interrupts.apic_mut(core);
        apic.advance(around.now);
        let value = apic.read(offset, width);
        let register = around.log.details().then(|| format!("{} > {}", apic.name(), apic.register(offset)));
        let address = self.interrupts.place(core).base.0 + offset;
        let event = Event::DeviceRead { core, address, width: width.bytes() as u8, value };
        around.log.push_named(event, || register);
        self.settle();
        value
    }

    fn apic_store(&mut self, core: CoreId, offset: u64, width: Width, value: u64, around: &mut Surroundings) {
        let apic = self.interrupts.apic(core);
        let register = around.log.details().then(|| format!("{} > {}", apic.name(), apic.register(offset)));
        let address = self.interrupts.place(core).base.0 + offset;
        let event = Event::DeviceWritten { core, address, width: width.bytes() as u8, value };
        around.log.push_named(event, || register);
        for signal in self.interrupts.write(core, offset, width, value, around.now) {
            match signal {
                ApicSignal::Send(message) => self.send(message, around),
                ApicSignal::EndOfInterrupt(vector) => self.end_of_interrupt(vector, around),
            }
        }
        self.settle();
    }

    fn send(&mut self, message: Message, around: &mut Surroundings) {
        let Message { delivery, vector, .. } = message;
        around.log.push(Event::Sent { delivery: delivery as u8, vector });
        self.interrupts.route(&message);
    }

    fn end_of_interrupt(&mut self, vector: u8, around: &mut Surroundings) {
        let answers = self.bus.device_mut::<IoApic>().map(|io| io.end_of_interrupt(vector));
        for answer in answers.into_iter().flatten() {
            if let Signal::Interrupt(message) = answer {
                self.send(message, around);
            }
        }
    }

    /// A line of a device is at this level now.
    fn set_line(&mut self, irq: Irq, high: bool, around: &mut Surroundings) {
        around.log.push(Event::Irq { line: irq.0, raised: high });
        for answer in self.drive(irq, high) {
            if let Signal::Interrupt(message) = answer {
                self.send(message, around);
            }
        }
    }

    /// Drives a line to the interrupt controllers; what the I/O APIC sends for it.
    fn drive(&mut self, irq: Irq, high: bool) -> Vec<Signal> {
        if let Some(pic) = self.bus.device_mut::<Pic8259>() {
            pic.set_line(irq, high);
        }
        self.bus.device_mut::<IoApic>().map(|io| io.set_line(pin_of(irq), high)).unwrap_or_default()
    }

    /// After anything: the wire from the 8259A pair to the cores, and when something happens next.
    fn settle(&mut self) {
        let intr = self.bus.device::<Pic8259>().is_some_and(Pic8259::has_interrupt);
        self.interrupts.set_intr(intr);
        self.next_event = [self.bus.next_event(), self.interrupts.next_event()].into_iter().flatten().min();
    }

    /// Tells the device at `address` the time, as before every access.
    fn tell_time(&mut self, space: Space, address: u64, around: &mut Surroundings) {
        if let Some((device, _)) = self.bus.decode(space, address) {
            let signals = self.bus.advance_device(device, around.now);
            self.perform(device, signals, around);
        }
    }

    fn read(
        &mut self,
        space: Space,
        address: u64,
        width: Width,
        around: &mut Surroundings,
    ) -> fencepost_devices::Access {
        self.tell_time(space, address, around);
        self.bus.read(space, address, width)
    }

    fn register(&self, space: Space, address: u64, around: &Surroundings) -> Option<String> {
        around.log.details().then(|| self.bus.describe(space, address))
    }

    fn finish(
        &mut self,
        core: CoreId,
        space: Space,
        address: u64,
        device: Option<DeviceId>,
        signals: Vec<Signal>,
        around: &mut Surroundings,
    ) {
        match device {
            Some(device) => self.perform(device, signals, around),
            None => around.log.push(Event::Unanswered { core, address, port: space == Space::Ports }),
        }
        self.settle();
    }

    /// Does what a device asked for.
    fn perform(&mut self, device: DeviceId, signals: Vec<Signal>, around: &mut Surroundings) {
        for signal in signals {
            match signal {
                Signal::RaiseIrq(irq) => self.set_line(irq, true, around),
                Signal::LowerIrq(irq) => self.set_line(irq, false, around),
                Signal::Transmit { line: Line::Serial, byte } => around.log.push(Event::Serial { byte }),
                Signal::Transmit { line: Line::DebugConsole, byte } => around.log.push(Event::DebugConsole { byte }),
                Signal::Interrupt(message) => self.send(message, around),
                Signal::Reset => *around.stop = Some(Stop::Reset),
                Signal::FrameReady { number } => around.log.push(Event::FrameReady { number }),
                Signal::Exit(code) => {
                    around.log.push(Event::Exited { code });
                    *around.stop = Some(Stop::Exited { code });
                }
                Signal::WriteMemory { address, bytes } => {
                    if around.memory.write(address, &bytes) {
                        around.written.push((address, bytes.len() as u64));
                    }
                }
                Signal::ReadMemory { address, length } => {
                    // No bytes say that there is no memory at this address.
                    let bytes = around.memory.slice(address, length).unwrap_or_default();
                    let answers = self.bus.memory_read(device, address, bytes);
                    self.perform(device, answers, around);
                }
            }
        }
    }
}

/// The pin of the I/O APIC that a line is wired to.
fn pin_of(irq: Irq) -> u8 {
    if irq == Pit8254::IRQ { TIMER_PIN } else { irq.0 }
}

fn blank_disk() -> Disk {
    Disk::new(vec![0; VIRTIO_DISK_BYTES].into())
}
