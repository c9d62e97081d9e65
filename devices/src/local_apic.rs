//! The local APIC, one a core, in xAPIC mode (SDM 3A chapter 11, "Advanced Programmable Interrupt Controller").
//!
//! It is not on the bus: each core reaches its own at the same address, and the machine carries [`Message`]s between
//! them and from the I/O APIC.
//! Registers are 32 bits wide and 16 bytes apart, and only 32-bit accesses at those places are architectural (11.4.1).
//! Of the others, a read of some of a register's four bytes gives those, a read that touches the bytes after them
//! gives all ones, and a write does nothing; [`LocalApic::is_architectural`] tells them apart.
//!
//! The timer counts a clock of 100 MHz, one cycle a tick of virtual time before division.
//! Its current count is as of the last time that was told, so tell the time before an access.
//! A masked timer counts on (11.5.4), and a change between one-shot and periodic takes effect at the end of the count.
//! The state holds moments of time only while the timer runs.
//!
//! Identity and version are as in a Pentium 4 or later: the identity can be written (11.4.6), a level de-assert is ignored.
//! Errors interrupt once until ESR is written, masked or not (11.5.3); a message with an illegal vector is sent all the
//! same, so that its receiver logs it too.
//! A command that table 11-3 calls invalid, such as NMI to oneself, sends nothing.
//!
//! Left out: x2APIC mode, the TSC deadline, remote reads, the CMCI entry, suppression of EOI messages, focus checking,
//! and anything that would interrupt through the thermal and performance entries.
//! False on hardware: messages arrive at once, so the delivery status is always idle, and no accept error happens.

mod registers;
mod timer;
mod vectors;

use crate::{Delivery, Destination, Message, PhysAddr, Ticks, Trigger, Width};
use registers::{Esr, Icr, Lvt, Register, Shorthand, Source, Svr};
use timer::Timer;
use vectors::Vectors;

/// A core's interrupt controller.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct LocalApic {
    /// Which core's it is.
    number: u8,
    /// What messages know it by (11.4.6): the number, until software writes another.
    id: u8,
    /// TPR: vectors of this class (bits 7 to 4) and below wait.
    task_priority: u8,
    /// LDR, bits 31 to 24.
    logical_id: u8,
    /// DFR, bits 31 to 28.
    destination_model: u8,
    svr: Svr,
    in_service: Vectors,
    /// TMR: which accepted vectors are level-triggered.
    trigger_mode: Vectors,
    requested: Vectors,
    /// ESR as it reads: the errors up to its last write.
    esr: Esr,
    /// The errors since then.
    errors: Esr,
    icr: Icr,
    lvt: [Lvt; 6],
    timer: Timer,
    /// Whether LINT0 and LINT1 are high.
    pins: [bool; 2],
}

/// What a local APIC asks of the machine.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ApicSignal {
    /// An interrupt for other cores or the own one: every local APIC that [is meant](LocalApic::is_destination) accepts
    /// it, or one of them if the delivery is to the lowest priority.
    Send(Message),
    /// A level-triggered interrupt of this vector has been dealt with; the I/O APIC waits for that.
    EndOfInterrupt(u8),
}

/// What comes of a message or of a pin.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[must_use]
pub enum Accepted {
    /// Nothing: disabled, masked, or not a change.
    Nothing,
    /// An interrupt is requested; [`LocalApic::pending`] tells when the core may take it.
    Interrupt,
    /// The core shall enter system management mode.
    Smi,
    /// The core shall take a non-maskable interrupt.
    Nmi,
    /// The core shall reset and wait for a start-up; its APIC has been reset already.
    Init,
    /// A core that waits shall start at the page of this number.
    StartUp(u8),
    /// The core shall take an interrupt of which the 8259A gives the vector.
    ExtInt,
}

/// A local interrupt pin.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Lint {
    /// LINT0, to which a PC wires the output of the 8259A.
    Lint0,
    /// LINT1, to which a PC wires NMI.
    Lint1,
}

/// Version 0x14 with six entries in the local vector table, no suppression of EOI messages (11.4.8).
const VERSION: u32 = 0x0005_0014;

/// Vectors below are the processor's own (11.5.2).
const FIRST_LEGAL_VECTOR: u8 = 16;

/// A destination that means every local APIC (11.6.2).
const BROADCAST: u8 = 0xff;

/// DFR: one bit of the logical destination for each of eight cores (11.6.2.2).
const FLAT: u8 = 0b1111;
/// DFR: four bits number a cluster, four are one for each core of it.
const CLUSTER: u8 = 0b0000;

impl LocalApic {
    /// Where each core finds its own.
    pub const BASE: PhysAddr = PhysAddr(0xfee0_0000);
    /// Length of the registers' page in bytes.
    pub const BYTES: u64 = 0x1000;
    /// The timer's clock before division.
    pub const TIMER_HERTZ: u64 = timer::HERTZ;

    /// The local APIC of the core `id` after power-up (11.4.7.1).
    ///
    /// On the bootstrap core it is as firmware hands it over, in virtual wire mode (MultiProcessor Specification 1.4,
    /// 3.6.2.2): enabled by software, LINT0 passes the 8259A on and LINT1 is NMI.
    pub fn new(id: u8, is_bootstrap: bool) -> LocalApic {
        let mut apic = LocalApic {
            number: id,
            id,
            task_priority: 0,
            logical_id: 0,
            destination_model: FLAT,
            svr: Svr::POWER_UP,
            in_service: Vectors::default(),
            trigger_mode: Vectors::default(),
            requested: Vectors::default(),
            esr: Esr::empty(),
            errors: Esr::empty(),
            icr: Icr::default(),
            lvt: [Lvt::MASKED; 6],
            timer: Timer::default(),
            pins: [false; 2],
        };
        if is_bootstrap {
            apic.svr = Svr::written(0x1ff);
            *apic.entry(Source::Lint0) = Lvt(0x700);
            *apic.entry(Source::Lint1) = Lvt(0x400);
        }
        apic
    }

    /// The name in traces.
    pub fn name(&self) -> &'static str {
        "lapic"
    }

    /// The manual's name of the register at `offset`.
    pub fn register(&self, offset: u64) -> &'static str {
        Register::at(offset & !0xf).map_or("RESERVED", |(_, name)| name)
    }

    /// The identity that physical destinations name.
    pub fn id(&self) -> u8 {
        self.id
    }

    /// Whether the manual says what such an access does: 32 bits at a multiple of 16.
    pub const fn is_architectural(offset: u64, width: Width) -> bool {
        offset.is_multiple_of(16) && matches!(width, Width::Dword)
    }

    /// The core reads the register at `offset`.
    pub fn read(&mut self, offset: u64, width: Width) -> u64 {
        let first = offset % 16;
        if first + width.bytes() > 4 {
            return width.mask();
        }
        match Register::at(offset - first) {
            Some((register, _)) => u64::from(self.read_register(register)) >> (8 * first) & width.mask(),
            None => {
                self.log(Esr::ILLEGAL_REGISTER_ADDRESS);
                0
            }
        }
    }

    /// The core writes the register at `offset` at the moment `now`.
    pub fn write(&mut self, offset: u64, width: Width, value: u64, now: Ticks) -> Vec<ApicSignal> {
        self.advance(now);
        if !LocalApic::is_architectural(offset, width) {
            return Vec::new();
        }
        let [b0, b1, b2, b3, ..] = value.to_le_bytes();
        let value = u32::from_le_bytes([b0, b1, b2, b3]);
        match Register::at(offset) {
            Some((register, _)) => self.write_register(register, value, now),
            None => {
                self.log(Esr::ILLEGAL_REGISTER_ADDRESS);
                Vec::new()
            }
        }
    }

    /// Whether `message` is for this local APIC (11.6.2).
    pub fn is_destination(&self, message: &Message) -> bool {
        match message.destination {
            Destination::Physical(id) => id == BROADCAST || id == self.id,
            Destination::Logical(mask) => mask == BROADCAST || self.matches_logical(mask),
            Destination::Itself(sender) => sender == self.number,
            Destination::All => true,
            Destination::AllBut(sender) => sender != self.number,
        }
    }

    /// A message arrives that is for this local APIC (11.6.3, 11.8.4).
    pub fn accept(&mut self, message: &Message) -> Accepted {
        if !message.assert {
            return Accepted::Nothing;
        }
        match message.delivery {
            Delivery::Fixed | Delivery::LowestPriority if !self.is_enabled() => Accepted::Nothing,
            Delivery::Fixed | Delivery::LowestPriority => self.request(message.vector, message.trigger),
            Delivery::Smi => Accepted::Smi,
            Delivery::Nmi => Accepted::Nmi,
            Delivery::Init => {
                self.init();
                Accepted::Init
            }
            Delivery::StartUp => Accepted::StartUp(message.vector),
            Delivery::ExtInt => Accepted::ExtInt,
        }
    }

    /// The level of a local interrupt pin, as its entry in the local vector table takes it.
    pub fn set_line(&mut self, pin: Lint, high: bool) -> Accepted {
        let was_active = self.is_active(pin);
        self.pins[pin as usize] = high;
        let entry = *self.entry(pin.source());
        match entry.trigger() {
            Trigger::Level => self.sense(pin),
            // A level that the 8259A ends: see `ext_int`.
            Trigger::Edge if entry.delivery() == Some(Delivery::ExtInt) => Accepted::Nothing,
            Trigger::Edge if !was_active && self.is_active(pin) => self.interrupt_from(pin.source()),
            Trigger::Edge => Accepted::Nothing,
        }
    }

    /// Whether the 8259A's request comes through one of the pins: the core may take an interrupt of its vector.
    pub fn ext_int(&self) -> bool {
        [Lint::Lint0, Lint::Lint1].into_iter().any(|pin| {
            let entry = self.lvt[pin.source() as usize];
            entry.delivery() == Some(Delivery::ExtInt) && !entry.is_masked() && self.is_active(pin)
        })
    }

    /// The vector that the core is asked to take: the highest requested one, if it is above the processor's priority.
    pub fn pending(&self) -> Option<u8> {
        let vector = self.requested.highest()?;
        (self.is_enabled() && class(vector) > class(self.processor_priority())).then_some(vector)
    }

    /// The core takes an interrupt: its vector, from now on in service.
    ///
    /// The spurious vector, which needs no EOI, if what was pending has lost to a raised task priority (11.9);
    /// nothing if nothing is requested.
    pub fn acknowledge(&mut self) -> Option<u8> {
        let Some(vector) = self.pending() else {
            let too_late = self.is_enabled() && !self.requested.is_empty();
            return too_late.then_some(self.svr.vector());
        };
        self.requested.set(vector, false);
        self.in_service.set(vector, true);
        Some(vector)
    }

    /// Time has come to `now`: the timer has counted so far.
    pub fn advance(&mut self, now: Ticks) {
        let mode = self.entry(Source::Timer).timer_mode();
        if self.timer.advance(now, mode) {
            // Its entry has no other delivery than Fixed, so that nothing is asked of the core.
            let _ = self.interrupt_from(Source::Timer);
        }
    }

    /// When the timer will interrupt; a masked one will not.
    pub fn next_event(&self) -> Option<Ticks> {
        let masked = self.lvt[Source::Timer as usize].is_masked();
        self.timer.end().filter(|_| !masked)
    }

    /// Whether the register at `offset` reads otherwise when time has passed: the count of the timer, while it counts.
    pub fn tells_time(&self, offset: u64) -> bool {
        matches!(Register::at(offset & !0xf), Some((Register::CurrentCount, _))) && self.timer.end().is_some()
    }

    /// Whether a write of the register at `offset` makes a difference by what time it is: it starts the timer, or changes how it
    /// counts.
    pub fn takes_time(&self, offset: u64) -> bool {
        use Register::{DivideConfiguration, InitialCount};
        matches!(Register::at(offset & !0xf), Some((InitialCount | DivideConfiguration, _)))
    }

    /// What CR8 reads: the task priority's class (11.8.6).
    pub fn cr8(&self) -> u8 {
        class(self.task_priority)
    }

    /// CR8 is written: the task priority becomes the lowest of class `value`, of which only four bits count.
    pub fn set_cr8(&mut self, value: u8) {
        self.task_priority = value << 4;
    }

    /// APR: who has the lowest gets a message to the lowest priority (11.6.2.4).
    ///
    /// The manual's formula, with its AND of two classes as it stands there.
    pub fn arbitration_priority(&self) -> u8 {
        let [task, service, request] = [self.task_priority, top(&self.in_service), top(&self.requested)].map(class);
        if task >= request && task > service { self.task_priority } else { (task & service).max(request) << 4 }
    }

    /// As after power-up: software has turned it off and on again (11.4.7.2).
    pub fn reset(&mut self) {
        *self = LocalApic { pins: self.pins, ..LocalApic::new(self.number, false) };
    }

    /// What an INIT message does: all as after power-up but the identity (11.4.7.3), and the pins, which are wires.
    fn init(&mut self) {
        let id = self.id;
        self.reset();
        self.id = id;
    }

    fn read_register(&self, register: Register) -> u32 {
        match register {
            Register::Id => u32::from(self.id) << 24,
            Register::Version => VERSION,
            Register::TaskPriority => self.task_priority.into(),
            Register::ArbitrationPriority => self.arbitration_priority().into(),
            Register::ProcessorPriority => self.processor_priority().into(),
            Register::EndOfInterrupt | Register::RemoteRead => 0,
            Register::LogicalDestination => u32::from(self.logical_id) << 24,
            Register::DestinationFormat => u32::from(self.destination_model) << 28 | 0x0fff_ffff,
            Register::SpuriousVector => self.svr.0,
            Register::InService(index) => self.in_service.word(index),
            Register::TriggerMode(index) => self.trigger_mode.word(index),
            Register::InterruptRequest(index) => self.requested.word(index),
            Register::ErrorStatus => self.esr.bits(),
            Register::InterruptCommandLow => self.icr.low,
            Register::InterruptCommandHigh => self.icr.high,
            Register::Lvt(source) => self.lvt[source as usize].0,
            Register::InitialCount => self.timer.initial(),
            Register::CurrentCount => self.timer.current(),
            Register::DivideConfiguration => self.timer.divide().into(),
        }
    }

    fn write_register(&mut self, register: Register, value: u32, now: Ticks) -> Vec<ApicSignal> {
        let [low, .., high] = value.to_le_bytes();
        match register {
            Register::Id => self.id = high,
            Register::TaskPriority => self.task_priority = low,
            Register::EndOfInterrupt => return self.end_of_interrupt().into_iter().collect(),
            Register::LogicalDestination => self.logical_id = high,
            Register::DestinationFormat => self.destination_model = high >> 4,
            Register::SpuriousVector => self.write_svr(value),
            Register::ErrorStatus => (self.esr, self.errors) = (self.errors, Esr::empty()),
            Register::InterruptCommandLow => {
                self.icr.write_low(value);
                return self.send().into_iter().collect();
            }
            Register::InterruptCommandHigh => self.icr.write_high(value),
            Register::Lvt(source) => self.write_lvt(source, value),
            Register::InitialCount => self.timer.start(value, now),
            Register::DivideConfiguration => self.timer.set_divide(low, now),
            // For reading.
            Register::Version
            | Register::ArbitrationPriority
            | Register::ProcessorPriority
            | Register::RemoteRead
            | Register::InService(_)
            | Register::TriggerMode(_)
            | Register::InterruptRequest(_)
            | Register::CurrentCount => {}
        }
        Vec::new()
    }

    /// Disabling by software masks the whole local vector table; enabling leaves it masked (11.4.7.2).
    fn write_svr(&mut self, value: u32) {
        self.svr = Svr::written(value);
        if !self.is_enabled() {
            self.lvt = self.lvt.map(Lvt::masked);
        }
    }

    /// While disabled by software, attempts to unmask are ignored (11.4.7.2).
    fn write_lvt(&mut self, source: Source, value: u32) {
        let enabled = self.is_enabled();
        let entry = self.entry(source);
        *entry = entry.written(source, value);
        if !enabled {
            *entry = entry.masked();
        }
        if let Some(pin) = source.pin() {
            // A level requests an interrupt and nothing else, so that nothing is asked of the core.
            let _ = self.sense(pin);
        }
    }

    /// The message that the command register says, if it is one that can be sent (table 11-3).
    fn send(&mut self) -> Option<ApicSignal> {
        let (shorthand, delivery) = (self.icr.shorthand(), self.icr.delivery()?);
        let may_go_to_self = delivery == Delivery::Fixed;
        let destination = match shorthand {
            Shorthand::Itself | Shorthand::All if !may_go_to_self => return None,
            Shorthand::Itself => Destination::Itself(self.number),
            Shorthand::All => Destination::All,
            Shorthand::AllBut => Destination::AllBut(self.number),
            Shorthand::No if self.icr.is_logical() => Destination::Logical(self.icr.destination()),
            Shorthand::No => Destination::Physical(self.icr.destination()),
        };
        let vector = self.icr.vector();
        match delivery {
            Delivery::ExtInt => return None,
            Delivery::Fixed | Delivery::LowestPriority if vector < FIRST_LEGAL_VECTOR => {
                self.log(Esr::SEND_ILLEGAL_VECTOR);
            }
            Delivery::Fixed | Delivery::LowestPriority | Delivery::Smi => {}
            Delivery::Nmi | Delivery::Init | Delivery::StartUp => {}
        }
        // Since the Pentium 4 all others go out as edges, asserted, whatever the bits say (11.6.1).
        let deassert = self.icr.is_init_deassert();
        let trigger = if deassert { Trigger::Level } else { Trigger::Edge };
        Some(ApicSignal::Send(Message { destination, delivery, vector, assert: !deassert, trigger }))
    }

    /// The interrupt of the highest priority in service is over (11.8.5).
    fn end_of_interrupt(&mut self) -> Option<ApicSignal> {
        let vector = self.in_service.highest()?;
        self.in_service.set(vector, false);
        if !self.trigger_mode.contains(vector) {
            return None;
        }
        for pin in [Lint::Lint0, Lint::Lint1] {
            let entry = self.entry(pin.source());
            if entry.vector() == vector {
                *entry = entry.with_remote_irr(false);
                let _ = self.sense(pin);
            }
        }
        Some(ApicSignal::EndOfInterrupt(vector))
    }

    /// Requests an interrupt for an active pin that is level-triggered, unless the last one still waits for its EOI.
    fn sense(&mut self, pin: Lint) -> Accepted {
        let entry = *self.entry(pin.source());
        if !entry.is_level() || entry.awaits_eoi() || !self.is_active(pin) {
            return Accepted::Nothing;
        }
        let accepted = self.interrupt_from(pin.source());
        if accepted == Accepted::Interrupt {
            *self.entry(pin.source()) = entry.with_remote_irr(true);
        }
        accepted
    }

    /// What the local vector table makes of an event of `source` (11.5.1).
    fn interrupt_from(&mut self, source: Source) -> Accepted {
        let entry = *self.entry(source);
        if entry.is_masked() {
            return Accepted::Nothing;
        }
        match entry.delivery() {
            Some(Delivery::Fixed) => self.request(entry.vector(), entry.trigger()),
            Some(Delivery::Smi) => Accepted::Smi,
            Some(Delivery::Nmi) => Accepted::Nmi,
            Some(Delivery::Init) => {
                self.init();
                Accepted::Init
            }
            Some(Delivery::ExtInt) => Accepted::ExtInt,
            // Reserved in the table.
            Some(Delivery::LowestPriority | Delivery::StartUp) | None => Accepted::Nothing,
        }
    }

    /// An interrupt of `vector` is requested (11.8.4); one that is requested already is the same one.
    fn request(&mut self, vector: u8, trigger: Trigger) -> Accepted {
        if vector < FIRST_LEGAL_VECTOR {
            self.log(Esr::RECEIVE_ILLEGAL_VECTOR);
            return Accepted::Nothing;
        }
        self.requested.set(vector, true);
        self.trigger_mode.set(vector, trigger == Trigger::Level);
        Accepted::Interrupt
    }

    /// Notes an error for the next write of ESR; the first one since the last write interrupts (11.5.3).
    fn log(&mut self, error: Esr) {
        let armed = self.errors.is_empty();
        self.errors |= error;
        if armed {
            // Its entry has no other delivery than Fixed, so that nothing is asked of the core.
            let _ = self.interrupt_from(Source::Error);
        }
    }

    /// PPR: the higher of the task's priority and the class in service (11.8.3.1).
    fn processor_priority(&self) -> u8 {
        let service = top(&self.in_service);
        if class(self.task_priority) >= class(service) { self.task_priority } else { service & 0xf0 }
    }

    /// Whether a logical destination names this one, by the model that DFR says; others than the two match nothing.
    fn matches_logical(&self, mask: u8) -> bool {
        match self.destination_model {
            FLAT => mask & self.logical_id != 0,
            CLUSTER => class(mask) == class(self.logical_id) && mask & self.logical_id & 0xf != 0,
            _ => false,
        }
    }

    fn is_enabled(&self) -> bool {
        self.svr.is_enabled()
    }

    fn is_active(&self, pin: Lint) -> bool {
        self.pins[pin as usize] != self.lvt[pin.source() as usize].is_active_low()
    }

    fn entry(&mut self, source: Source) -> &mut Lvt {
        &mut self.lvt[source as usize]
    }
}

impl Lint {
    const fn source(self) -> Source {
        match self {
            Lint::Lint0 => Source::Lint0,
            Lint::Lint1 => Source::Lint1,
        }
    }
}

impl Source {
    const fn pin(self) -> Option<Lint> {
        match self {
            Source::Lint0 => Some(Lint::Lint0),
            Source::Lint1 => Some(Lint::Lint1),
            Source::Timer | Source::Thermal | Source::Performance | Source::Error => None,
        }
    }
}

/// The priority class of a vector or a priority: interrupts of a class do not interrupt each other (11.8.3).
const fn class(priority: u8) -> u8 {
    priority >> 4
}

/// The highest vector, 0 for none.
fn top(vectors: &Vectors) -> u8 {
    vectors.highest().unwrap_or(0)
}

#[cfg(test)]
mod tests;
