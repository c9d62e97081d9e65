//! Tiny programs with interrupts, an instruction of the processor each.

use std::fmt;

/// A program of a few cores.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Program {
    /// What each core executes.
    pub cores: Vec<CoreCode>,
    /// What cores execute when they are interrupted, all cores the same.
    pub handlers: Vec<Handler>,
    /// Where the lines of devices lead.
    pub wiring: Wiring,
}

/// What a core executes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CoreCode {
    /// Up to the end of the region.
    pub code: Code,
    /// Whether interrupts are let in at the beginning.
    pub is_open: bool,
    /// Whom it sends messages to that go to one core.
    pub destination: u8,
}

/// Instructions in a row.
pub(super) type Code = Vec<Instruction>;

/// What is executed for an interrupt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Handler {
    /// Whose interrupt.
    pub vector: u8,
    /// Ends with IRET.
    pub code: Code,
}

/// Where the lines of devices lead.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wiring {
    /// To the I/O APIC; a core's writes reach the first pin here, which is selected.
    IoApic(Vec<Pin>),
    /// To the 8259A pair, and from there to core 0.
    Pic {
        /// IMR of the master.
        masked: u8,
        /// Inputs that are levels.
        levels: u8,
    },
}

/// A pin of the I/O APIC.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pin {
    /// The line, and the pin.
    pub line: u8,
    /// What it interrupts with.
    pub vector: u8,
    /// Whom.
    pub core: u8,
    /// Whether it interrupts as long as the line is high.
    pub is_level: bool,
    /// Whether it does not interrupt at first.
    pub is_masked: bool,
}

/// What the 8259A adds the number of an input to.
pub(super) const PIC_BASE: u8 = 0x30;

/// The vector of the 8259A's interrupt that has gone when it is acknowledged ("default IR7").
pub(super) const SPURIOUS: u8 = PIC_BASE + 7;

/// A register that programs load into: r8 to r12.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Register(pub u8);

/// How many registers there are.
pub(super) const REGISTERS: usize = 5;

/// Which variable.
pub(super) type Variable = usize;

/// How many variables there are.
pub(super) const VARIABLES: usize = 3;

/// An instruction. Memory operands are 4 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Instruction {
    /// NOP.
    Nop,
    /// MOV from memory.
    Load(Register, Variable),
    /// MOV to memory.
    Store(Variable, u32),
    /// INC, which is a load and a store.
    Increment(Variable),
    /// LOCK ADD.
    LockedAdd(Variable, u32),
    /// XCHG of the register with memory.
    Exchange(Register, Variable),
    /// CMP with memory.
    Compare(Variable, u32),
    /// Je or JNE to an instruction of the same code.
    Jump {
        /// Whether when it was equal.
        if_equal: bool,
        /// Where to.
        to: usize,
    },
    /// MFENCE.
    Fence,
    /// CLI.
    Close,
    /// STI.
    Open,
    /// MOV SS, which keeps interrupts out as STI does.
    LoadStack,
    /// HLT.
    Halt,
    /// INT n.
    Software(u8),
    /// IRET.
    Return,
    /// PUSH RAX, PUSH RDX.
    Push(Scratch),
    /// POP RAX, POP RDX.
    Pop(Scratch),
    /// What the next OUT writes, or where.
    Prepare(PortWrite, Scratch),
    /// OUT.
    Out(PortWrite),
    /// A write of a register of the core's local APIC.
    Apic(ApicWrite),
    /// MOV CR8: vectors of this class and below wait.
    TaskPriority(Class),
    /// A write of the entry of the I/O APIC's selected pin.
    Mask(bool),
}

/// A register that handlers save.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Scratch {
    Rax,
    Rdx,
}

/// A class of vectors: none waits, or those below 0x50.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Class {
    None,
    Low,
}

impl Class {
    pub(super) fn number(self) -> u8 {
        match self {
            Class::None => 0,
            Class::Low => 4,
        }
    }
}

/// What is written to a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PortWrite {
    /// A line of a device rises or falls.
    Line {
        /// Which.
        line: u8,
        /// To where.
        is_high: bool,
    },
    /// IMR of the 8259A.
    PicMask(u8),
    /// The 8259A's most urgent interrupt in service is over.
    PicEnd,
}

/// What is written to the local APIC.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ApicWrite {
    /// A message.
    Send(Target, u8),
    /// The most urgent interrupt in service is over.
    End,
    /// Vectors of this class and below wait.
    TaskPriority(Class),
}

/// Whom a message is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// The core that the sender has chosen before ([`CoreCode::destination`]).
    One,
    /// The sender.
    Itself,
    /// All but the sender.
    Others,
}

impl Program {
    /// Every code: the cores', then the handlers'.
    pub(super) fn codes(&self) -> impl Iterator<Item = &Code> {
        self.cores.iter().map(|core| &core.code).chain(self.handlers.iter().map(|handler| &handler.code))
    }

    /// The number among all codes of the handler of `vector`.
    pub(super) fn handler_of(&self, vector: u8) -> usize {
        let at = self.handlers.iter().position(|handler| handler.vector == vector);
        self.cores.len() + at.expect("a program has a handler for every vector that it uses")
    }

    /// The levels at the I/O APIC.
    pub(super) fn pins(&self) -> &[Pin] {
        match &self.wiring {
            Wiring::IoApic(pins) => pins,
            Wiring::Pic { .. } => &[],
        }
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:x?}", self.wiring)?;
        for (index, core) in self.cores.iter().enumerate() {
            writeln!(f, "core {index}, open: {}, sends to {}", core.is_open, core.destination)?;
            show(f, &core.code)?;
        }
        for handler in &self.handlers {
            writeln!(f, "handler of {:#x}", handler.vector)?;
            show(f, &handler.code)?;
        }
        Ok(())
    }
}

fn show(f: &mut fmt::Formatter<'_>, code: &Code) -> fmt::Result {
    for (at, instruction) in code.iter().enumerate() {
        writeln!(f, "    {at}: {instruction:x?}")?;
    }
    Ok(())
}
