//! Trying out what a core does next: the explorer's way into a machine.
//!
//! The machine is used as an instrument here: a core's registers, memory and devices are put in place, one choice is applied,
//! and what came of it is taken out again. Nothing of the machine's own history matters.

use super::Machine;
use crate::board::Board;
use crate::choice::Choice;
use crate::core::code_map::CodeMap;
use crate::core::interruption::Openness;
use crate::core::memory_types::MemoryTypes;
use crate::core::partial::PartialAccess;
use crate::core::run::{Cache, GivesWay};
use crate::core::tlb::{Lost, Tlb};
use crate::core::{Activity, Core, CoreId, cpu_state::CpuState};
use crate::machine::Stop;
use crate::memory::Memory;
use crate::memory_model::MemoryModel;
use crate::store_buffer::StoreBuffer;
use crate::trace::{Event, EventLog};
use fencepost_devices::Ticks;

/// What of a core's state decides what it does next, apart from what it reads.
///
/// The clock is left out: a core that spins would otherwise never come back to a state. So an instruction that reads the
/// clock is not explored.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Local {
    pub(crate) cpu: CpuState,
    pub(crate) partial: Vec<PartialAccess>,
    pub(crate) held_breakpoints: u64,
    pub(crate) activity: Activity,
    pub(crate) misc_enable: u64,
    pub(crate) random: u64,
    pub(crate) standing: Standing,
}

/// What the mark at which the explored region ends is to a core.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) enum Standing {
    /// The core rests there once it comes there.
    #[default]
    InRegion,
    /// It has executed the mark, which was in the shadow of STI or MOV SS, and rests behind it, at this linear address.
    Behind {
        /// Where.
        pc: u64,
    },
    /// An instruction that does nothing: what the core does after its region is looked at, too.
    Outside,
}

impl Machine {
    /// A machine in the same state, with engines of its own.
    pub(crate) fn fork(&mut self) -> Machine {
        Machine {
            caches: self.state.cores.iter().map(|_| Cache::new()).collect(),
            state: self.state().clone(),
            settings: self.settings.clone(),
            image_hash: self.image_hash,
            code: CodeMap::default(),
            log: EventLog::new(),
            written: Vec::new(),
        }
    }

    /// The local state of `core` now.
    pub(crate) fn local(&mut self, core: CoreId) -> Local {
        let index = core.index();
        self.caches[index].engines.save(&mut self.state.cores[index].cpu);
        let core = &self.state.cores[index];
        let Core { partial, held_breakpoints, activity, misc_enable, random, .. } = core;
        Local {
            cpu: core.cpu.clone(),
            partial: partial.clone(),
            held_breakpoints: *held_breakpoints,
            activity: *activity,
            misc_enable: *misc_enable,
            random: *random,
            standing: Standing::default(),
        }
    }

    /// Puts `core` into `local`, with an empty store buffer.
    ///
    /// Translations of addresses are kept: they must be the same in all local states that are staged.
    pub(crate) fn stage(&mut self, core: CoreId, local: &Local) {
        let index = core.index();
        let staged = &mut self.state.cores[index];
        staged.cpu.clone_from(&local.cpu);
        staged.partial.clone_from(&local.partial);
        staged.held_breakpoints = local.held_breakpoints;
        staged.activity = local.activity;
        staged.misc_enable = local.misc_enable;
        staged.random = local.random;
        staged.buffer = StoreBuffer::default();
        self.caches[index].engines.reseat();
        self.state.stop = None;
    }

    /// Whether `choice` can be made to happen now.
    pub(crate) fn can(&self, choice: Choice) -> bool {
        self.is_possible(choice)
    }

    /// Takes up to `steps` steps of a run of `core` that may have more, so that it can be looked at on the way. What the
    /// machine does after a run is left to [`Machine::end_run`]. Returns how many were taken.
    pub(crate) fn run_on(&mut self, core: CoreId, steps: u64, drained: bool) -> u64 {
        self.run(core, steps, drained, GivesWay::default())
    }

    /// The run whose steps [`Machine::run_on`] has taken is over.
    pub(crate) fn end_run(&mut self) {
        self.follow_orders();
        self.end_if_over();
    }

    /// Whether interrupts that can be masked are let in by `core`, if not right now then after its next instruction.
    pub(crate) fn is_open(&self, core: CoreId) -> bool {
        let index = core.index();
        let openness = self.caches[index].engines.openness(&self.state.cores[index].cpu);
        openness.contains(Openness::INTERRUPT_FLAG)
    }

    /// Notices that nothing more can happen, where cores have been put in place of which none goes on.
    pub(crate) fn notice_end(&mut self) {
        self.end_if_over();
    }

    /// From now on the machine is one with `model`. Its buffers must be empty.
    pub(crate) fn set_model(&mut self, model: MemoryModel) {
        let is_quiet = self.state.cores.iter().all(|core| core.buffer.is_empty());
        assert!(is_quiet, "a store that is buffered under one model may be none under another");
        self.settings.model = model;
    }

    /// It is this `time` now, for the machine and for every core.
    pub(crate) fn set_time(&mut self, time: Ticks) {
        self.state.time = time;
        self.state.cores.iter_mut().for_each(|core| core.clock = time.0);
    }

    /// Memory, to put bytes in place that are not code.
    pub(crate) fn staged_memory(&mut self) -> &mut Memory {
        &mut self.state.memory
    }

    /// What has happened since this was last asked for: what a core has done, and what it has done on its way into a handler.
    pub(crate) fn take_both_events(&mut self) -> (Vec<Event>, Vec<Event>) {
        let entry = self.log.before_entry();
        let mut before: Vec<Event> = self.log.take().into_iter().map(|line| line.event).collect();
        let on_the_way = before.split_off(entry);
        (before, on_the_way)
    }

    /// `core` goes on with the translations `noted`, and with these types of memory.
    pub(crate) fn stage_addressing(&mut self, core: CoreId, noted: &Tlb, types: &MemoryTypes) {
        let index = core.index();
        self.state.cores[index].tlb.clone_from(noted);
        self.state.cores[index].memory_types.clone_from(types);
        self.caches[index].engines.forget(Lost::ALL);
    }

    /// The devices, to put others in place.
    pub(crate) fn staged_board(&mut self) -> &mut Board {
        &mut self.state.board
    }

    /// Why the machine has stopped, to set or to forget.
    pub(crate) fn staged_stop(&mut self) -> &mut Option<Stop> {
        &mut self.state.stop
    }

    /// Whether the next instruction of `core` makes several accesses that another core can step between.
    pub(crate) fn makes_several_accesses(&mut self, core: CoreId) -> bool {
        self.has_several_accesses(core)
    }

    /// Puts `bytes` of code at `address`; every engine forgets what it made of the bytes before.
    pub(crate) fn stage_code(&mut self, address: fencepost_devices::PhysAddr, bytes: &[u8]) {
        let is_memory = self.state.memory.write(address, bytes);
        assert!(is_memory, "code is staged in memory");
        self.written.push((address, bytes.len() as u64));
        crate::core::run::settle_code(&mut self.caches, &self.code, &self.state.memory, &mut self.written);
    }
}
