//! What a device asks of the machine.

use crate::{Irq, Message, PhysAddr};

/// An answer of a device to an access: something the machine does for it, in the order given.
///
/// A device never reaches out itself, so everything it causes is seen, ordered and recorded by the machine.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Signal {
    /// The line becomes active and stays so until it is lowered.
    RaiseIrq(Irq),
    /// The line becomes inactive.
    LowerIrq(Irq),
    /// An interrupt for the local APICs that are meant.
    Interrupt(Message),
    /// The guest resets the machine: every core and every device starts anew, and memory keeps what it has.
    Reset,
    /// The guest ends the run with this exit code.
    Exit(u8),
    /// A byte leaves the machine.
    Transmit {
        /// Where it leaves.
        line: Line,
        /// The byte.
        byte: u8,
    },
    /// DMA: the machine reads memory, where it sees drained stores only, and hands the bytes to
    /// [`Device::memory_read`](crate::Device::memory_read) of the device that asked.
    ReadMemory {
        /// The first byte.
        address: PhysAddr,
        /// Length in bytes.
        length: u64,
    },
    /// DMA: the machine writes memory.
    WriteMemory {
        /// The first byte.
        address: PhysAddr,
        /// What is written there.
        bytes: Vec<u8>,
    },
    /// A display has latched a frame; its picture can be taken.
    FrameReady {
        /// Frames latched so far, this one included: the first is 1.
        number: u64,
    },
}

/// A line on which bytes leave the machine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Line {
    /// The serial port COM1: what the guest tells a person.
    Serial,
    /// The debug console at port 0xe9: what the guest tells the machine.
    DebugConsole,
}
