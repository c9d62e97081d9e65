//! Running a machine by a seed: random slices, random drains, everything recorded.
//!
//! A run is a sequence of slices of one core each, of seeded random length (never constant: two cores can fall into step and
//! livelock). A slice has two parts. Its *body* ends with the core's store buffer drained, and so may run on the fast engine.
//! Its *tail*, the last few dozen steps, leaves its stores in the buffer; between slices some of them drain, in an order that
//! the memory model allows. That loses nothing: whatever was stored before the tail would have been pushed out of a buffer of
//! ordinary depth anyway, and short slices are all tail.
//! An interrupt that a core could take is held off for a seeded number of steps, so that it comes now here, now there.
//! Now and then a slice ends inside an instruction that makes several accesses.
//!
//! The choices are recorded as a [`Schedule`], which gives the same run again.

mod contention;

use crate::choice::Choice;
use crate::core::CoreId;
use crate::core::emulate::split_mix;
use crate::core::run::GivesWay;
use crate::input::{Live, Script};
use crate::machine::{Machine, State, Stop};
use crate::memory_model::MemoryModel;
use crate::schedule::Schedule;
use crate::trace::Event;
use contention::Contention;
use fencepost_devices::{I8042, Uart16550};
use std::ops::ControlFlow;

/// The longest slice of the default policy, in steps. Long slices make throughput.
const LONGEST_SLICE: u64 = 1 << 18;

/// The longest of the short slices, in steps. Short slices make interleavings: every other slice is one.
const LONGEST_SHORT_SLICE: u64 = 1 << 6;

/// The longest tail, in steps: about as many instructions as hold a buffer's worth of stores.
const LONGEST_TAIL: u64 = 48;

/// One slice in this many goes on through PAUSE, as a core does that nobody takes the processor from.
const SPINS_ON: u64 = 64;

/// For how many steps an interrupt that could be taken is held off at most, unless asked otherwise: enough for another
/// interleaving with every seed, and less than any handler takes.
pub const IRQ_JITTER: u64 = 32;

/// How long slices are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Slices {
    /// Every other slice from 1 to 127 steps, the rest from 1 to half a million, every magnitude equally likely.
    #[default]
    AnyMagnitude,
    /// From 1 to twice this number of steps, less one.
    Around(u64),
}

/// Decides what a machine does next, from a seed.
#[derive(Clone, Debug)]
pub struct Policy {
    random: u64,
    slices: Slices,
    irq_jitter: u64,
    is_prompt: bool,
}

impl Policy {
    /// The policy of `seed`.
    pub fn new(seed: u64, slices: Slices) -> Policy {
        let mut random = seed;
        split_mix(&mut random);
        Policy { random, slices, irq_jitter: IRQ_JITTER, is_prompt: false }
    }

    /// Nothing is late: writes to devices arrive and interrupts are taken at once.
    pub fn prompt(mut self) -> Policy {
        (self.irq_jitter, self.is_prompt) = (0, true);
        self
    }

    /// Holds interrupts off for up to so many steps after they could be taken.
    pub fn with_irq_jitter(mut self, steps: u64) -> Policy {
        self.irq_jitter = steps;
        self
    }

    /// A number below `bound`, which is not 0.
    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(split_mix(&mut self.random)) * u128::from(bound)) >> 64) as u64
    }

    /// True once in `n` times.
    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    fn slice_length(&mut self) -> u64 {
        match self.slices {
            Slices::AnyMagnitude => {
                let longest = if self.one_in(2) { LONGEST_SHORT_SLICE } else { LONGEST_SLICE };
                let magnitude = self.below(u64::from(longest.ilog2()) + 1);
                (1 << magnitude) + self.below(1 << magnitude)
            }
            Slices::Around(mean) => 1 + self.below(2 * mean - 1),
        }
    }
}

/// How a run ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// The machine stopped; see [`Machine::stop`].
    Stopped,
    /// The bound on steps was reached first.
    StepLimit,
    /// Whoever watches the run said so.
    Interrupted,
    /// The schedule has no more choices.
    ScheduleEnd,
    /// Every core waits for what somebody types or sends, and nobody does.
    AwaitsInput,
    /// Who typed has left.
    Left,
}

/// A schedule that does not fit the machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diverged {
    position: usize,
    problem: String,
}

impl std::fmt::Display for Diverged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the schedule does not fit: choice {} {}", self.position + 1, self.problem)
    }
}

impl std::error::Error for Diverged {}

/// A machine under a policy, with the record of what it did.
pub struct Runner {
    machine: Machine,
    policy: Policy,
    choices: Option<Vec<Choice>>,
    steps: u64,
    /// For each core, how many instructions of it these were.
    instructions: Vec<u64>,
    /// For each core, how many more steps the interrupt that it could take is held off.
    patience: Vec<Option<u64>>,
    /// What somebody types and sends.
    script: Script,
    /// Who types meanwhile.
    live: Option<Live>,
    contention: Contention,
}

impl Runner {
    /// Runs `machine` under `policy`, recording its choices.
    pub fn new(machine: Machine, policy: Policy) -> Runner {
        let cores = usize::from(machine.settings().cores);
        Runner {
            machine,
            policy,
            choices: Some(Vec::new()),
            steps: 0,
            instructions: vec![0; cores],
            patience: vec![None; cores],
            script: Script::default(),
            live: None,
            contention: Contention::new(cores),
        }
    }

    /// Does not record the choices: a long run need not keep them.
    pub fn without_record(mut self) -> Runner {
        self.choices = None;
        self
    }

    /// Types and sends what `script` says.
    pub fn with_script(mut self, script: Script) -> Runner {
        self.script = script;
        self
    }

    /// What is still to be typed and sent.
    pub fn script(&self) -> &Script {
        &self.script
    }

    /// Lets somebody type while it runs, and waits with them while the guest waits.
    pub fn with_live(mut self, live: Option<Live>) -> Runner {
        self.live = live;
        self
    }

    /// The machine.
    pub fn machine(&mut self) -> &mut Machine {
        &mut self.machine
    }

    /// The machine's state apart from the cores' registers.
    pub fn outer_state(&self) -> &State {
        self.machine.outer_state()
    }

    /// The hash of every event so far.
    pub fn trace_hash(&self) -> u64 {
        self.machine.trace_hash()
    }

    /// Steps taken so far, by all cores.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Instructions completed so far, by each core. Steps that are none are interrupts taken, and time that passed.
    pub fn instructions(&self) -> &[u64] {
        &self.instructions
    }

    /// The schedule of everything so far; `None` when nothing is recorded.
    pub fn schedule(&self) -> Option<Schedule> {
        let choices = self.choices.clone()?;
        Some(Schedule { image: self.machine.image_hash(), settings: self.machine.settings().clone(), choices })
    }

    /// The machine, when the run is over.
    pub fn into_machine(self) -> Machine {
        self.machine
    }

    /// Runs until the machine stops, `max_steps` steps have been taken in all, or `watch` returns `true`.
    ///
    /// `watch` is called after every choice and should take the machine's events.
    pub fn run(&mut self, max_steps: u64, mut watch: impl FnMut(&mut Machine) -> bool) -> Ended {
        loop {
            self.listen();
            if watch(&mut self.machine) {
                return Ended::Interrupted;
            }
            if self.machine.stop().is_some() {
                return Ended::Stopped;
            }
            if self.steps >= max_steps {
                return Ended::StepLimit;
            }
            if let Some(live) = &mut self.live {
                live.listen();
                if live.has_left() {
                    return Ended::Left;
                }
            }
            self.give_input(false);
            match self.next(max_steps - self.steps, &mut watch) {
                ControlFlow::Continue(()) => (),
                ControlFlow::Break(ended) => return ended,
            }
        }
    }

    /// Hears what the guest has said on the serial line.
    fn listen(&mut self) {
        if self.script.is_over() {
            return;
        }
        for line in self.machine.pending_events() {
            if let Event::Serial { byte } = line.event {
                self.script.hear(byte);
            }
        }
    }

    /// Types and sends what is due, as fast as it is taken. Returns whether anything was.
    fn give_input(&mut self, idle: bool) -> bool {
        let mut has_given = false;
        while let Some(choice) = self.script.next(self.machine.outer_state().time, idle) {
            if !self.give(choice) {
                break;
            }
            self.script.advance();
            has_given = true;
        }
        while let Some(choice) = self.live.as_ref().and_then(Live::next) {
            if !self.give(choice) {
                break;
            }
            self.live.iter_mut().for_each(Live::advance);
            has_given = true;
        }
        has_given
    }

    /// One choice from outside, if the guest takes it now.
    fn give(&mut self, choice: Choice) -> bool {
        self.is_taken(choice) && self.try_apply(choice)
    }

    /// Whether the guest takes what comes from outside as fast as it comes.
    fn is_taken(&self, choice: Choice) -> bool {
        let bus = self.machine.outer_state().board.bus();
        match choice {
            Choice::Type { .. } => bus.device::<I8042>().is_some_and(|it| it.untyped() == 0),
            Choice::Mouse { .. } => bus.device::<I8042>().is_some_and(I8042::awaits_mouse),
            Choice::Receive { .. } => bus.device::<Uart16550>().is_some_and(|it| it.room() > 0),
            Choice::Run { .. } | Choice::Access { .. } | Choice::Drain { .. } => true,
            Choice::Arrive | Choice::Interrupt { .. } | Choice::Pass => true,
        }
    }

    /// Applies the choices of `schedule`, which must be for this machine, instead of asking the policy.
    ///
    /// Ends like [`Runner::run`], or with the schedule. A run of steps that crosses `max_steps` is cut.
    ///
    /// # Errors
    /// A choice is not possible, a core cannot take the steps it took when the schedule was recorded, or choices are left
    /// when the machine has stopped.
    pub fn replay(
        &mut self,
        schedule: &Schedule,
        max_steps: u64,
        mut watch: impl FnMut(&mut Machine) -> bool,
    ) -> Result<Ended, Diverged> {
        let mut accesses = 0;
        for (position, &choice) in schedule.choices.iter().enumerate() {
            // A repeated string instruction may make accesses for ever, of which only every other one is a step.
            accesses += u64::from(matches!(choice, Choice::Access { .. }));
            if accesses > max_steps {
                return Ok(Ended::StepLimit);
            }
            let diverged = |problem| Diverged { position, problem };
            let mut left = choice;
            loop {
                let Some(part) = within(left, max_steps.saturating_sub(self.steps)) else {
                    return Ok(Ended::StepLimit);
                };
                let taken = self.machine.apply(part).map_err(|problem| diverged(problem.to_string()))?;
                self.steps += taken + u64::from(part == Choice::Pass);
                self.count_instructions(part, taken);
                self.record(with_steps(part, self.steps_to_record(taken).max(1)));
                if watch(&mut self.machine) {
                    return Ok(Ended::Interrupted);
                }
                if self.machine.stop().is_some() {
                    return nothing_follows(schedule, position).map(|()| Ended::Stopped);
                }
                if taken < steps_of(part) && !self.machine.is_broken() {
                    return Err(diverged(format!("`{}` took only {taken} steps", crate::schedule::text_of(choice))));
                }
                match steps_of(left).saturating_sub(taken) {
                    0 => break,
                    // The watch was shown an event in the middle of the slice, and lets the slice go on.
                    rest => left = with_steps(left, rest),
                }
            }
        }
        // A run that its bound has cut ends at the bound, not with what was recorded of it.
        Ok(if self.steps < max_steps { Ended::ScheduleEnd } else { Ended::StepLimit })
    }

    /// One slice with at most `budget` steps, and what drains after it; a break when `watch` says so in its midst.
    fn next(&mut self, budget: u64, watch: &mut impl FnMut(&mut Machine) -> bool) -> ControlFlow<Ended> {
        let ready: Vec<CoreId> = self.cores().filter(|core| self.is_ready(*core)).collect();
        if ready.is_empty() {
            return if self.wait() { ControlFlow::Continue(()) } else { ControlFlow::Break(Ended::AwaitsInput) };
        }
        let core = self.pick(&ready);
        let length = self.slice_length().min(budget);
        let tail = self.tail_of(length);
        let gives_way = !self.policy.one_in(SPINS_ON);
        let body = length - tail;
        let before = self.steps;
        let mut spins = false;
        if body > 0 {
            spins = self.slice(core, body, true, gives_way, watch)? < body;
            self.contention.note(core, &mut self.machine);
        }
        let tail = tail.min(budget.saturating_sub(self.steps - before));
        if tail > 0 && !spins {
            self.slice(core, tail, false, gives_way, watch)?;
        }
        // The access may be an instruction's last, and so a step: none is made beyond the budget.
        if self.policy.one_in(4) && self.steps - before < budget {
            self.try_apply(Choice::Access { core });
        }
        self.drain_after(core);
        ControlFlow::Continue(())
    }

    /// Whose turn is next, of those that are `ready`: not that of a core that waits in vain, unless they all do.
    fn pick(&mut self, ready: &[CoreId]) -> CoreId {
        let Runner { machine, policy, contention, .. } = self;
        let useful: Vec<CoreId> =
            ready.iter().copied().filter(|core| !contention.waits_in_vain(*core, machine)).collect();
        let core = policy.pick(if useful.is_empty() { ready } else { &useful });
        contention.forget(core);
        core
    }

    /// How long the next slice is.
    fn slice_length(&mut self) -> u64 {
        let length = self.policy.slice_length();
        if !self.contention.is_any() {
            return length;
        }
        length.min(1 + self.policy.below(contention::LONGEST_SLICE))
    }

    /// How many of a slice's `length` steps are its tail; a short slice is nothing but tail.
    fn tail_of(&mut self, length: u64) -> u64 {
        if self.machine.settings().model == MemoryModel::SC {
            0
        } else if length <= LONGEST_TAIL {
            length
        } else {
            self.policy.below(LONGEST_TAIL + 1)
        }
    }

    /// Up to `steps` steps of `core`, interrupts taken included; returns how many it took. An event in their midst is shown
    /// to `watch`, and if that lets the slice go on, it goes on: to look at a run does not change it.
    fn slice(
        &mut self,
        core: CoreId,
        steps: u64,
        drained: bool,
        gives_way: bool,
        watch: &mut impl FnMut(&mut Machine) -> bool,
    ) -> ControlFlow<Ended, u64> {
        let start = self.steps;
        while self.steps - start < steps {
            let left = steps - (self.steps - start);
            let held = self.held_off(core);
            if held == Some(0) {
                self.patience[core.index()] = None;
                self.try_apply(Choice::Interrupt { core });
            } else {
                let part = held.unwrap_or(left).min(left);
                let to_posted = self.policy.is_prompt;
                let way = GivesWay { at_pause: gives_way, to_interrupts: held.is_none(), to_posted };
                let taken = self.part_of_slice(core, part, drained, way);
                if let Some(patience) = &mut self.patience[core.index()]
                    && held.is_some()
                {
                    *patience -= taken;
                }
                let has_arrived = self.policy.is_prompt && self.let_arrive();
                let is_interrupted = held.is_some() || has_arrived || self.machine.may_interrupt(core);
                let has_given_way = taken < part && !is_interrupted && !self.machine.is_broken();
                if has_given_way && (taken == 0 || !self.is_alone(core)) {
                    break;
                }
            }
            if self.machine.stop().is_some() {
                break;
            }
            if self.machine.is_broken() {
                self.listen();
                if watch(&mut self.machine) {
                    return ControlFlow::Break(Ended::Interrupted);
                }
            }
            if self.core(core).is_halted() && !self.machine.may_interrupt(core) {
                break;
            }
        }
        ControlFlow::Continue(self.steps - start)
    }

    /// Whether there is nobody to give way to: no other core could do anything, and nothing is on its way.
    fn is_alone(&mut self, core: CoreId) -> bool {
        self.machine.outer_state().board.posted().is_empty()
            && self.cores().all(|other| other == core || !self.is_ready(other))
    }

    fn is_ready(&mut self, core: CoreId) -> bool {
        self.core(core).is_running() || self.machine.may_interrupt(core)
    }

    /// Everything on its way arrives. Returns whether there was anything.
    fn let_arrive(&mut self) -> bool {
        let mut has_arrived = false;
        while self.try_apply(Choice::Arrive) {
            has_arrived = true;
        }
        has_arrived
    }

    /// For how many steps the interrupt that `core` could take now is still held off; `None` where there is none.
    fn held_off(&mut self, core: CoreId) -> Option<u64> {
        if !self.machine.may_interrupt(core) {
            return None;
        }
        let is_halted = self.core(core).is_halted();
        let bound = self.policy.irq_jitter.saturating_add(1);
        let patience = match self.patience[core.index()] {
            Some(patience) => patience,
            None => self.policy.below(bound),
        };
        self.patience[core.index()] = Some(patience);
        Some(if is_halted { 0 } else { patience })
    }

    fn part_of_slice(&mut self, core: CoreId, steps: u64, drained: bool, gives_way: GivesWay) -> u64 {
        if self.machine.stop().is_some() {
            // The last step before was complete, and its trap has ended the machine.
            return 0;
        }
        let pending = self.core(core).buffer.entries().len();
        let taken = self.machine.run_giving_way(core, steps, drained, gives_way);
        self.steps += taken;
        self.count_instructions(Choice::Run { core, steps, drained }, taken);
        let steps = self.steps_to_record(taken);
        if steps > 0 {
            self.record(Choice::Run { core, steps, drained });
        } else if drained {
            // It gave way before its first step: it has only drained.
            (0..pending).for_each(|_| self.record(Choice::Drain { core, entry: 0 }));
        }
        taken
    }

    /// How many steps to record of a run that took `taken`: an instruction that faults takes none, and a replay must try it.
    fn steps_to_record(&self, taken: u64) -> u64 {
        taken + u64::from(matches!(self.machine.stop(), Some(Stop::Faulted { .. })))
    }

    /// Between slices: the core that ran drains nothing, something or everything; others now and then something.
    fn drain_after(&mut self, core: CoreId) {
        match self.policy.below(4) {
            0 | 1 => (),
            2 => self.drain_some(core),
            _ => while self.drain_one(core) {},
        }
        if self.policy.one_in(4) {
            let cores: Vec<CoreId> = self.cores().collect();
            let other = self.policy.pick(&cores);
            self.drain_some(other);
        }
        while self.policy.one_in(2) && self.try_apply(Choice::Arrive) {}
    }

    fn drain_some(&mut self, core: CoreId) {
        while self.drain_one(core) && !self.policy.one_in(3) {}
    }

    /// Drains one entry of `core` that may drain now. Returns whether there was one.
    fn drain_one(&mut self, core: CoreId) -> bool {
        let model = self.machine.settings().model;
        let drainable: Vec<usize> = self.core(core).buffer.drainable(model).collect();
        if drainable.is_empty() {
            return false;
        }
        let entry = self.policy.pick(&drainable) as u8;
        self.try_apply(Choice::Drain { core, entry })
    }

    /// Nothing runs: what is pending goes out, then time passes, which counts as a step, or somebody types or sends.
    /// Returns whether anything happened.
    fn wait(&mut self) -> bool {
        let pending: Vec<CoreId> = self.cores().filter(|core| !self.core(*core).buffer.is_empty()).collect();
        let is_posted = !self.machine.outer_state().board.posted().is_empty();
        if is_posted && (pending.is_empty() || self.policy.one_in(2)) {
            return self.try_apply(Choice::Arrive);
        }
        if !pending.is_empty() {
            let core = self.policy.pick(&pending);
            return self.drain_one(core);
        }
        if self.rest() {
            return true;
        }
        // A tick that no core hears would follow another for ever.
        if self.machine.outer_state().board.next_waking_event().is_some() && self.try_apply(Choice::Pass) {
            self.steps += 1;
            return true;
        }
        self.give_input(true)
    }

    /// Waits with whoever types; returns whether there is something to look at before time passes.
    fn rest(&mut self) -> bool {
        let (now, next) = (self.machine.outer_state().time, self.machine.outer_state().board.next_waking_event());
        if self.live.is_none() {
            return false;
        }
        // What a script says for later comes now, rather than never.
        next.is_none() && self.give_input(true) || self.live.as_mut().is_some_and(|live| live.rest(now, next))
    }

    fn try_apply(&mut self, choice: Choice) -> bool {
        let Ok(steps) = self.machine.apply(choice) else { return false };
        self.steps += steps;
        self.count_instructions(choice, steps);
        self.record(choice);
        true
    }

    /// Those of the `steps` of `choice` that were instructions.
    fn count_instructions(&mut self, choice: Choice, steps: u64) {
        match choice {
            Choice::Run { core, .. } | Choice::Access { core } => self.instructions[core.index()] += steps,
            Choice::Drain { .. } | Choice::Arrive | Choice::Interrupt { .. } | Choice::Pass => (),
            Choice::Type { .. } | Choice::Receive { .. } | Choice::Mouse { .. } => (),
        }
    }

    fn record(&mut self, choice: Choice) {
        if let Some(choices) = &mut self.choices {
            choices.push(choice);
        }
    }

    fn cores(&self) -> impl Iterator<Item = CoreId> + use<> {
        (0..self.machine.settings().cores).map(CoreId)
    }

    fn core(&self, core: CoreId) -> &crate::core::Core {
        &self.machine.outer_state().cores[core.index()]
    }
}

/// Refuses choices after that at `position`, with which the machine has stopped: nothing is ever recorded there.
fn nothing_follows(schedule: &Schedule, position: usize) -> Result<(), Diverged> {
    let position = position + 1;
    schedule.choices.get(position).map_or(Ok(()), |&choice| {
        let choice = crate::schedule::text_of(choice);
        Err(Diverged { position, problem: format!("`{choice}` comes after the machine has stopped") })
    })
}

/// The steps that `choice` asks for; 0 when it does not ask for steps.
fn steps_of(choice: Choice) -> u64 {
    match choice {
        Choice::Run { steps, .. } => steps,
        Choice::Access { .. } | Choice::Drain { .. } | Choice::Arrive | Choice::Interrupt { .. } | Choice::Pass => 0,
        Choice::Type { .. } | Choice::Receive { .. } | Choice::Mouse { .. } => 0,
    }
}

/// `choice` with another number of steps, if it asks for steps.
fn with_steps(choice: Choice, steps: u64) -> Choice {
    match choice {
        Choice::Run { core, drained, .. } => Choice::Run { core, steps, drained },
        Choice::Access { .. }
        | Choice::Drain { .. }
        | Choice::Arrive
        | Choice::Interrupt { .. }
        | Choice::Type { .. }
        | Choice::Receive { .. }
        | Choice::Mouse { .. }
        | Choice::Pass => choice,
    }
}

/// As much of `choice` as `budget` steps allow; `None` when they allow nothing of it.
fn within(choice: Choice, budget: u64) -> Option<Choice> {
    let may_step = match choice {
        Choice::Run { .. } | Choice::Access { .. } | Choice::Interrupt { .. } | Choice::Pass => true,
        Choice::Drain { .. } | Choice::Arrive => false,
        Choice::Type { .. } | Choice::Receive { .. } | Choice::Mouse { .. } => false,
    };
    (!may_step || budget > 0).then(|| with_steps(choice, steps_of(choice).min(budget)))
}
