//! Where in its source a guest faulted, and at which instruction.

use crate::cli::assembly;
use fencepost::core::CoreId;
use fencepost::loader::{Image, Symbols};
use fencepost::testbench::Run;
use fencepost::trace::Fault;
use serde::Serialize;

/// A fault, for people.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct FaultReport {
    /// Which core.
    core: u8,
    /// Linear address of the instruction, in hexadecimal.
    pc: String,
    /// What it did.
    fault: String,
    /// The function and the offset in it.
    function: Option<String>,
    /// Source file and line.
    source: Option<String>,
    /// The instruction, if there is one.
    instruction: Option<String>,
    /// Why the guest's own handler did not run, as far as that is known.
    handler: Option<String>,
}

impl FaultReport {
    /// What `core` did at `pc`.
    pub(super) fn new(run: &mut Run, image: &Image, core: CoreId, pc: u64, fault: Fault) -> FaultReport {
        let symbols = image.symbols();
        let instruction = run.machine().instruction_at(core, pc).filter(|_| !is_fetch(fault));
        FaultReport {
            core: core.0,
            pc: format!("{pc:#x}"),
            fault: fault.to_string(),
            function: function(&symbols, pc),
            source: source(&symbols, pc),
            instruction: instruction.map(|instruction| assembly::text(&instruction)),
            handler: handler(run, core, fault),
        }
    }

    /// Where it happened, and why it was not handled: function, source, instruction, as far as they are known.
    pub(super) fn places(&self) -> Vec<String> {
        let place = match (&self.function, &self.source) {
            (Some(function), Some(source)) => Some(format!("in {function}, {source}")),
            (Some(place), None) | (None, Some(place)) => Some(format!("in {place}")),
            (None, None) => None,
        };
        place.into_iter().chain(self.instruction.clone()).chain(self.handler.clone()).collect()
    }
}

/// What there is to say of the handler that `core` could not enter.
fn handler(run: &mut Run, core: CoreId, fault: Fault) -> Option<String> {
    let table = run.machine().state().cores[core.index()].cpu.idt;
    match fault {
        Fault::Exception { .. } | Fault::Interrupt { .. } if table.limit == 0 => {
            Some("no handler was entered: the guest has not loaded an interrupt table (IDT)".into())
        }
        Fault::Exception { vector, .. } | Fault::Interrupt { vector, .. } => Some(format!(
            "no handler could be entered: look at gate {vector} of the interrupt table (IDT) at {:#x} with limit {:#x}, \
             and at the handler's stack",
            table.base, table.limit
        )),
        Fault::NothingToFetch => None,
    }
}

/// Whether it is the instruction itself that could not be had: what lies there is then no instruction.
fn is_fetch(fault: Fault) -> bool {
    const INSTRUCTION_FETCH: u32 = 1 << 4;
    match fault {
        Fault::Exception { vector, error_code, .. } => vector == 14 && error_code & INSTRUCTION_FETCH != 0,
        Fault::Interrupt { .. } => false,
        Fault::NothingToFetch => true,
    }
}

/// `function+0x12` for an address in a function.
pub(super) fn function(symbols: &Symbols, address: u64) -> Option<String> {
    symbols.locate(address).function.map(|(name, offset)| format!("{name}+{offset:#x}"))
}

fn source(symbols: &Symbols, address: u64) -> Option<String> {
    let location = symbols.locate(address);
    Some(format!("{}:{}", location.file?, location.line?))
}

impl std::fmt::Display for FaultReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "core {} faulted at {}: {}", self.core, self.pc, self.fault)
    }
}
