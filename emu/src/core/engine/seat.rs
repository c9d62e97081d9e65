//! The two engines of one core, and which of them holds the core's registers at the moment.

use super::super::code_map::CodeMap;
use super::super::cpu_state::{CpuState, Segment};
use super::super::floats::{Floats, Raised};
use super::super::interruption::{Delivery, Exception, Openness};
use super::super::paging::Mode;
use super::super::tlb::{Lost, Tlb};
use super::fast::{Fast, FastExit, FastStops};
use super::precise::{Observer, Precise, PreciseExit};
use crate::memory::Memory;

/// Where a core's registers are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Seat {
    /// In the core's own `CpuState`.
    State,
    Fast,
    Precise,
}

/// Engines are opened when first needed: a core that only takes short steps never has a fast one.
pub(crate) struct Engines {
    seat: Seat,
    fast: Option<Fast>,
    precise: Option<Precise>,
    /// The program counter when `seat` is an engine.
    pc: u64,
    /// Code may be somewhere else than what was decoded of it.
    lost_code: bool,
}

// SAFETY: an engine is bound to no thread: Unicorn keeps all of its state behind the handle, which only its owner uses. The
// other pointers lead into boxes of the same owner, or are set for the time of a run, which begins and ends on one thread.
unsafe impl Send for Engines {}

impl Engines {
    /// No engine yet; the registers are in the core's state.
    pub(crate) fn new() -> Engines {
        Engines { seat: Seat::State, fast: None, precise: None, pc: 0, lost_code: false }
    }

    /// Brings `state` up to date. The engine keeps the registers too.
    pub(crate) fn save(&self, state: &mut CpuState) {
        match self.seat {
            Seat::State => (),
            Seat::Fast => self.open_fast().unicorn().state(state),
            Seat::Precise => self.open_precise().unicorn().state(state),
        }
    }

    /// The core's registers have changed in its state, or its memory under it: engines must take them up again.
    pub(crate) fn invalidate(&mut self) {
        self.seat = Seat::State;
        self.forget(Lost::ALL);
    }

    /// The core's registers have changed in its state, but neither memory nor how addresses are translated.
    pub(crate) fn reseat(&mut self) {
        self.seat = Seat::State;
    }

    /// Runs the fast engine; see [`Fast::run`].
    pub(crate) fn run_fast(
        &mut self,
        state: &mut CpuState,
        tlb: &mut Tlb,
        budget: u64,
        stops: FastStops,
        memory: &Memory,
        code: &mut CodeMap,
    ) -> (u64, FastExit) {
        if self.seat != Seat::Fast {
            self.save(state);
            let fast = self.fast.get_or_insert_with(|| Fast::new(memory));
            fast.unicorn().set_state(state);
            self.pc = state.rip;
            self.seat = Seat::Fast;
        }
        let pc = self.pc;
        let fast = self.fast.as_mut().expect("the registers are seated in this engine");
        let result = fast.run(pc, budget, stops, memory, code, tlb);
        self.pc = fast.unicorn().program_counter();
        let lost = fast.lost();
        if lost.is_some() {
            self.lost_code |= lost.code;
            self.precise.iter().for_each(|precise| precise.unicorn().forget(lost));
        }
        result
    }

    /// Seats the registers in the precise engine and returns it.
    pub(crate) fn precise(&mut self, state: &mut CpuState, memory: &Memory) -> &mut Precise {
        if self.seat != Seat::Precise {
            self.save(state);
            let precise = self.precise.get_or_insert_with(|| Precise::new(memory));
            precise.unicorn().set_state(state);
            self.pc = state.rip;
            self.seat = Seat::Precise;
        }
        self.precise.as_mut().expect("the registers are seated in this engine")
    }

    /// Runs the precise engine, where [`Engines::precise`] has just seated the registers.
    pub(crate) fn run_precise(&mut self, one_at_a_time: bool, observer: &mut dyn Observer) -> PreciseExit {
        let pc = self.pc;
        let precise = self.precise.as_mut().expect("the registers are seated in this engine");
        let exit = precise.run(pc, one_at_a_time, observer);
        self.pc = precise.program_counter();
        exit
    }

    /// Enters the guest's handler of `exception`, where the registers are seated in the precise engine.
    pub(crate) fn deliver(&mut self, exception: Exception, pc: u64, observer: &mut dyn Observer) -> Delivery {
        let precise = self.precise.as_mut().expect("the registers are seated in this engine");
        let delivery = precise.deliver(exception, pc, observer);
        self.pc = precise.program_counter();
        delivery
    }

    /// Changes registers between two runs of the precise engine.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut CpuState)) {
        let precise = self.precise.as_mut().expect("the registers are seated in this engine");
        precise.change(change);
        self.pc = precise.program_counter();
    }

    /// The linear address of the next instruction, wherever the registers are: the base of CS may be newer in an engine.
    pub(crate) fn linear_program_counter(&self, state: &CpuState) -> u64 {
        match self.seat {
            Seat::State => state.linear_pc(),
            Seat::Fast => self.open_fast().unicorn().linear_pc(),
            Seat::Precise => self.open_precise().unicorn().linear_pc(),
        }
    }

    /// Whether an interrupt may come now.
    pub(crate) fn openness(&self, state: &CpuState) -> Openness {
        match self.seat {
            Seat::State => Openness::of(state),
            Seat::Fast => self.open_fast().unicorn().openness(),
            Seat::Precise => self.open_precise().unicorn().openness(),
        }
    }

    /// How addresses are translated and code is decoded, when the registers are seated in the precise engine.
    pub(crate) fn mode(&self) -> Mode {
        self.open_precise().mode()
    }

    /// The linear address of the next instruction, when the registers are seated in the precise engine.
    pub(crate) fn linear_pc(&self) -> u64 {
        self.open_precise().unicorn().linear_pc()
    }

    /// An instruction in the precise engine has faulted; see [`Unicorn::take_flags_of_fault`].
    ///
    /// [`Unicorn::take_flags_of_fault`]: super::unicorn::Unicorn::take_flags_of_fault
    pub(crate) fn take_flags_of_fault(&self) {
        self.open_precise().unicorn().take_flags_of_fault();
    }

    /// The precise engine has executed a far transfer in long mode; see [`Unicorn::keep_bases`].
    ///
    /// [`Unicorn::keep_bases`]: super::unicorn::Unicorn::keep_bases
    pub(crate) fn keep_bases(&self, bases: [u64; 2]) {
        self.open_precise().unicorn().keep_bases(bases);
    }

    /// The precise engine has executed an instruction that may have loaded flags or changed the task, or with which the resume
    /// flag `ends`.
    pub(crate) fn settle(&self, ends: bool) {
        self.open_precise().unicorn().settle(ends);
    }

    /// The segment of the task, when the registers are seated in the precise engine, if it is not the one of selector `before`.
    pub(crate) fn task_after(&self, before: u32) -> Option<Segment> {
        let precise = self.open_precise();
        (precise.unicorn().task() != before).then(|| precise.registers().tr)
    }

    /// The registers, when they are seated in the precise engine.
    pub(crate) fn registers(&self) -> CpuState {
        self.open_precise().registers()
    }

    /// The selector of the task, when the registers are seated in the precise engine.
    pub(crate) fn task(&self) -> u32 {
        self.open_precise().unicorn().task()
    }

    /// What SSE instructions have raised in the precise engine; see [`Unicorn::take_floats`].
    ///
    /// [`Unicorn::take_floats`]: super::unicorn::Unicorn::take_floats
    pub(crate) fn take_floats(&self) -> Floats {
        self.open_precise().unicorn().take_floats()
    }

    /// Sets the flags of what is `raised` in the precise engine's MXCSR.
    pub(crate) fn set_floats(&self, raised: Raised) {
        self.open_precise().unicorn().set_floats(raised);
    }

    /// The core has `lost` translations that it had noted: engines must not use them either.
    pub(crate) fn forget(&mut self, lost: Lost) {
        if !lost.is_some() {
            return;
        }
        self.unicorns().for_each(|unicorn| unicorn.forget(lost));
        if lost.code {
            self.lost_code = true;
            self.fast.iter_mut().for_each(Fast::forget_blocks);
        }
    }

    /// Whether code may be somewhere else than when this was asked last.
    pub(crate) fn take_lost_code(&mut self) -> bool {
        std::mem::take(&mut self.lost_code)
    }

    /// Forgets translated code made from `length` bytes of guest memory that begin at `host`.
    pub(crate) fn drop_code(&mut self, host: *const u8, length: u64) {
        for unicorn in self.unicorns() {
            unicorn.drop_code(host, length);
        }
        if let Some(fast) = &mut self.fast {
            fast.forget_blocks();
        }
    }

    fn unicorns(&self) -> impl Iterator<Item = &super::unicorn::Unicorn> {
        let fast = self.fast.iter().map(Fast::unicorn);
        fast.chain(self.precise.iter().map(Precise::unicorn))
    }

    fn open_fast(&self) -> &Fast {
        self.fast.as_ref().expect("the registers are seated in this engine")
    }

    fn open_precise(&self) -> &Precise {
        self.precise.as_ref().expect("the registers are seated in this engine")
    }
}
