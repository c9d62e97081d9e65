//! Who interrupts whom: the local APICs, the wires to them, and what each core has been asked to do.
//!
//! Lines of devices reach both the 8259A pair and the I/O APIC, as on every PC since the MultiProcessor Specification (1.4,
//! 3.6.2); line 0 is pin 2 of the I/O APIC. The output of the 8259A pair is LINT0 of every core, and each local APIC's table
//! says what becomes of it. [`Message`]s arrive at once.
//!
//! A core takes what it is asked in this order: reset and start-up, NMI, the local APIC's interrupt, the 8259A's
//! (SDM 3A 6.9 has the first two; processors leave the order of the last two open).
//!
//! Left out: system management mode; a request to enter it is ignored.

use crate::core::CoreId;
use crate::core::interruption::Openness;
use fencepost_devices::{Accepted, ApicSignal, Delivery, Lint, LocalApic, Message, PhysAddr, Ticks, Width};

/// The local APICs, and what the cores have been asked beside the interrupts that those hold.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Interrupts {
    apics: Vec<LocalApic>,
    asked: Vec<Asked>,
    /// Where each local APIC is.
    places: Vec<ApicPlace>,
    /// The output of the 8259A pair.
    intr: bool,
}

/// What IA32_APIC_BASE says of a local APIC (SDM 3A 11.4.4).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct ApicPlace {
    /// Where its page of registers is.
    pub(crate) base: PhysAddr,
    /// Whether it is turned on as a whole.
    pub(crate) is_on: bool,
}

/// What a core has been asked to do and has not done yet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) nmi: Nmi,
    /// An interrupt whose vector the 8259A gives has come by a message.
    pub(crate) ext_int: bool,
    pub(crate) init: bool,
    /// The page to start at.
    pub(crate) start_up: Option<u8>,
}

/// Non-maskable interrupts of a core.
///
/// While one is handled, one more waits and is all that becomes of others (SDM 3A 6.7.1). Before, two do: a processor would take
/// the first before the second arrives, where this one takes it when it is chosen to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Nmi {
    waiting: u8,
    is_handled: bool,
}

impl Nmi {
    /// Whether one waits.
    pub(crate) fn waits(self) -> bool {
        self.waiting > 0
    }

    fn arrives(&mut self) {
        let most = if self.is_handled { 1 } else { 2 };
        self.waiting = most.min(self.waiting + 1);
    }

    /// The core enters the handler.
    pub(crate) fn is_taken(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
        self.is_handled = true;
    }

    /// The core does not block them any more.
    pub(crate) fn is_done(&mut self) {
        self.is_handled = false;
    }
}

/// Which interrupt a core is to take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Request {
    NonMaskable,
    /// Of the local APIC.
    Local,
    /// Of the 8259A pair.
    External,
}

impl Interrupts {
    /// Those of a machine of so many cores; core 0 is the one that boots.
    pub(crate) fn new(cores: u8) -> Interrupts {
        Interrupts {
            apics: (0..cores).map(|id| LocalApic::new(id, id == 0)).collect(),
            asked: vec![Asked::default(); usize::from(cores)],
            places: vec![ApicPlace { base: LocalApic::BASE, is_on: true }; usize::from(cores)],
            intr: false,
        }
    }

    /// The local APIC of `core`.
    pub fn apic(&self, core: CoreId) -> &LocalApic {
        &self.apics[core.index()]
    }

    pub(crate) fn apic_mut(&mut self, core: CoreId) -> &mut LocalApic {
        &mut self.apics[core.index()]
    }

    /// Whether the local APIC of `core` is turned on (SDM 3A 11.4.3).
    pub(crate) fn is_on(&self, core: CoreId) -> bool {
        self.place(core).is_on
    }

    /// Where the local APIC of `core` is.
    pub(crate) fn place(&self, core: CoreId) -> ApicPlace {
        self.places[core.index()]
    }

    /// The offset into the registers of its local APIC, if an access of `core` is to them.
    pub(crate) fn offset(&self, core: CoreId, address: PhysAddr, width: Width) -> Option<u64> {
        let ApicPlace { base, is_on } = self.place(core);
        let offset = address.0.checked_sub(base.0).filter(|_| is_on)?;
        (offset < LocalApic::BYTES && offset + width.bytes() <= LocalApic::BYTES).then_some(offset)
    }

    /// Moves the local APIC of `core`, and turns it on or off: then it is as after power-up (SDM 3A 11.4.3, 11.4.7.2).
    pub(crate) fn put(&mut self, core: CoreId, place: ApicPlace) {
        let before = std::mem::replace(&mut self.places[core.index()], place);
        if before.is_on != place.is_on {
            self.apics[core.index()].reset();
        }
    }

    /// What `core` has been asked beside the interrupts of its local APIC.
    pub(crate) fn asked(&mut self, core: CoreId) -> &mut Asked {
        &mut self.asked[core.index()]
    }

    /// Whether some core is to be reset or started.
    pub(crate) fn has_orders(&self) -> bool {
        (0..self.asked.len()).any(|index| self.is_ordered(CoreId(index as u8)))
    }

    /// Whether `core` is to be reset or started.
    pub(crate) fn is_ordered(&self, core: CoreId) -> bool {
        let asked = &self.asked[core.index()];
        asked.init || asked.start_up.is_some()
    }

    /// Whether a non-maskable interrupt waits for `core`.
    pub(crate) fn has_nmi(&self, core: CoreId) -> bool {
        self.asked[core.index()].nmi.waits()
    }

    /// Whether a non-maskable interrupt waits for any core.
    pub(crate) fn has_any_nmi(&self) -> bool {
        self.asked.iter().any(|asked| asked.nmi.waits())
    }

    /// The first core for which one waits.
    pub(crate) fn first_with_nmi(&self) -> Option<CoreId> {
        self.asked.iter().position(|asked| asked.nmi.waits()).map(|index| CoreId(index as u8))
    }

    /// The core whose local APIC does something by itself next, and when.
    pub(crate) fn next_apic(&self) -> Option<(Ticks, CoreId)> {
        let events = self.apics.iter().enumerate();
        events.filter_map(|(index, apic)| Some((apic.next_event()?, CoreId(index as u8)))).min()
    }

    /// Whether anything wants to interrupt `core`, whatever its flags say.
    pub(crate) fn asks(&self, core: CoreId) -> bool {
        self.asked[core.index()].nmi.waits() || self.maskable(core).is_some()
    }

    /// What `core` would take now, as `openness` of it is, between two instructions.
    pub(crate) fn request(&self, core: CoreId, openness: impl FnOnce() -> Openness) -> Option<Request> {
        if !self.asks(core) {
            return None;
        }
        let openness = openness();
        if self.has_nmi(core) && openness.admits_nmi() {
            return Some(Request::NonMaskable);
        }
        self.maskable(core).filter(|_| openness.admits_maskable())
    }

    /// What wants to interrupt `core` and can be masked by its flags.
    pub(crate) fn maskable(&self, core: CoreId) -> Option<Request> {
        // Exploration may have more cores than the machine that it tries things on.
        let (apic, asked) = (self.apics.get(core.index())?, self.asked.get(core.index())?);
        if !self.is_on(core) {
            // Without APIC the pin is INTR, and wired to the core that boots.
            return (self.intr && core == CoreId(0)).then_some(Request::External);
        }
        if apic.pending().is_some() {
            Some(Request::Local)
        } else {
            ((apic.ext_int() || asked.ext_int) && self.intr).then_some(Request::External)
        }
    }

    /// A message goes to whom it means. Returns whether anybody was meant.
    pub(crate) fn route(&mut self, message: &Message) -> bool {
        let mut meant: Vec<usize> = (0..self.apics.len())
            .filter(|&at| self.places[at].is_on && self.apics[at].is_destination(message))
            .collect();
        if message.delivery == Delivery::LowestPriority {
            meant.sort_by_key(|&index| self.apics[index].arbitration_priority());
            meant.truncate(1);
        }
        for &index in &meant {
            let accepted = self.apics[index].accept(message);
            self.note(index, accepted);
        }
        !meant.is_empty()
    }

    /// The output of the 8259A pair is at this level now.
    pub(crate) fn set_intr(&mut self, high: bool) {
        if self.intr == high {
            return;
        }
        self.intr = high;
        for index in 0..self.apics.len() {
            let accepted = self.apics[index].set_line(Lint::Lint0, high);
            self.note(index, accepted);
        }
    }

    /// `core` writes a register of its local APIC. Returns what that asks of others.
    pub(crate) fn write(&mut self, core: CoreId, offset: u64, width: Width, value: u64, now: Ticks) -> Vec<ApicSignal> {
        self.apics[core.index()].write(offset, width, value, now)
    }

    /// Time has come to `now`.
    pub(crate) fn advance(&mut self, now: Ticks) {
        self.apics.iter_mut().for_each(|apic| apic.advance(now));
    }

    /// When the next local timer interrupts.
    pub(crate) fn next_event(&self) -> Option<Ticks> {
        self.apics.iter().filter_map(LocalApic::next_event).min()
    }

    fn note(&mut self, index: usize, accepted: Accepted) {
        let asked = &mut self.asked[index];
        match accepted {
            Accepted::Nothing | Accepted::Interrupt | Accepted::Smi => (),
            Accepted::Nmi => asked.nmi.arrives(),
            Accepted::ExtInt => asked.ext_int = true,
            Accepted::Init => *asked = Asked { init: true, ..Asked::default() },
            // The first one counts: the core does not wait any more when the second one comes.
            Accepted::StartUp(page) => _ = asked.start_up.get_or_insert(page),
        }
    }
}
