//! Why a machine has stopped for good.

use crate::core::CoreId;
use crate::trace::Fault;
use serde::Serialize;

/// Why nothing more happens.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(tag = "stop", rename_all = "kebab-case")]
pub enum Stop {
    /// The guest wrote `code` to the debug exit.
    Exited {
        /// What it wrote.
        code: u8,
    },
    /// A core faulted, and the guest has no way to handle it.
    Faulted {
        /// Which core.
        core: CoreId,
        /// Linear address of the instruction.
        pc: u64,
        /// What it did.
        fault: Fault,
    },
    /// The guest has reset the machine.
    Reset,
    /// Every core has halted, nothing is pending, and nothing can wake them.
    AllHalted,
}

impl std::fmt::Display for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Stop::Exited { code } => write!(f, "the guest exited with code {code}"),
            Stop::Faulted { core, pc, fault } => write!(f, "{core} faulted at {pc:#x}: {fault}"),
            Stop::Reset => f.write_str("the guest has reset the machine"),
            Stop::AllHalted => f.write_str("every core has halted"),
        }
    }
}
