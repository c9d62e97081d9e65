//! Every final state of a program, and whether it can come to wait for ever, by trying everything.

use super::program::{Condition, ELEMENT, Fence, Instruction, LINE, Operation, Program, Register, VARIABLE};
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

/// A memory model: the columns of the table in DESIGN section 3.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Model {
    Sc,
    Tso,
    Pso,
}

/// Whose processor it is: what makers promise differently.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Maker {
    /// Any: what all of them may do.
    Any,
    /// Intel.
    Intel,
}

/// What a load may get from its thread's buffer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Forwarding {
    /// All of it from the newest store that shares a byte with it.
    FromOne,
    /// Each byte from the newest store of that byte, out of some between which there is none to another line.
    FromNeighbours,
}

/// What holds while a program runs.
#[derive(Clone, Copy)]
struct Rules {
    model: Model,
    maker: Maker,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct State {
    threads: Vec<Thread>,
    memory: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Thread {
    /// Which instruction is next.
    next: usize,
    /// How many accesses of it have been made.
    made: usize,
    /// What those that were loads got.
    got: Vec<u8>,
    registers: [u64; 3],
    /// Oldest first.
    buffer: Vec<Item>,
}

/// What a store buffer holds.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Item {
    /// Addresses and values of bytes that become visible together.
    Store { bytes: Vec<(usize, u8)>, is_non_temporal: bool },
    /// SFENCE.
    Fence,
}

/// What a program can come to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ends {
    /// The final states, as a litmus test shows them.
    pub finals: BTreeSet<String>,
    /// Whether there is a state from which no final one can be reached.
    pub hangs: bool,
}

/// What `program` can come to under `model` on a processor of `maker`; `None` when there are more than `most` states on the
/// way.
pub fn enumerate(program: &Program, model: Model, maker: Maker, most: usize) -> Option<Ends> {
    let rules = Rules { model, maker };
    let thread =
        |registers: &[u64; 3]| Thread { next: 0, made: 0, got: Vec::new(), registers: *registers, buffer: Vec::new() };
    let first = State {
        threads: program.registers.iter().map(thread).collect(),
        memory: vec![0; program.variables() * VARIABLE],
    };
    let mut numbers = HashMap::from([(first.clone(), 0)]);
    // For each state those that lead to it.
    let mut before: Vec<Vec<usize>> = vec![Vec::new()];
    let (mut finals, mut ends) = (BTreeSet::new(), Vec::new());
    let mut open = vec![(0, first)];
    while let Some((number, state)) = open.pop() {
        let successors = successors(program, rules, &state);
        if successors.is_empty() {
            assert!(is_over(program, &state), "a program that cannot go on is at its end");
            let registers: Vec<[u64; 3]> = state.threads.iter().map(|thread| thread.registers).collect();
            finals.insert(program.show(&registers, &state.memory));
            ends.push(number);
        }
        for next in successors {
            let known = *numbers.entry(next.clone()).or_insert(before.len());
            if known == before.len() {
                before.push(Vec::new());
                open.push((known, next));
            }
            before[known].push(number);
        }
        if before.len() > most {
            return None;
        }
    }
    Some(Ends { finals, hangs: reach(&before, ends) < before.len() })
}

/// How many states lead to one of `ends`.
fn reach(before: &[Vec<usize>], ends: Vec<usize>) -> usize {
    let mut reached = vec![false; before.len()];
    let mut open = ends;
    while let Some(state) = open.pop() {
        if !std::mem::replace(&mut reached[state], true) {
            open.extend(&before[state]);
        }
    }
    reached.iter().filter(|it| **it).count()
}

fn is_over(program: &Program, state: &State) -> bool {
    let ends = state.threads.iter().zip(&program.threads);
    ends.into_iter().all(|(thread, code)| thread.next == code.len() && thread.buffer.is_empty())
}

/// Every state that one step of a thread or one drain leads to.
fn successors(program: &Program, rules: Rules, state: &State) -> Vec<State> {
    let mut all = Vec::new();
    for (index, thread) in state.threads.iter().enumerate() {
        for entry in 0..thread.buffer.len() {
            all.extend(drained(rules.model, state, index, entry));
        }
        if let Some(instruction) = program.threads[index].get(thread.next) {
            let forwardings: &[Forwarding] = match rules.maker {
                Maker::Any => &[Forwarding::FromOne, Forwarding::FromNeighbours],
                Maker::Intel => &[Forwarding::FromOne],
            };
            for &forwarding in forwardings {
                let mut next = state.clone();
                let State { threads, memory } = &mut next;
                if threads[index].step(*instruction, rules, forwarding, memory) {
                    all.push(next);
                }
            }
        }
    }
    all
}

/// `state` after the store at `entry` in the buffer of thread `index` has drained, if it may.
fn drained(model: Model, state: &State, index: usize, entry: usize) -> Option<State> {
    let buffer = &state.threads[index].buffer;
    let Item::Store { bytes, is_non_temporal } = &buffer[entry] else { return None };
    let older = &buffer[..entry];
    let mut store_before = false;
    for item in older {
        match item {
            // An SFENCE: every store before it drains first.
            Item::Fence if store_before => return None,
            Item::Fence => (),
            Item::Store { bytes: others, is_non_temporal: other } => {
                store_before = true;
                let shares_byte = others.iter().any(|(address, _)| bytes.iter().any(|(at, _)| at == address));
                let both_ordinary = !is_non_temporal && !other;
                if shares_byte || both_ordinary && model == Model::Tso {
                    return None;
                }
            }
        }
    }
    let mut next = state.clone();
    for (address, value) in bytes {
        next.memory[*address] = *value;
    }
    let buffer = &mut next.threads[index].buffer;
    buffer.remove(entry);
    // A fence that no store is left in front of has done its work.
    while buffer.first() == Some(&Item::Fence) {
        buffer.remove(0);
    }
    Some(next)
}

impl Thread {
    /// Makes the next access of `instruction`, which is the thread's next; returns false when it has to wait.
    fn step(&mut self, instruction: Instruction, rules: Rules, forwarding: Forwarding, memory: &mut [u8]) -> bool {
        match instruction {
            Instruction::Jump { register, value, condition, to } => {
                let is_equal = self.registers[register.index()] == u64::from(value);
                let is_taken = match condition {
                    Condition::Always => true,
                    Condition::Equal => is_equal,
                    Condition::NotEqual => !is_equal,
                };
                self.next = if is_taken { to } else { self.next + 1 };
            }
            Instruction::Fence(Fence::Mfence) if !self.buffer.is_empty() => return false,
            Instruction::Fence(fence) => {
                if fence == Fence::Sfence && !self.buffer.is_empty() {
                    self.buffer.push(Item::Fence);
                }
                self.go_on();
            }
            Instruction::Load(spot, register) => {
                let parts = parts(spot.bytes(), rules.maker);
                if !self.load(parts[self.made].clone(), forwarding, memory) {
                    return false;
                }
                if self.made == parts.len() {
                    self.set(register, spot.size, number(&self.got));
                    self.go_on();
                }
            }
            Instruction::StoreImmediate(spot, value) => {
                self.store(spot.bytes(), 0, u64::from(value), false, rules, memory)
            }
            Instruction::Store(spot, register) => {
                self.store(spot.bytes(), 0, self.registers[register.index()], false, rules, memory);
            }
            Instruction::StoreNonTemporal(spot, register) => {
                self.store(spot.bytes(), 0, self.registers[register.index()], true, rules, memory);
            }
            Instruction::Modify { spot, operation, is_locked } => {
                if is_locked || matches!(operation, Operation::Xchg(_)) {
                    if !self.buffer.is_empty() {
                        return false;
                    }
                    let old = number(&memory[spot.bytes()]);
                    let new = self.modified(operation, spot.size, old);
                    memory[spot.bytes()].copy_from_slice(&new.to_le_bytes()[..spot.size]);
                    self.finish(operation, spot.size, old);
                    self.go_on();
                    return true;
                }
                let parts = parts(spot.bytes(), rules.maker);
                if self.made < parts.len() {
                    return self.load(parts[self.made].clone(), forwarding, memory);
                }
                let old = number(&self.got);
                let new = self.modified(operation, spot.size, old);
                let was = self.next;
                self.store(spot.bytes(), parts.len(), new, false, rules, memory);
                if self.next != was {
                    self.finish(operation, spot.size, old);
                }
            }
        }
        true
    }

    /// Loads one part; returns false when it has to wait.
    fn load(&mut self, part: Range<usize>, forwarding: Forwarding, memory: &[u8]) -> bool {
        let stores = self.buffer.iter().filter_map(|item| match item {
            Item::Store { bytes, .. } => Some(bytes.as_slice()),
            Item::Fence => None,
        });
        let stores: Vec<&[(usize, u8)]> = stores.collect();
        let newest = stores.iter().rposition(|bytes| shares_byte(bytes, &part));
        let loaded: Option<Vec<u8>> = match (newest, forwarding) {
            (None, _) => Some(memory[part].to_vec()),
            (Some(newest), Forwarding::FromOne) => from_newest(&stores[newest..=newest], part),
            (Some(newest), Forwarding::FromNeighbours) => {
                let neighbours = (0..=newest).map(|oldest| &stores[oldest..=newest]);
                let mut among = neighbours.filter(|run| run.iter().all(|bytes| bytes[0].0 / LINE == part.start / LINE));
                among.find_map(|run| from_newest(run, part.clone()))
            }
        };
        let Some(loaded) = loaded else { return false };
        self.got.extend(loaded);
        self.made += 1;
        true
    }

    /// Stores the next part, where `loads` accesses of the instruction are loads; goes on after the last.
    fn store(
        &mut self,
        all: Range<usize>,
        loads: usize,
        value: u64,
        non_temporal: bool,
        rules: Rules,
        memory: &mut [u8],
    ) {
        let parts = parts(all.clone(), rules.maker);
        let part = parts[self.made - loads].clone();
        let bytes: Vec<(usize, u8)> = part.map(|at| (at, value.to_le_bytes()[at - all.start])).collect();
        if rules.model == Model::Sc {
            bytes.iter().for_each(|(address, value)| memory[*address] = *value);
        } else {
            self.buffer.push(Item::Store { bytes, is_non_temporal: non_temporal });
        }
        self.made += 1;
        if self.made == loads + parts.len() {
            self.go_on();
        }
    }

    /// What an instruction makes of `old` (SDM 2): as many low bytes count as it has.
    fn modified(&self, operation: Operation, size: usize, old: u64) -> u64 {
        let register = |register: Register| low(self.registers[register.index()], size);
        match operation {
            Operation::Add(value) => old.wrapping_add(u64::from(value)),
            Operation::Or(value) => old | u64::from(value),
            Operation::Xor(value) => old ^ u64::from(value),
            Operation::Inc => old.wrapping_add(1),
            Operation::Not => !old,
            Operation::Xadd(it) => old.wrapping_add(register(it)),
            Operation::Xchg(it) => register(it),
            Operation::Cmpxchg(it) => {
                if old == register(Register::Rax) {
                    register(it)
                } else {
                    old
                }
            }
        }
    }

    /// What becomes of the registers when an instruction has read `old`.
    fn finish(&mut self, operation: Operation, size: usize, old: u64) {
        match operation {
            Operation::Xadd(register) | Operation::Xchg(register) => self.set(register, size, old),
            Operation::Cmpxchg(_) => {
                // Only a failure writes the accumulator: a success leaves the upper half of rax alone.
                if old != low(self.registers[0], size) {
                    self.set(Register::Rax, size, old);
                }
            }
            Operation::Add(_) | Operation::Or(_) | Operation::Xor(_) | Operation::Inc | Operation::Not => (),
        }
    }

    /// Writes `size` bytes of a register: 4 clear the upper half, 1 and 2 leave the rest (SDM 1, 3.4.1.1).
    fn set(&mut self, register: Register, size: usize, value: u64) {
        let old = &mut self.registers[register.index()];
        *old = match size {
            1 | 2 => *old & !low(u64::MAX, size) | value,
            _ => value,
        };
    }

    fn go_on(&mut self) {
        self.next += 1;
        self.made = 0;
        self.got.clear();
    }
}

/// Whether a store of `bytes` is to one of `part`.
fn shares_byte(bytes: &[(usize, u8)], part: &Range<usize>) -> bool {
    bytes.iter().any(|(address, _)| part.contains(address))
}

/// Each byte of `part` from the newest of `stores`, the newest last, that has it; `None` if there is one that none has.
fn from_newest(stores: &[&[(usize, u8)]], part: Range<usize>) -> Option<Vec<u8>> {
    let of_store = |bytes: &[(usize, u8)], at| bytes.iter().find(|(address, _)| *address == at).map(|it| it.1);
    part.map(|at| stores.iter().rev().find_map(|bytes| of_store(bytes, at))).collect()
}

/// The accesses to `bytes`: one for each cache line, or for each aligned quadword.
fn parts(bytes: Range<usize>, maker: Maker) -> Vec<Range<usize>> {
    let whole = match maker {
        Maker::Any => ELEMENT,
        Maker::Intel => LINE,
    };
    let border = bytes.start / whole * whole + whole;
    if bytes.end <= border { vec![bytes] } else { vec![bytes.start..border, border..bytes.end] }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |all, byte| all << 8 | u64::from(*byte))
}

/// The low `size` bytes of `value`.
fn low(value: u64, size: usize) -> u64 {
    if size == 8 { value } else { value & ((1 << (8 * size)) - 1) }
}
