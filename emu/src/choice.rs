//! Choices: all the nondeterminism a machine has, what comes from outside included.

use crate::core::CoreId;
use fencepost_devices::MouseButtons;

/// One thing that can happen next.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Choice {
    /// A core takes steps: each completes one instruction (or one round of a repeated string instruction).
    Run {
        /// Which core.
        core: CoreId,
        /// How many steps.
        steps: u64,
        /// The core's store buffer drains completely by the end.
        drained: bool,
    },
    /// A core makes the next access of its current instruction, which may have more.
    Access {
        /// Which core.
        core: CoreId,
    },
    /// A buffered store becomes visible.
    Drain {
        /// Whose store.
        core: CoreId,
        /// Its place in the buffer, 0 the oldest.
        entry: u8,
    },
    /// The oldest posted write arrives at its device.
    Arrive,
    /// A core takes the interrupt that waits for it: it enters the guest's handler, which is a step.
    Interrupt {
        /// Which core.
        core: CoreId,
    },
    /// Somebody types a character on the keyboard.
    Type {
        /// The character, in ASCII; 3 is Ctrl+C.
        byte: u8,
    },
    /// A byte arrives at the serial port from outside.
    Receive {
        /// The byte.
        byte: u8,
    },
    /// Somebody moves the mouse, or presses or releases its buttons.
    Mouse {
        /// How far it moves to the right, in counts of the mouse.
        dx: i16,
        /// How far it moves away from the user, which is up on a screen.
        dy: i16,
        /// The buttons that are then down.
        buttons: MouseButtons,
    },
    /// While all cores wait, time goes on to when a device next does something.
    Pass,
}
