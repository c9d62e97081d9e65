//! The messages with which APICs interrupt cores (SDM 3A 11.6.1 and 11.10; 82093AA 3.2.4).
//!
//! The I/O APIC sends them for its pins, a local APIC for its core; the machine carries them to each local APIC that
//! says it is meant.
//! False on hardware: a message is never lost, repeated or delayed by other traffic.

/// An interrupt on its way to one or more cores.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Message {
    /// Who is meant.
    pub destination: Destination,
    /// What it does there.
    pub delivery: Delivery,
    /// The vector; the page of the first instruction for [`Delivery::StartUp`], otherwise only for
    /// [`Delivery::Fixed`] and [`Delivery::LowestPriority`] of meaning.
    pub vector: u8,
    /// Clear only in the INIT level de-assert message, which no processor since the Pentium 4 takes notice of.
    pub assert: bool,
    /// Whether the request is over when taken, or lasts until the end of interrupt.
    pub trigger: Trigger,
}

/// Who a message is for (SDM 3A 11.6.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Destination {
    /// The local APIC with this identity; 0xff is all of them.
    Physical(u8),
    /// Those whose logical destination matches this one, by the model that each has been set to; 0xff is all of them.
    Logical(u8),
    /// Shorthand "self": the sender, which has this identity.
    Itself(u8),
    /// Shorthand "all including self".
    All,
    /// Shorthand "all excluding self": the sender has this identity.
    AllBut(u8),
}

/// What a message does to the core that takes it, numbered as in the registers (SDM 3A 11.5.1, 11.6.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Delivery {
    /// An interrupt of the vector at every destination.
    Fixed = 0b000,
    /// An interrupt of the vector at the one destination that does the least urgent work.
    LowestPriority = 0b001,
    /// A system management interrupt.
    Smi = 0b010,
    /// A non-maskable interrupt.
    Nmi = 0b100,
    /// A reset into the wait for a start-up message.
    Init = 0b101,
    /// Starts a waiting core at the page that the vector numbers (SIPI).
    StartUp = 0b110,
    /// An interrupt whose vector the 8259A gives.
    ExtInt = 0b111,
}

/// How a request begins and ends.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Trigger {
    /// It is a moment.
    Edge,
    /// It lasts as long as its line is active; the core says when it has dealt with it.
    Level,
}

impl Delivery {
    /// The mode that the three bits of a register mean; 0b011 is reserved.
    pub(crate) const fn from_bits(bits: u8) -> Option<Delivery> {
        match bits & 0b111 {
            0b000 => Some(Delivery::Fixed),
            0b001 => Some(Delivery::LowestPriority),
            0b010 => Some(Delivery::Smi),
            0b100 => Some(Delivery::Nmi),
            0b101 => Some(Delivery::Init),
            0b110 => Some(Delivery::StartUp),
            0b111 => Some(Delivery::ExtInt),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delivery_modes_are_numbered_as_in_the_registers() {
        let modes = (0..8).filter_map(Delivery::from_bits).map(|mode| mode as u8);
        assert_eq!(Vec::from_iter(modes), [0, 1, 2, 4, 5, 6, 7]);
    }
}
