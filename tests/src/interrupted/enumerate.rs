//! Every final state of a program, and whether it can hang, by trying everything.

use super::controllers::{Apic, IoApic, Pic, Sent};
use super::program::{
    ApicWrite, Instruction, PortWrite, Program, REGISTERS, Register, Target, VARIABLES, Variable, Wiring,
};
use crate::brute_force::Model;
use std::collections::{BTreeSet, HashMap};
use std::fmt::Write;

#[derive(Clone, PartialEq, Eq, Hash)]
struct State {
    cores: Vec<Core>,
    memory: [u32; VARIABLES],
    apics: Vec<Apic>,
    io_apic: IoApic,
    pic: Option<Pic>,
    /// Writes on their way to the I/O APIC: whether each masks.
    posted: Vec<bool>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Core {
    /// Which code, and which of its instructions is next.
    code: usize,
    next: usize,
    /// What the first half of an instruction has loaded.
    loaded: Option<u32>,
    registers: [u32; REGISTERS],
    /// ZF.
    is_equal: bool,
    /// IF.
    is_open: bool,
    /// The instruction before keeps interrupts out for one more.
    is_shadowed: bool,
    is_halted: bool,
    /// What was interrupted, the last one last.
    frames: Vec<Frame>,
    /// Variables and values, oldest first.
    buffer: Vec<(Variable, u32)>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Frame {
    code: usize,
    next: usize,
    is_equal: bool,
    is_open: bool,
}

/// What a program can come to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ends {
    /// The final states: where each core is, its registers, and the variables.
    pub finals: BTreeSet<String>,
    /// Whether it can wait for ever, or go round.
    pub hang: Option<Hang>,
    /// How many states there are.
    pub states: usize,
}

/// How a program comes to no end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Hang {
    /// There is a state from which none can be reached, as long as each core that is at the end of its region with interrupts
    /// off leaves them off.
    UnlessOpened,
    /// There is a state from which none can be reached unless an interrupt is put off again and again.
    Storm,
    /// There is a state from which none can be reached.
    Certain,
}

/// A state, as it is shown: where each core is and its registers, and the variables.
pub(super) fn name<'a>(
    cores: impl Iterator<Item = ((usize, usize), &'a [u32; REGISTERS])>,
    memory: &[u32; VARIABLES],
) -> String {
    let mut text = String::new();
    for (index, ((code, next), registers)) in cores.enumerate() {
        write!(text, "core {index} at {code}:{next} {registers:?}; ").expect("a string takes everything");
    }
    write!(text, "{memory:?}").expect("a string takes everything");
    text
}

/// A step from one state to another.
struct Edge {
    from: usize,
    /// Whether no interrupt is put off by it.
    is_prompt: bool,
}

/// Handlers that are entered out of one another: where there are so many, they may well be without end, and states with them.
const MOST_NESTED: usize = 16;

/// What `program` can come to under `model`; `None` when there are more than `most` states on the way, or handlers within
/// handlers without end.
pub fn enumerate(program: &Program, model: Model, most: usize) -> Option<Ends> {
    let first = State::first(program);
    let mut numbers = HashMap::from([(first.clone(), 0)]);
    // For each state the steps that lead to it.
    let mut before: Vec<Vec<Edge>> = vec![Vec::new()];
    let (mut finals, mut ends, mut left) = (BTreeSet::new(), Vec::new(), Vec::new());
    let mut open = vec![(0, first)];
    while let Some((number, state)) = open.pop() {
        let successors = successors(program, model, &state);
        if successors.is_empty() {
            let cores = state.cores.iter().map(|core| ((core.code, core.next), &core.registers));
            finals.insert(name(cores, &state.memory));
            ends.push(number);
        }
        if state.would_go_on_if_opened(program) {
            left.push(number);
        }
        for (next, is_prompt) in successors {
            if next.cores.iter().any(|core| core.frames.len() >= MOST_NESTED) {
                return None;
            }
            let known = *numbers.entry(next.clone()).or_insert(before.len());
            if known == before.len() {
                before.push(Vec::new());
                open.push((known, next));
            }
            before[known].push(Edge { from: number, is_prompt });
        }
        if before.len() > most {
            return None;
        }
    }
    let all_reach = |ends: &[usize], is_prompt| reach(&before, ends, is_prompt) == before.len();
    let hang = if !all_reach(&ends, false) {
        Some(if all_reach(&[ends.clone(), left].concat(), false) { Hang::UnlessOpened } else { Hang::Certain })
    } else {
        (!all_reach(&ends, true)).then_some(Hang::Storm)
    };
    Some(Ends { finals, hang, states: before.len() })
}

/// How many states lead to one of `ends`, by prompt steps alone or by all.
fn reach(before: &[Vec<Edge>], ends: &[usize], only_prompt: bool) -> usize {
    let mut reached = vec![false; before.len()];
    let mut open = ends.to_vec();
    while let Some(state) = open.pop() {
        if !std::mem::replace(&mut reached[state], true) {
            open.extend(before[state].iter().filter(|edge| edge.is_prompt || !only_prompt).map(|edge| edge.from));
        }
    }
    reached.iter().filter(|it| **it).count()
}

/// Every state that one step leads to, and whether that puts off no interrupt.
fn successors(program: &Program, model: Model, state: &State) -> Vec<(State, bool)> {
    let mut all = Vec::new();
    for core in 0..state.cores.len() {
        for entry in 0..state.cores[core].buffer.len() {
            all.extend(state.drained(model, core, entry).map(|next| (next, true)));
        }
        let wants = state.lets_in(program, core);
        if wants && state.cores[core].buffer.is_empty() {
            let mut next = state.clone();
            next.interrupt(program, core);
            all.push((next, true));
        }
        let mut next = state.clone();
        if next.step(program, model, core) {
            all.push((next, !wants));
        }
    }
    if !state.posted.is_empty() {
        let mut next = state.clone();
        next.arrive(program);
        all.push((next, true));
    }
    all
}

impl State {
    fn first(program: &Program) -> State {
        let core = |(code, core): (usize, &super::program::CoreCode)| Core {
            code,
            next: 0,
            loaded: None,
            registers: [0; REGISTERS],
            is_equal: false,
            is_open: core.is_open,
            is_shadowed: false,
            is_halted: false,
            frames: Vec::new(),
            buffer: Vec::new(),
        };
        let pic = match program.wiring {
            Wiring::Pic { masked, levels } => Some(Pic::new(masked, levels)),
            Wiring::IoApic(_) => None,
        };
        State {
            cores: program.cores.iter().enumerate().map(core).collect(),
            memory: [0; VARIABLES],
            apics: vec![Apic::default(); program.cores.len()],
            io_apic: IoApic::new(program.pins()),
            pic,
            posted: Vec::new(),
        }
    }

    /// After the store at `entry` in the buffer of `core` has drained, if it may.
    fn drained(&self, model: Model, core: usize, entry: usize) -> Option<State> {
        let buffer = &self.cores[core].buffer;
        let (variable, value) = buffer[entry];
        let may_overtake = match model {
            Model::Sc | Model::Tso => entry == 0,
            Model::Pso => buffer[..entry].iter().all(|(older, _)| *older != variable),
        };
        may_overtake.then(|| {
            let mut next = self.clone();
            next.cores[core].buffer.remove(entry);
            next.memory[variable] = value;
            next
        })
    }

    /// Whether `core` is at the end of its region: it does nothing of its own any more.
    fn is_at_end(&self, program: &Program, core: usize) -> bool {
        let Core { code, next, .. } = self.cores[core];
        code < program.cores.len() && next == program.cores[code].code.len()
    }

    /// Whether something asks `core` for an interrupt, whatever its flags say. The 8259A is wired to core 0.
    fn asks(&self, core: usize) -> bool {
        self.apics[core].pending().is_some() || core == 0 && self.pic.as_ref().is_some_and(Pic::asks)
    }

    /// Whether `core` is between two instructions, and takes an interrupt that waits as soon as its buffer has drained. The end
    /// of the region is an instruction, which any shadow ends with.
    fn lets_in(&self, program: &Program, core: usize) -> bool {
        let Core { loaded, is_open, is_shadowed, .. } = self.cores[core];
        let is_shadowed = is_shadowed && !self.is_at_end(program, core);
        loaded.is_none() && is_open && !is_shadowed && self.asks(core)
    }

    /// Whether a core at its end would be interrupted were its interrupts on.
    fn would_go_on_if_opened(&self, program: &Program) -> bool {
        (0..self.cores.len()).any(|core| self.is_at_end(program, core) && !self.cores[core].is_open && self.asks(core))
    }

    fn interrupt(&mut self, program: &Program, core: usize) {
        let vector = match self.apics[core].pending() {
            Some(vector) => {
                self.apics[core].take(vector);
                vector
            }
            None => self.pic.as_mut().expect("somebody asked").take(),
        };
        self.enter(program, core, vector);
    }

    /// Through an interrupt gate, which turns interrupts off.
    fn enter(&mut self, program: &Program, core: usize, vector: u8) {
        let core = &mut self.cores[core];
        let Core { code, next, is_equal, is_open, .. } = *core;
        core.frames.push(Frame { code, next, is_equal, is_open });
        (core.code, core.next) = (program.handler_of(vector), 0);
        (core.is_open, core.is_shadowed, core.is_halted) = (false, false, false);
    }

    /// The oldest posted write arrives.
    fn arrive(&mut self, program: &Program) {
        let is_masked = self.posted.remove(0);
        let sent = self.io_apic.mask(program.pins(), is_masked);
        self.deliver(&sent);
    }

    fn deliver(&mut self, sent: &[Sent]) {
        for message in sent {
            self.apics[usize::from(message.core)].accept(message.vector, message.is_level);
        }
    }

    /// Makes the next step of `core`; returns false when it has to wait, or has none.
    fn step(&mut self, program: &Program, model: Model, index: usize) -> bool {
        let core = &mut self.cores[index];
        let code = program.codes().nth(core.code).expect("it exists");
        if core.is_halted || core.next == code.len() {
            return false;
        }
        let instruction = code[core.next];
        if drains(instruction) && !core.buffer.is_empty() {
            return false;
        }
        if let (Instruction::Increment(variable), None) = (instruction, core.loaded) {
            core.loaded = Some(core.load(variable, &self.memory));
            return true;
        }
        let was_open = core.is_open;
        core.next += 1;
        core.is_shadowed = false;
        match instruction {
            Instruction::Nop | Instruction::Fence | Instruction::Prepare(..) => (),
            Instruction::Push(_) | Instruction::Pop(_) => (),
            Instruction::Load(Register(register), variable) => {
                core.registers[usize::from(register)] = core.load(variable, &self.memory);
            }
            Instruction::Store(variable, value) => core.store(variable, value, model, &mut self.memory),
            Instruction::Increment(variable) => {
                let value = core.loaded.take().expect("the first half is done").wrapping_add(1);
                core.store(variable, value, model, &mut self.memory);
            }
            Instruction::LockedAdd(variable, value) => {
                self.memory[variable] = self.memory[variable].wrapping_add(value);
            }
            Instruction::Exchange(Register(register), variable) => {
                std::mem::swap(&mut self.memory[variable], &mut core.registers[usize::from(register)]);
            }
            Instruction::Compare(variable, value) => core.is_equal = core.load(variable, &self.memory) == value,
            Instruction::Jump { if_equal, to } => {
                if core.is_equal == if_equal {
                    core.next = to;
                }
            }
            Instruction::Close => core.is_open = false,
            Instruction::Open => {
                core.is_open = true;
                core.is_shadowed = !was_open;
            }
            Instruction::LoadStack => core.is_shadowed = true,
            Instruction::Halt => core.is_halted = true,
            Instruction::Software(vector) => self.enter(program, index, vector),
            Instruction::Return => {
                let Frame { code, next, is_equal, is_open } = core.frames.pop().expect("a handler was entered");
                (core.code, core.next, core.is_equal, core.is_open) = (code, next, is_equal, is_open);
            }
            Instruction::Out(write) => self.out(program, write),
            Instruction::Apic(write) => self.write_apic(program, index, write),
            Instruction::TaskPriority(class) => self.apics[index].set_task_priority(class.number()),
            Instruction::Mask(is_masked) => self.posted.push(is_masked),
        }
        true
    }

    /// A port is written, once everything that is posted has arrived.
    fn out(&mut self, program: &Program, write: PortWrite) {
        while !self.posted.is_empty() {
            self.arrive(program);
        }
        match (write, &mut self.pic) {
            (PortWrite::Line { line, is_high }, Some(pic)) => pic.set_line(line, is_high),
            (PortWrite::Line { line, is_high }, None) => {
                let sent = self.io_apic.set_line(program.pins(), line, is_high);
                self.deliver(&sent);
            }
            (PortWrite::PicMask(masked), Some(pic)) => pic.mask(masked),
            (PortWrite::PicEnd, Some(pic)) => pic.end(),
            (PortWrite::PicMask(_) | PortWrite::PicEnd, None) => (),
        }
    }

    fn write_apic(&mut self, program: &Program, sender: usize, write: ApicWrite) {
        match write {
            ApicWrite::TaskPriority(class) => self.apics[sender].set_task_priority(class.number()),
            ApicWrite::End => {
                let sent = self.apics[sender].end().map(|vector| self.io_apic.end(program.pins(), vector));
                self.deliver(&sent.unwrap_or_default());
            }
            ApicWrite::Send(target, vector) => {
                for (core, apic) in self.apics.iter_mut().enumerate() {
                    let is_meant = match target {
                        Target::One => core == usize::from(program.cores[sender].destination),
                        Target::Itself => core == sender,
                        Target::Others => core != sender,
                    };
                    if is_meant {
                        apic.accept(vector, false);
                    }
                }
            }
        }
    }
}

impl Core {
    fn load(&self, variable: Variable, memory: &[u32; VARIABLES]) -> u32 {
        let own = self.buffer.iter().rev().find(|(stored, _)| *stored == variable);
        own.map_or(memory[variable], |(_, value)| *value)
    }

    fn store(&mut self, variable: Variable, value: u32, model: Model, memory: &mut [u32; VARIABLES]) {
        if model == Model::Sc {
            memory[variable] = value;
        } else {
            self.buffer.push((variable, value));
        }
    }
}

/// Whether an instruction waits until the buffer is empty: the table in DESIGN section 3.
fn drains(instruction: Instruction) -> bool {
    match instruction {
        Instruction::LockedAdd(..) | Instruction::Exchange(..) | Instruction::Fence => true,
        Instruction::Software(_) | Instruction::Return => true,
        Instruction::Out(_) | Instruction::Apic(_) | Instruction::Mask(_) => true,
        Instruction::Nop | Instruction::Load(..) | Instruction::Store(..) | Instruction::Increment(_) => false,
        Instruction::Compare(..) | Instruction::Jump { .. } | Instruction::Close | Instruction::Open => false,
        Instruction::LoadStack | Instruction::Halt | Instruction::Push(_) | Instruction::Pop(_) => false,
        Instruction::Prepare(..) | Instruction::TaskPriority(_) => false,
    }
}
