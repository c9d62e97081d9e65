//! Tiny programs, and how they are written as litmus tests.

use std::collections::BTreeSet;
use std::fmt::Write;

/// Bytes of one variable: two cache lines, so that there is a border to cross.
pub(super) const VARIABLE: usize = 128;
/// Bytes of a cache line.
pub(super) const LINE: usize = 64;
/// Bytes of an element of a variable: what final states show.
pub(super) const ELEMENT: usize = 8;

/// A program of a few threads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Program {
    /// Each thread's code.
    pub threads: Vec<Vec<Instruction>>,
    /// Each thread's registers at first: rax, rbx, rcx.
    pub registers: Vec<[u64; 3]>,
}

/// A register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Register {
    Rax,
    Rbx,
    Rcx,
}

/// Bytes of a variable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Spot {
    /// Which variable, from 0.
    pub variable: usize,
    /// Where in it, in bytes.
    pub offset: usize,
    /// How many bytes: 1, 2, 4 or 8.
    pub size: usize,
}

/// What an instruction makes of what it reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Operation {
    Add(u32),
    Or(u32),
    Xor(u32),
    Inc,
    Not,
    Xadd(Register),
    Cmpxchg(Register),
    /// Always locked.
    Xchg(Register),
}

/// A fence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Fence {
    Mfence,
    Sfence,
    Lfence,
}

/// When a jump is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Condition {
    Always,
    Equal,
    NotEqual,
}

/// An instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Instruction {
    /// Compares a register with a number, and jumps to an instruction of the same thread or to its end.
    Jump {
        register: Register,
        value: u32,
        condition: Condition,
        to: usize,
    },
    Load(Spot, Register),
    /// The value is positive as a signed number of the spot's size.
    StoreImmediate(Spot, u32),
    Store(Spot, Register),
    /// MOVNTI, of 4 or 8 bytes.
    StoreNonTemporal(Spot, Register),
    Modify {
        spot: Spot,
        operation: Operation,
        is_locked: bool,
    },
    Fence(Fence),
}

impl Register {
    /// All of them.
    pub const ALL: [Register; 3] = [Register::Rax, Register::Rbx, Register::Rcx];

    pub(super) fn index(self) -> usize {
        self as usize
    }

    /// Its name when `size` bytes of it are meant.
    fn name(self, size: usize) -> String {
        let letter = ["a", "b", "c"][self.index()];
        match size {
            1 => format!("{letter}l"),
            2 => format!("{letter}x"),
            4 => format!("e{letter}x"),
            _ => format!("r{letter}x"),
        }
    }
}

impl Spot {
    /// The bytes of memory that it is.
    pub(super) fn bytes(self) -> std::ops::Range<usize> {
        let start = self.variable * VARIABLE + self.offset;
        start..start + self.size
    }

    fn text(self) -> String {
        let name = variable(self.variable);
        if self.offset == 0 { format!("({name})") } else { format!("{}({name})", self.offset) }
    }

    fn suffix(self) -> &'static str {
        match self.size {
            1 => "b",
            2 => "w",
            4 => "l",
            _ => "q",
        }
    }
}

impl Instruction {
    fn spot(self) -> Option<Spot> {
        match self {
            Instruction::Load(spot, _)
            | Instruction::StoreImmediate(spot, _)
            | Instruction::Store(spot, _)
            | Instruction::StoreNonTemporal(spot, _)
            | Instruction::Modify { spot, .. } => Some(spot),
            Instruction::Fence(_) | Instruction::Jump { .. } => None,
        }
    }

    /// What it is written as: a line, or two.
    fn lines(self) -> Vec<String> {
        let Instruction::Jump { register, value, condition, to } = self else { return vec![self.text()] };
        let compare = format!("cmpq ${value},%{}", register.name(8));
        match condition {
            Condition::Always => vec![format!("jmp {}", label(to))],
            Condition::Equal => vec![compare, format!("je {}", label(to))],
            Condition::NotEqual => vec![compare, format!("jne {}", label(to))],
        }
    }

    fn text(self) -> String {
        match self {
            Instruction::Jump { .. } => unreachable!("a jump has lines of its own"),
            Instruction::Load(spot, register) => {
                format!("mov{} {},%{}", spot.suffix(), spot.text(), register.name(spot.size))
            }
            Instruction::StoreImmediate(spot, value) => format!("mov{} ${value},{}", spot.suffix(), spot.text()),
            Instruction::Store(spot, register) => {
                format!("mov{} %{},{}", spot.suffix(), register.name(spot.size), spot.text())
            }
            Instruction::StoreNonTemporal(spot, register) => {
                format!("movnti{} %{},{}", spot.suffix(), register.name(spot.size), spot.text())
            }
            Instruction::Modify { spot, operation, is_locked } => {
                let lock = if is_locked && !matches!(operation, Operation::Xchg(_)) { "lock " } else { "" };
                format!("{lock}{}{}", operation.text(spot), spot.text())
            }
            Instruction::Fence(Fence::Mfence) => "mfence".into(),
            Instruction::Fence(Fence::Sfence) => "sfence".into(),
            Instruction::Fence(Fence::Lfence) => "lfence".into(),
        }
    }
}

impl Operation {
    /// Its mnemonic and its first operand.
    fn text(self, spot: Spot) -> String {
        let suffix = spot.suffix();
        match self {
            Operation::Add(value) => format!("add{suffix} ${value},"),
            Operation::Or(value) => format!("or{suffix} ${value},"),
            Operation::Xor(value) => format!("xor{suffix} ${value},"),
            Operation::Inc => format!("inc{suffix} "),
            Operation::Not => format!("not{suffix} "),
            Operation::Xadd(register) => format!("xadd{suffix} %{},", register.name(spot.size)),
            Operation::Cmpxchg(register) => format!("cmpxchg{suffix} %{},", register.name(spot.size)),
            Operation::Xchg(register) => format!("xchg{suffix} %{},", register.name(spot.size)),
        }
    }
}

impl Program {
    /// How many variables it uses.
    pub(super) fn variables(&self) -> usize {
        self.spots().map(|spot| spot.variable + 1).max().unwrap_or(0)
    }

    /// The elements that it touches: variable and index.
    fn elements(&self) -> BTreeSet<(usize, usize)> {
        let elements = |spot: Spot| (spot.offset..spot.offset + spot.size).map(move |at| (spot.variable, at / ELEMENT));
        self.spots().flat_map(elements).collect()
    }

    fn spots(&self) -> impl Iterator<Item = Spot> + '_ {
        self.threads.iter().flatten().filter_map(|instruction| instruction.spot())
    }

    /// The program as a litmus test that shows every register and every element that it touches.
    pub fn litmus(&self) -> String {
        let mut text = String::from("X86_64 random\n{\n");
        for index in 0..self.variables() {
            writeln!(text, " uint64_t {}[{}];", variable(index), VARIABLE / ELEMENT).expect("text grows");
        }
        for (thread, values) in self.registers.iter().enumerate() {
            for (register, value) in Register::ALL.iter().zip(values) {
                writeln!(text, " uint64_t {thread}:{}={value:#x};", register.name(8)).expect("text grows");
            }
        }
        text += "}\n";
        let names: Vec<String> = (0..self.threads.len()).map(|thread| format!("P{thread}")).collect();
        text += &format!("{};\n", names.join("|"));
        let columns: Vec<Vec<String>> = self.threads.iter().map(|code| column(code)).collect();
        for row in 0..columns.iter().map(Vec::len).max().unwrap_or(0) {
            let cells: Vec<&str> = columns.iter().map(|column| column.get(row).map_or("", String::as_str)).collect();
            text += &format!(" {} ;\n", cells.join(" | "));
        }
        let mut places = Vec::new();
        for thread in 0..self.threads.len() {
            places.extend(Register::ALL.iter().map(|register| format!("{thread}:{};", register.name(8))));
        }
        places.extend(self.elements().iter().map(|(name, index)| format!("{}[{index}];", variable(*name))));
        text + &format!("locations [{}]\nexists (0:rax=0)\n", places.join(" "))
    }

    /// A final state as a litmus test shows it.
    pub(super) fn show(&self, registers: &[[u64; 3]], memory: &[u8]) -> String {
        let mut parts = Vec::new();
        for (thread, values) in registers.iter().enumerate() {
            let each = Register::ALL.iter().zip(values);
            parts.extend(each.map(|(register, value)| format!("{thread}:{}={value};", register.name(8))));
        }
        for (name, index) in self.elements() {
            let start = name * VARIABLE + index * ELEMENT;
            let value = memory[start..start + ELEMENT].iter().rev().fold(0, |all, byte| all << 8 | u64::from(*byte));
            parts.push(format!("{}[{index}]={value};", variable(name)));
        }
        parts.join(" ")
    }
}

/// A thread's code, a line each, with labels where jumps go.
fn column(code: &[Instruction]) -> Vec<String> {
    let is_target = |at: usize| code.iter().any(|it| matches!(it, Instruction::Jump { to, .. } if *to == at));
    let mut lines = Vec::new();
    for (at, instruction) in code.iter().enumerate() {
        let first = lines.len();
        lines.extend(instruction.lines());
        if is_target(at) {
            lines[first] = format!("{}: {}", label(at), lines[first]);
        }
    }
    if is_target(code.len()) {
        lines.push(format!("{}:", label(code.len())));
    }
    lines
}

fn label(at: usize) -> String {
    format!("L{at}")
}

fn variable(index: usize) -> char {
    ['x', 'y', 'z'][index]
}
