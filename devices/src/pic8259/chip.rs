//! One 8259A: eight interrupt inputs, of which it picks the most urgent.

use bitflags::bitflags;

bitflags! {
    /// ICW1, the first initialization command word.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    struct Icw1: u8 {
        /// IC4: ICW4 follows.
        const ICW4_FOLLOWS = 1 << 0;
        /// SNGL: there is one 8259A only, and no ICW3.
        const SINGLE = 1 << 1;
        /// LTIM: all inputs are levels.
        const LEVEL_TRIGGERED = 1 << 3;
        /// What tells ICW1 from the operation command words.
        const INITIALIZE = 1 << 4;
    }
}

bitflags! {
    /// ICW4, the fourth initialization command word; buffering and the choice of processor have no effect.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    struct Icw4: u8 {
        /// AEOI: an interrupt is over when it is acknowledged.
        const AUTO_EOI = 1 << 1;
        /// SFNM: special fully nested mode.
        const SPECIAL_FULLY_NESTED = 1 << 4;
    }
}

bitflags! {
    /// OCW3, the third operation command word.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    struct Ocw3: u8 {
        /// RIS: the status to read is ISR, not IRR.
        const READ_ISR = 1 << 0;
        /// RR: the bit before counts.
        const READ_REGISTER = 1 << 1;
        /// P: the next read is an acknowledgement.
        const POLL = 1 << 2;
        /// What tells OCW3 from OCW2.
        const SELECT = 1 << 3;
        /// SMM: special mask mode.
        const SPECIAL_MASK = 1 << 5;
        /// ESMM: the bit before counts.
        const ENABLE_SPECIAL_MASK = 1 << 6;
    }
}

/// An 8259A.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Chip {
    role: Role,
    /// Which initialization command word is next at the odd port.
    next: Next,
    icw1: Icw1,
    /// ICW2, the vector of input 0.
    base: u8,
    /// ICW3: a master's inputs that have slaves, or a slave's number.
    cascade: u8,
    icw4: Icw4,
    imr: u8,
    isr: u8,
    /// The requests of edge-triggered inputs.
    edges: u8,
    /// Which inputs are high.
    lines: u8,
    /// ELCR: the inputs that are levels.
    elcr: u8,
    /// The input of the lowest priority; the next one, counting around, has the highest.
    lowest: u8,
    rotate_on_auto_eoi: bool,
    special_mask: bool,
    status: Status,
    /// Whether the next read is an acknowledgement.
    poll: bool,
}

/// What the chip is wired as.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Role {
    Master,
    Slave,
}

/// How far initialization has come.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Next {
    /// Nobody has begun: the chip interrupts nobody.
    Icw1,
    Icw2,
    Icw3,
    Icw4,
    /// Done: the odd port is OCW1.
    Ocw1,
}

/// What the even port reads.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Status {
    Irr,
    Isr,
}

/// The input whose vector is given when there is nothing to give ("default IR7").
pub(super) const SPURIOUS: u8 = 7;

/// In the answer to a poll: there was a request.
const POLLED: u8 = 1 << 7;

impl Chip {
    /// A chip after power-up, which nobody has initialized.
    pub(super) fn new(role: Role) -> Chip {
        Chip {
            role,
            next: Next::Icw1,
            icw1: Icw1::empty(),
            base: 0,
            cascade: 0,
            icw4: Icw4::empty(),
            imr: 0,
            isr: 0,
            edges: 0,
            lines: 0,
            elcr: 0,
            lowest: 7,
            rotate_on_auto_eoi: false,
            special_mask: false,
            status: Status::Irr,
            poll: false,
        }
    }

    /// The level of input `ir`. A request that has not got through to INT goes with it.
    pub(super) fn set_line(&mut self, ir: u8, high: bool) {
        let input = bit(ir);
        if high {
            self.edges |= input & !self.lines & !self.levels();
            self.lines |= input;
        } else {
            self.lines &= !input;
            if !self.listens_to(ir) {
                self.edges &= !input;
            }
        }
    }

    /// Whether input `ir` can interrupt: the chip is initialized and does not mask it.
    pub(super) fn listens_to(&self, ir: u8) -> bool {
        self.next == Next::Ocw1 && self.imr & bit(ir) == 0
    }

    /// INT: whether the chip asks for an acknowledgement.
    pub(super) fn int(&self) -> bool {
        self.request().is_some()
    }

    /// INTA: the input whose interrupt is taken; none if its line has gone low meanwhile.
    pub(super) fn acknowledge(&mut self) -> Option<u8> {
        let ir = self.request()?;
        self.edges &= !bit(ir);
        if self.lines & bit(ir) == 0 {
            return None;
        }
        if !self.icw4.contains(Icw4::AUTO_EOI) {
            self.isr |= bit(ir);
        } else if self.rotate_on_auto_eoi {
            self.lowest = ir;
        }
        Some(ir)
    }

    /// The vector of input `ir`.
    pub(super) fn vector(&self, ir: u8) -> u8 {
        self.base | ir
    }

    /// A slave's number, which is the master's input it answers for.
    pub(super) fn slave_number(&self) -> u8 {
        self.cascade & 0b111
    }

    /// Whether a slave gives the vector for input `ir`.
    pub(super) fn has_slave(&self, ir: u8) -> bool {
        let cascaded = self.role == Role::Master && !self.icw1.contains(Icw1::SINGLE);
        cascaded && self.cascade & bit(ir) != 0
    }

    pub(super) fn elcr(&self) -> u8 {
        self.elcr
    }

    /// The inputs that are levels from now on; an edge that such a one has seen is forgotten.
    pub(super) fn set_elcr(&mut self, levels: u8) {
        self.elcr = levels;
        self.edges &= !self.levels();
    }

    /// The register that a write of the odd port reaches.
    pub(super) fn odd_register(&self) -> OddRegister {
        match self.next {
            Next::Icw2 => OddRegister::Icw2,
            Next::Icw3 => OddRegister::Icw3,
            Next::Icw4 => OddRegister::Icw4,
            Next::Icw1 | Next::Ocw1 => OddRegister::Ocw1,
        }
    }

    /// The even port: the status that OCW3 chose, or the answer to a poll.
    pub(super) fn read_even(&mut self) -> u8 {
        match self.status {
            _ if self.poll => self.answer_poll(),
            Status::Irr => self.irr(),
            Status::Isr => self.isr,
        }
    }

    /// The odd port: IMR, or the answer to a poll, which any read is.
    pub(super) fn read_odd(&mut self) -> u8 {
        if self.poll { self.answer_poll() } else { self.imr }
    }

    pub(super) fn write_even(&mut self, byte: u8) {
        let (icw1, ocw3) = (Icw1::from_bits_truncate(byte), Ocw3::from_bits_truncate(byte));
        if icw1.contains(Icw1::INITIALIZE) {
            self.write_icw1(icw1);
        } else if ocw3.contains(Ocw3::SELECT) {
            self.write_ocw3(ocw3);
        } else {
            self.write_ocw2(byte);
        }
    }

    pub(super) fn write_odd(&mut self, byte: u8) {
        match self.odd_register() {
            OddRegister::Icw2 => {
                self.base = byte & 0xf8;
                self.next = if self.icw1.contains(Icw1::SINGLE) { self.after_icw3() } else { Next::Icw3 };
            }
            OddRegister::Icw3 => {
                self.cascade = byte;
                self.next = self.after_icw3();
            }
            OddRegister::Icw4 => {
                self.icw4 = Icw4::from_bits_truncate(byte);
                self.next = Next::Ocw1;
            }
            OddRegister::Ocw1 => self.imr = byte,
        }
    }

    /// Begins initialization; only the lines and which of them are levels outlast it ("ICW1", a to f).
    fn write_icw1(&mut self, icw1: Icw1) {
        *self = Chip { icw1, next: Next::Icw2, lines: self.lines, elcr: self.elcr, ..Chip::new(self.role) };
        if self.role == Role::Slave {
            self.cascade = 7;
        }
    }

    fn after_icw3(&self) -> Next {
        if self.icw1.contains(Icw1::ICW4_FOLLOWS) { Next::Icw4 } else { Next::Ocw1 }
    }

    /// Bits 7 to 5 are R, SL and EOI.
    fn write_ocw2(&mut self, byte: u8) {
        let ir = byte & 0b111;
        match byte >> 5 {
            0b000 => self.rotate_on_auto_eoi = false,
            0b001 => self.end(self.most_urgent_in_service()),
            0b010 => {}
            0b011 => self.end(Some(ir)),
            0b100 => self.rotate_on_auto_eoi = true,
            0b101 => self.end_and_rotate(self.most_urgent_in_service()),
            0b110 => self.lowest = ir,
            _ => self.end_and_rotate(Some(ir)),
        }
    }

    fn write_ocw3(&mut self, ocw3: Ocw3) {
        self.poll = ocw3.contains(Ocw3::POLL);
        if ocw3.contains(Ocw3::READ_REGISTER) {
            self.status = if ocw3.contains(Ocw3::READ_ISR) { Status::Isr } else { Status::Irr };
        }
        if ocw3.contains(Ocw3::ENABLE_SPECIAL_MASK) {
            self.special_mask = ocw3.contains(Ocw3::SPECIAL_MASK);
        }
    }

    fn end(&mut self, ir: Option<u8>) {
        self.isr &= !ir.map_or(0, bit);
    }

    fn end_and_rotate(&mut self, ir: Option<u8>) {
        self.end(ir);
        self.lowest = ir.unwrap_or(self.lowest);
    }

    /// A poll is an acknowledgement whose answer is the input, not its vector.
    fn answer_poll(&mut self) -> u8 {
        self.poll = false;
        self.acknowledge().map_or(0, |ir| POLLED | ir)
    }

    /// IRR: which inputs request.
    fn irr(&self) -> u8 {
        self.edges | self.lines & self.levels()
    }

    /// The most urgent request, if it is not masked and more urgent than what is in service.
    fn request(&self) -> Option<u8> {
        if self.next != Next::Ocw1 {
            return None;
        }
        let ir = self.most_urgent(self.irr() & !self.imr)?;
        match self.most_urgent_in_service() {
            None => Some(ir),
            // Special fully nested mode: a slave in service may have something more urgent.
            Some(served) if served == ir => {
                (self.icw4.contains(Icw4::SPECIAL_FULLY_NESTED) && self.has_slave(ir)).then_some(ir)
            }
            Some(served) => (self.rank(ir) < self.rank(served)).then_some(ir),
        }
    }

    /// What keeps less urgent requests waiting, and what an EOI ends; in special mask mode, masked inputs are exempt.
    fn most_urgent_in_service(&self) -> Option<u8> {
        let exempt = if self.special_mask { self.imr } else { 0 };
        self.most_urgent(self.isr & !exempt)
    }

    fn most_urgent(&self, inputs: u8) -> Option<u8> {
        (0..8).filter(|&ir| inputs & bit(ir) != 0).min_by_key(|&ir| self.rank(ir))
    }

    /// How far an input is from the most urgent one.
    fn rank(&self, ir: u8) -> u8 {
        ir.wrapping_sub(self.lowest + 1) % 8
    }

    fn levels(&self) -> u8 {
        if self.icw1.contains(Icw1::LEVEL_TRIGGERED) { 0xff } else { self.elcr }
    }
}

/// The registers behind the odd port.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum OddRegister {
    Icw2,
    Icw3,
    Icw4,
    Ocw1,
}

const fn bit(ir: u8) -> u8 {
    1 << (ir % 8)
}
