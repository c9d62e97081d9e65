//! The board: which devices the machine has, where they answer, and the writes on their way to them.
//!
//! To add a device, write it in `devices/` and add a line to [`Board::new`].
//!
//! A write to device memory is *posted*: it leaves the core at once and waits in a first-in first-out queue until it arrives,
//! and when it arrives is a choice. A read from device memory, or any IN or OUT, pushes the queue through first;
//! that is what "read back to make sure" means (PCI 3.0, 3.2.5). Port writes are not posted.

use crate::core::CoreId;
use crate::machine::Stop;
use crate::memory::Memory;
use crate::trace::{Event, EventLog};
use fencepost_devices::{
    Bus, DebugConsole, DebugExit, DeviceId, Framebuffer, Irq, Line, PhysAddr, Signal, Space, Uart16550, VgaText, Width,
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
}

/// What a device may act on, or what remembers that it did.
pub(crate) struct Surroundings<'a> {
    pub(crate) memory: &'a mut Memory,
    pub(crate) log: &'a mut EventLog,
    pub(crate) stop: &'a mut Option<Stop>,
    /// Memory that devices have changed: translations of it must go.
    pub(crate) written: &'a mut Vec<(PhysAddr, u64)>,
}

impl Board {
    /// The machine's devices at their places.
    pub fn new() -> Board {
        let mut bus = Bus::default();
        for attached in [
            bus.attach(Uart16550::default(), Uart16550::REGIONS),
            bus.attach(DebugConsole, DebugConsole::REGIONS),
            bus.attach(DebugExit, DebugExit::REGIONS),
            bus.attach(VgaText::default(), VgaText::REGIONS),
            bus.attach(Framebuffer::default(), Framebuffer::REGIONS),
        ] {
            attached.expect("the board's devices do not overlap");
        }
        Board { bus, posted: VecDeque::new() }
    }

    /// The buses, to look at devices.
    pub fn bus(&self) -> &Bus {
        &self.bus
    }

    /// Writes on their way to devices, oldest first.
    pub fn posted(&self) -> &VecDeque<Posted> {
        &self.posted
    }

    /// IN: pushes posted writes through, then reads the port.
    pub(crate) fn port_in(&mut self, core: CoreId, port: u16, width: Width, around: &mut Surroundings) -> u64 {
        self.push_through(around);
        let register = self.register(Space::Ports, u64::from(port), around);
        let access = self.bus.read(Space::Ports, u64::from(port), width);
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
        let access = self.bus.write(Space::Ports, u64::from(port), width, value);
        self.finish(core, Space::Ports, u64::from(port), access.device, access.signals, around);
    }

    /// An uncached load: pushes posted writes through, then reads the register.
    pub(crate) fn load(&mut self, core: CoreId, address: PhysAddr, width: Width, around: &mut Surroundings) -> u64 {
        self.push_through(around);
        let register = self.register(Space::Memory, address.0, around);
        let access = self.bus.read(Space::Memory, address.0, width);
        let event = Event::DeviceRead { core, address: address.0, width: width.bytes() as u8, value: access.value };
        around.log.push_named(event, || register);
        self.finish(core, Space::Memory, address.0, access.device, access.signals, around);
        access.value
    }

    /// An uncached store: posts the write.
    pub(crate) fn post(
        &mut self,
        core: CoreId,
        address: PhysAddr,
        width: Width,
        value: u64,
        around: &mut Surroundings,
    ) {
        let value = value & width.mask();
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
            let access = self.bus.clone().write(Space::Memory, write.address.0, write.width, write.value);
            access.signals.is_empty()
        })
    }

    /// All posted writes arrive, oldest first.
    pub(crate) fn push_through(&mut self, around: &mut Surroundings) {
        while self.arrive(around) {}
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
    }

    /// Does what a device asked for.
    fn perform(&mut self, device: DeviceId, signals: Vec<Signal>, around: &mut Surroundings) {
        for signal in signals {
            match signal {
                Signal::RaiseIrq(Irq(line)) => around.log.push(Event::Irq { line, raised: true }),
                Signal::LowerIrq(Irq(line)) => around.log.push(Event::Irq { line, raised: false }),
                Signal::Transmit { line: Line::Serial, byte } => around.log.push(Event::Serial { byte }),
                Signal::Transmit { line: Line::DebugConsole, byte } => around.log.push(Event::DebugConsole { byte }),
                // The board has no interrupt controller and no keyboard controller yet, whose signals these are.
                Signal::Interrupt(_) | Signal::Reset => (),
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
                    // Only the address range of memory is backed; a device reading elsewhere gets nothing back.
                    if let Some(bytes) = around.memory.slice(address, length) {
                        let answers = self.bus.memory_read(device, address, bytes);
                        self.perform(device, answers, around);
                    }
                }
            }
        }
    }
}

impl Default for Board {
    fn default() -> Board {
        Board::new()
    }
}
