//! One virtual core: its architectural registers, its store buffer, and how far it is into its current instruction.
//!
//! A core is plain data. The Unicorn engines that execute it (`core/engine`) are caches of this data.

pub(crate) mod code_map;
pub mod cpu_state;
pub mod cpuid;
pub mod decode;
pub(crate) mod emulate;
pub(crate) mod engine;
pub(crate) mod floats;
pub mod interruption;
pub mod memory_types;
pub(crate) mod operands;
pub(crate) mod paging;
pub(crate) mod partial;
pub(crate) mod run;
pub mod tlb;

use crate::store_buffer::StoreBuffer;
use cpu_state::CpuState;
use memory_types::MemoryTypes;
use partial::PartialAccess;
use tlb::Tlb;

/// The index of a virtual core, from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize)]
pub struct CoreId(pub u8);

impl CoreId {
    /// The core's position in a list of cores.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl std::fmt::Display for CoreId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "core {}", self.0)
    }
}

/// What a core does (SDM 3A, "Processor Activity States"; 9.4.3 for the wait for a start-up).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Activity {
    /// It executes instructions.
    Running,
    /// HLT has stopped it until an interrupt.
    Halted,
    /// It has been reset and waits for a start-up message of another core.
    AwaitsStartUp,
}

/// The state of one core between two choices.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Core {
    /// Architectural registers.
    pub cpu: CpuState,
    /// Translations of addresses that it goes on using.
    pub tlb: Tlb,
    /// Which memory is of which type: the MTRRs.
    pub memory_types: MemoryTypes,
    /// Stores that have executed and that no other core sees yet.
    pub buffer: StoreBuffer,
    /// The accesses that the current instruction has already made, when another core may step between them.
    pub partial: Vec<PartialAccess>,
    /// Breakpoints that a load of SS has met, as in DR6: they wait for the end of the instruction after it (SDM 3A 6.8.3), and are
    /// lost if that faults.
    pub held_breakpoints: u64,
    /// Whether it executes instructions, or what it waits for.
    pub activity: Activity,
    /// The core's own clock: instructions retired. RDTSC reads it.
    pub clock: u64,
    /// What the guest has set its time stamp counter ahead of that clock, by writing it.
    pub time_offset: u64,
    /// IA32_MISC_ENABLE, as far as it is written.
    pub misc_enable: u64,
    /// State of the generator behind RDRAND and RDSEED.
    pub random: u64,
}

impl Core {
    /// A core about to execute its first instruction.
    pub fn new(id: CoreId, cpu: CpuState) -> Core {
        Core {
            cpu,
            tlb: Tlb::default(),
            memory_types: MemoryTypes::default(),
            buffer: StoreBuffer::default(),
            partial: Vec::new(),
            held_breakpoints: 0,
            activity: Activity::Running,
            clock: 0,
            time_offset: 0,
            misc_enable: 1,
            random: u64::from(id.0),
        }
    }

    /// Whether it executes instructions.
    pub fn is_running(&self) -> bool {
        self.activity == Activity::Running
    }

    /// Whether it executes none: until an interrupt, or a start-up.
    pub fn is_halted(&self) -> bool {
        !self.is_running()
    }
}
