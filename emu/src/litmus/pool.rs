//! A machine on which one litmus test after another is explored.
//!
//! Engines are opened once. Code stays where it was put, and threads with the same code share it: what the engine has
//! executed once for some local state is not executed again, in this test or a later one.

use super::assemble;
use super::parse::Malformed;
use super::program::{At, Observed, Program};
use super::test::{Quantifier, Span, Test};
use crate::core::CoreId;
use crate::core::cpu_state::gpr;
use crate::explorer::{Cut, End, Explored, Explorer, Limits, Start};
use crate::loader::{FLAT_BASE, Image};
use crate::machine::staging::Local;
use crate::machine::{Machine, Settings};
use crate::memory::LINE;
use crate::memory_model::MemoryModel;
use crate::processor::Processor;
use fencepost_devices::PhysAddr;
use std::collections::{BTreeSet, HashMap};

/// Room for code, in bytes; when it is full, the pool starts afresh.
const CODE_BYTES: u64 = 1 << 20;
/// Variables lie here, each on cache lines of its own.
const VARIABLES: u64 = 4 << 20;
/// The end of the room for variables.
const VARIABLES_END: u64 = 7 << 20;
/// The stack of one thread, in bytes, for the few tests that use one.
const STACK: u64 = 4 << 10;

/// Explores litmus tests.
pub struct Pool {
    explorer: Explorer,
    processor: Processor,
    /// A core about to execute code of the pool, its general registers zero.
    blank: Local,
    code_end: u64,
    codes: HashMap<Vec<u8>, u64>,
    variables_end: u64,
    variables: HashMap<(String, u64), u64>,
}

/// A test ready to be explored.
pub struct Ready {
    start: Start,
    observed: Vec<Observed>,
}

/// What exploring a test under a model has come to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Every final state, as herd spells it, in order.
    pub states: Vec<String>,
    /// How many of them satisfy the condition.
    pub positive: usize,
    /// Whether every final state is there.
    pub complete: bool,
    /// Why not.
    pub cuts: Vec<Cut>,
    /// How often a state in which nothing more is possible was reached.
    pub executions: u64,
    /// How many states were met on the way.
    pub explored: usize,
    /// Threads that faulted, if any did: what a litmus test must not do.
    pub faults: BTreeSet<String>,
    /// Whether some order of steps leads to where threads wait for ever.
    pub hangs: bool,
}

/// How often a condition holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
#[allow(missing_docs)]
pub enum Observation {
    Never,
    Sometimes,
    Always,
}

impl Outcome {
    /// How often the condition holds in the final states.
    pub fn observation(&self) -> Observation {
        match self.positive {
            0 => Observation::Never,
            all if all == self.states.len() => Observation::Always,
            _ => Observation::Sometimes,
        }
    }

    /// Whether what the test says about its final states is so, which it is not where a thread faults; `None` where something was left out that could make it
    /// otherwise.
    pub fn answer(&self, quantifier: Quantifier) -> Option<bool> {
        if !self.faults.is_empty() {
            return Some(false);
        }
        let is_settled = self.complete
            || match quantifier {
                Quantifier::Exists | Quantifier::NotExists => self.positive > 0,
                Quantifier::Forall => self.positive < self.states.len(),
            };
        is_settled.then(|| self.is_validated(quantifier))
    }

    /// Whether what the test says is so of the final states that were found.
    pub fn is_validated(&self, quantifier: Quantifier) -> bool {
        match quantifier {
            Quantifier::Exists => self.positive > 0,
            Quantifier::NotExists => self.positive == 0,
            Quantifier::Forall => self.positive == self.states.len() && !self.states.is_empty(),
        }
    }
}

impl Pool {
    /// A pool with nothing in it, whose tests are explored as on any processor.
    pub fn new() -> Pool {
        Pool::on(Processor::ANY)
    }

    /// A pool with nothing in it, whose tests are explored as on `processor`.
    pub fn on(processor: Processor) -> Pool {
        let image = Image::from_flat("litmus", vec![0xf4; CODE_BYTES as usize]);
        let settings = Settings { cores: 1, processor, ..Settings::default() };
        let machine = Machine::new(&image, settings).expect("the code fits");
        let mut explorer = Explorer::with_one_engine(machine);
        let mut blank = explorer.first(CoreId(0));
        blank.cpu.gpr = [0; 16];
        Pool {
            explorer,
            processor,
            blank,
            code_end: FLAT_BASE,
            codes: HashMap::new(),
            variables_end: VARIABLES,
            variables: HashMap::new(),
        }
    }

    /// Assembles `test` and puts its code in place.
    ///
    /// # Errors
    /// It has an instruction that there is not, or that takes no such operands.
    pub fn prepare(&mut self, test: &Test) -> Result<Ready, Malformed> {
        if self.code_end > FLAT_BASE + CODE_BYTES / 2 || self.variables_end > (VARIABLES + VARIABLES_END) / 2 {
            *self = Pool::on(self.processor);
        }
        let program = Program::of(test, |name, size| self.allocate(name, size))?;
        let mut locals = Vec::new();
        for (thread, code) in program.threads.iter().enumerate() {
            let span = || test.threads[thread].first().map_or(0..0, |line| line.span.clone());
            let mut local = self.blank.clone();
            local.cpu.rip = self.place(code).map_err(|problem| self.too_long(span(), problem))?;
            if program.uses_stack[thread] {
                local.cpu.gpr[gpr::RSP] = VARIABLES_END + STACK * (thread as u64 + 1) - 8;
            }
            let mine = program.registers.iter().filter(|(owner, ..)| *owner == thread);
            for (_, register, value) in mine {
                local.cpu.gpr[register.full_register().number()] = *value;
            }
            locals.push(local);
        }
        let memory = program.memory.into_iter().map(|(address, bytes)| (PhysAddr(address), bytes)).collect();
        let start = self.explorer.start(locals, memory);
        Ok(Ready { start, observed: program.observed })
    }

    /// Explores a test that this pool has prepared, under `model`.
    pub fn explore(&mut self, ready: &Ready, test: &Test, model: MemoryModel, limits: &Limits) -> Outcome {
        let explored = self.explorer.explore(&ready.start, model, limits);
        let mut states = BTreeSet::new();
        let (mut positive, mut faults) = (BTreeSet::new(), BTreeSet::new());
        for index in 0..explored.finals().len() {
            if let Some(stop) = explored.finals()[index].stop() {
                faults.insert(stop.to_string());
                continue;
            }
            match self.explorer.end_of(&explored, index) {
                End::Over => (),
                End::Diverges => {
                    faults.insert("a thread goes on for ever".into());
                    continue;
                }
                End::Cut => continue,
            }
            let values: Vec<i128> =
                ready.observed.iter().map(|place| place.number(self.value(place, &explored, index))).collect();
            let shown: Vec<String> =
                ready.observed.iter().zip(&values).map(|(it, value)| format!("{}={value};", it.place)).collect();
            let is = |place: &super::test::Place, wanted: i128| {
                let index = ready.observed.iter().position(|it| it.place == *place);
                let index = index.expect("every place of the condition is observed");
                values[index] == ready.observed[index].number(wanted as u64)
            };
            let state = shown.join(" ");
            if test.condition.holds(&is) {
                positive.insert(state.clone());
            }
            states.insert(state);
        }
        let hangs = self.explorer.can_hang(&explored);
        if states.is_empty() && faults.is_empty() && explored.is_complete() {
            faults.insert("no order of steps comes to an end".into());
        }
        Outcome {
            positive: positive.len(),
            states: states.into_iter().collect(),
            complete: explored.is_complete() && faults.is_empty(),
            cuts: explored.cuts(),
            executions: explored.executions(),
            explored: explored.states(),
            faults,
            hangs,
        }
    }

    fn value(&self, place: &Observed, explored: &Explored, index: usize) -> u64 {
        match place.at {
            At::Register { thread, register } => {
                let cpu = self.explorer.final_registers(explored, index, CoreId(thread as u8));
                cpu.gpr[register.full_register().number()]
            }
            At::Memory { address } => {
                let mut bytes = [0; 8];
                let length = place.kind.size as usize;
                self.explorer.final_memory(explored, index, PhysAddr(address), &mut bytes[..length]);
                u64::from_le_bytes(bytes)
            }
        }
    }

    fn allocate(&mut self, name: &str, size: u64) -> u64 {
        let lines = size.div_ceil(LINE).max(1);
        let end = &mut self.variables_end;
        *self.variables.entry((name.to_owned(), lines)).or_insert_with(|| {
            let address = *end;
            *end += lines * LINE;
            address
        })
    }

    /// Puts `code` in place, unless it is there already; returns its address.
    fn place(&mut self, code: &[iced_x86::Instruction]) -> Result<u64, String> {
        // Code is recognised by its bytes at one and the same address; only then is it moved to where there is room.
        let bytes = assemble::link(code, FLAT_BASE)?;
        if let Some(&address) = self.codes.get(&bytes) {
            return Ok(address);
        }
        let address = self.code_end;
        let placed = assemble::link(code, address)?;
        if address + placed.len() as u64 > FLAT_BASE + CODE_BYTES {
            return Err(format!("its code is longer than {} bytes", CODE_BYTES / 2));
        }
        self.explorer.put_code(PhysAddr(address), &placed);
        self.code_end += placed.len() as u64;
        self.codes.insert(bytes, address);
        Ok(address)
    }

    fn too_long(&self, span: Span, problem: String) -> Malformed {
        Malformed::new(span, problem)
    }
}

impl Default for Pool {
    fn default() -> Pool {
        Pool::new()
    }
}
