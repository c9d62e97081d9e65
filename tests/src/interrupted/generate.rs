//! Random programs that are small, and likely to be interesting.
//!
//! What keeps their states few: loops only wait for a variable; what a handler sends is handled without sending; and where a
//! line may ask again and again, no handler lets interrupts in.

use super::program::{
    ApicWrite, Class, Code, CoreCode, Handler, Instruction, PIC_BASE, Pin, PortWrite, Program, Register, SPURIOUS,
    Scratch, Target, VARIABLES, Variable, Wiring,
};
use crate::random::Random;

/// Vectors of messages, the second of the same class as the first, the third above.
const MESSAGES: [u8; 3] = [0x41, 0x48, 0x51];
/// A vector that only INT n has.
const SOFTWARE: u8 = 0x60;
/// Vectors of lines at the I/O APIC.
const PINS: [u8; 3] = [0x45, 0x52, 0x61];
/// Lines of devices, the more urgent first.
const LINES: [u8; 2] = [3, 5];

/// What programs may have that exploration does not follow, or not as it should.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gaps {
    /// INT n.
    pub software: bool,
    /// MOV CR8.
    pub task_priority: bool,
    /// MOV SS.
    pub stack_segment: bool,
    /// The shadow of STI at the end of the region.
    pub shadow_at_end: bool,
    /// Levels that nobody lowers.
    pub storms: bool,
}

impl Gaps {
    /// All of it.
    pub const ALL: Gaps =
        Gaps { software: true, task_priority: true, stack_segment: true, shadow_at_end: true, storms: true };
    /// None of it.
    pub const NONE: Gaps =
        Gaps { software: false, task_priority: false, stack_segment: false, shadow_at_end: false, storms: false };
}

/// What the cores' code is about.
#[derive(Clone, Copy)]
enum Style {
    /// Anything.
    Any,
    /// Each stores to a variable and loads the other's: a load may overtake the store.
    Buffering,
    /// Two stores of one, which the others may see the other way round.
    Passing,
    /// A line rises, and who is interrupted has it fall again, in the end.
    Serving,
}

/// What a program is made of.
struct Make<'a> {
    with: Gaps,
    random: &'a mut Random,
    cores: usize,
    variables: usize,
    messages: Vec<u8>,
    wiring: Wiring,
    /// The lines that are wired.
    lines: Vec<u8>,
    /// A line asks as long as it is high.
    has_level: bool,
    /// What a core waits for, and a handler is likely to store to.
    awaited: Option<Variable>,
}

/// The program of `seed`, which may have so much.
pub fn generate(seed: u64, with: Gaps) -> Program {
    let mut random = Random::new(seed);
    let cores = random.pick(&[2, 2, 2, 2, 3]);
    let wiring = wiring(&mut random, cores, with);
    let (lines, has_level) = match &wiring {
        Wiring::IoApic(pins) => (pins.iter().map(|pin| pin.line).collect(), pins.iter().any(|pin| pin.is_level)),
        Wiring::Pic { levels, .. } => (LINES[..1 + random.index(2)].to_vec(), *levels != 0),
    };
    let count = if has_lines(&wiring) { random.pick(&[0, 1, 1]) } else { 1 + random.index(2) };
    let messages = (0..count).map(|_| random.pick(&MESSAGES)).collect();
    let variables = random.pick(&[1, 2, 2, 2, VARIABLES]);
    Make { with, random: &mut random, cores, variables, messages, wiring, lines, has_level, awaited: None }.program()
}

fn has_lines(wiring: &Wiring) -> bool {
    match wiring {
        Wiring::IoApic(pins) => !pins.is_empty(),
        Wiring::Pic { .. } => true,
    }
}

fn wiring(random: &mut Random, cores: usize, with: Gaps) -> Wiring {
    match random.below(10) {
        0..=3 => Wiring::IoApic(Vec::new()),
        4..=6 => {
            let lines = if random.one_in(4) { LINES.to_vec() } else { LINES[..1].to_vec() };
            let pin = |line: u8| Pin {
                line,
                vector: random.pick(&PINS),
                core: random.index(cores) as u8,
                is_level: random.one_in(2) && with.storms,
                is_masked: random.one_in(5),
            };
            Wiring::IoApic(lines.into_iter().map(pin).collect())
        }
        _ => Wiring::Pic {
            masked: !line_bits(&LINES) | if random.one_in(4) { 1 << LINES[0] } else { 0 },
            levels: if random.one_in(2) && with.storms { 1 << LINES[0] } else { 0 },
        },
    }
}

fn line_bits(lines: &[u8]) -> u8 {
    lines.iter().map(|line| 1 << line).sum()
}

impl Make<'_> {
    fn program(mut self) -> Program {
        let classic = [Style::Any, Style::Any, Style::Buffering, Style::Passing];
        let style = match self.random.below(6) {
            0 if !self.lines.is_empty() => Style::Serving,
            _ if self.variables > 1 => self.random.pick(&classic),
            _ => Style::Any,
        };
        let cores = (0..self.cores).map(|index| self.core(style, index)).collect::<Vec<_>>();
        let handlers = self.handlers(&cores);
        Program { cores, handlers, wiring: self.wiring }
    }

    fn core(&mut self, style: Style, index: usize) -> CoreCode {
        let longest = if self.cores == 2 { 5 } else { 3 };
        let mut code = Code::new();
        match style {
            Style::Any => (0..1 + self.random.index(longest)).for_each(|_| self.action(&mut code)),
            Style::Buffering => {
                self.between(&mut code, Instruction::Store(index % 2, 1));
                self.between(&mut code, Instruction::Load(Register(0), 1 - index % 2));
            }
            Style::Serving => {
                let is_high = index > 0;
                self.between(&mut code, Instruction::Nop);
                if !is_high {
                    self.wait(&mut code);
                }
                out(&mut code, PortWrite::Line { line: self.lines[0], is_high });
            }
            Style::Passing if index == 0 => {
                self.between(&mut code, Instruction::Store(0, 1));
                self.between(&mut code, Instruction::Store(1, 1));
            }
            Style::Passing => {
                self.between(&mut code, Instruction::Load(Register(0), 1));
                self.between(&mut code, Instruction::Load(Register(1), 0));
            }
        }
        if code.last().is_some_and(|last| is_shadowing(*last)) && !self.with.shadow_at_end {
            code.push(Instruction::Nop);
        }
        CoreCode { code, is_open: !self.random.one_in(3), destination: self.random.index(self.cores) as u8 }
    }

    /// An instruction, and something before it now and then.
    fn between(&mut self, code: &mut Code, instruction: Instruction) {
        if self.random.one_in(2) {
            self.action(code);
        }
        code.push(instruction);
        if self.random.one_in(4) {
            self.action(code);
        }
    }

    /// What a core does next, outside of handlers.
    fn action(&mut self, code: &mut Code) {
        let variable = self.variable();
        match self.random.below(24) {
            0..=1 => code.push(Instruction::Load(Register(self.random.below(2) as u8), variable)),
            2..=4 => code.push(Instruction::Store(variable, 1 + self.random.below(2) as u32)),
            5 => self.modify(code, Register(0)),
            6 => code.push(Instruction::Fence),
            7 => code.push(Instruction::Close),
            8..=9 => shadow(code, Instruction::Open),
            10 => {
                shadow(code, Instruction::Open);
                code.push(Instruction::Halt);
            }
            11 => code.push(self.random.pick(&[Instruction::Nop, Instruction::Halt])),
            12..=13 => self.sleep(code),
            14 if self.with.stack_segment && self.random.one_in(3) => shadow(code, Instruction::LoadStack),
            14..=15 => self.wait(code),
            16 => self.priority(code),
            17 if self.with.software => code.push(Instruction::Software(self.software())),
            18..=20 if !self.messages.is_empty() => code.push(self.send()),
            _ if !self.lines.is_empty() => self.drive(code),
            _ => code.push(self.send_or_nop()),
        }
    }

    fn variable(&mut self) -> Variable {
        self.random.index(self.variables)
    }

    fn modify(&mut self, code: &mut Code, register: Register) {
        let variable = self.variable();
        code.push(match self.random.below(3) {
            0 => Instruction::LockedAdd(variable, 1 + self.random.below(2) as u32),
            1 => Instruction::Exchange(register, variable),
            _ => Instruction::Increment(variable),
        });
    }

    /// Halts unless a variable has been stored to; with a wakeup that may be lost, or not.
    fn sleep(&mut self, code: &mut Code) {
        let variable = self.variable();
        if self.random.one_in(2) {
            code.push(Instruction::Close);
        }
        code.push(Instruction::Compare(variable, 0));
        let to = code.len() + 3;
        code.extend([Instruction::Jump { if_equal: false, to }, Instruction::Open, Instruction::Halt]);
    }

    /// Waits until a variable has been stored to.
    fn wait(&mut self, code: &mut Code) {
        let variable = self.variable();
        self.awaited = Some(variable);
        let to = code.len();
        code.extend([Instruction::Compare(variable, 0), Instruction::Jump { if_equal: true, to }]);
    }

    fn priority(&mut self, code: &mut Code) {
        let class = self.random.pick(&[Class::Low, Class::Low, Class::None]);
        code.push(if self.random.one_in(2) && self.with.task_priority {
            Instruction::TaskPriority(class)
        } else {
            Instruction::Apic(ApicWrite::TaskPriority(class))
        });
    }

    fn software(&mut self) -> u8 {
        if self.messages.is_empty() || self.random.one_in(2) { SOFTWARE } else { self.messages[0] }
    }

    fn send(&mut self) -> Instruction {
        let target = self.random.pick(&[Target::One, Target::Others, Target::Others, Target::Itself]);
        let vector = self.random.index(self.messages.len());
        Instruction::Apic(ApicWrite::Send(target, self.messages[vector]))
    }

    fn send_or_nop(&mut self) -> Instruction {
        if self.messages.is_empty() { Instruction::Nop } else { self.send() }
    }

    /// Something about a line.
    fn drive(&mut self, code: &mut Code) {
        let index = self.random.index(self.lines.len());
        let line = self.lines[index];
        let is_masked = self.random.one_in(2);
        match (self.random.below(8), &self.wiring) {
            (0..=4, _) => out(code, PortWrite::Line { line, is_high: !self.random.one_in(3) }),
            (5..=6, Wiring::IoApic(_)) => code.push(Instruction::Mask(is_masked)),
            (5..=6, Wiring::Pic { .. }) => {
                let others = !line_bits(&LINES);
                out(code, PortWrite::PicMask(others | if is_masked { 1 << line } else { 0 }));
            }
            _ => self.end(code),
        }
    }

    /// The end of an interrupt, outside of a handler or in one.
    fn end(&mut self, code: &mut Code) {
        match self.wiring {
            Wiring::IoApic(_) => code.push(Instruction::Apic(ApicWrite::End)),
            Wiring::Pic { .. } => out(code, PortWrite::PicEnd),
        }
    }

    /// A handler for each vector that `cores` may be interrupted with.
    fn handlers(&mut self, cores: &[CoreCode]) -> Vec<Handler> {
        let mut vectors: Vec<u8> = match &self.wiring {
            Wiring::IoApic(pins) => pins.iter().map(|pin| pin.vector).collect(),
            Wiring::Pic { .. } => self.lines.iter().map(|line| PIC_BASE + line).chain([SPURIOUS]).collect(),
        };
        vectors.extend(&self.messages);
        vectors.sort_unstable();
        vectors.dedup();
        let count = vectors.len();
        let mut handlers: Vec<Handler> =
            vectors.into_iter().enumerate().map(|(index, vector)| self.handler(index, vector)).collect();
        let mut code = cores.iter().flat_map(|core| &core.code).chain(handlers.iter().flat_map(|it| &it.code));
        if code.any(|it| *it == Instruction::Software(SOFTWARE)) {
            handlers.push(self.handler(count, SOFTWARE));
        }
        handlers
    }

    fn handler(&mut self, index: usize, vector: u8) -> Handler {
        let mut body = Code::new();
        let register = Register(2 + index.min(2) as u8);
        let is_nested = !self.has_level && self.random.one_in(4);
        let ends_early = !self.has_level && self.random.one_in(6);
        if ends_early {
            self.end_of(vector, &mut body);
        }
        if is_nested {
            body.push(Instruction::Open);
        }
        match self.awaited.filter(|_| self.random.one_in(2)) {
            Some(variable) => body.push(Instruction::Store(variable, 1)),
            None => self.action_of_handler(&mut body, vector, register),
        }
        if self.random.one_in(2) {
            self.action_of_handler(&mut body, vector, register);
        }
        if is_nested {
            body.push(Instruction::Close);
        }
        if !ends_early {
            self.end_of(vector, &mut body);
        }
        Handler { vector, code: saved(body) }
    }

    /// What a handler does next.
    fn action_of_handler(&mut self, body: &mut Code, vector: u8, register: Register) {
        let variable = self.variable();
        let sent = self.messages.first().copied().filter(|first| *first != vector);
        match (self.random.below(18), sent) {
            (0..=3, _) => body.push(Instruction::Load(register, variable)),
            (4..=8, _) => body.push(Instruction::Store(variable, 1 + self.random.below(3) as u32)),
            (9..=12, _) => self.modify(body, register),
            (13, Some(sent)) => {
                let target = self.random.pick(&[Target::One, Target::Others, Target::Itself]);
                body.push(Instruction::Apic(ApicWrite::Send(target, sent)));
            }
            (14, _) if vector != SOFTWARE && self.with.software => body.push(Instruction::Software(SOFTWARE)),
            _ if !self.lines.is_empty() => {
                let line = self.lines[0];
                out(body, PortWrite::Line { line, is_high: false });
            }
            _ => body.push(Instruction::Nop),
        }
    }

    /// The end of the interrupt of `vector`, which is seldom forgotten.
    fn end_of(&mut self, vector: u8, body: &mut Code) {
        let is_pic = (PIC_BASE..PIC_BASE + 8).contains(&vector);
        let is_none_due = vector == SPURIOUS || vector == SOFTWARE;
        if is_none_due && !self.random.one_in(8) || self.random.one_in(10) {
            return;
        }
        if is_pic {
            out(body, PortWrite::PicEnd);
        } else {
            body.push(Instruction::Apic(ApicWrite::End));
        }
    }
}

/// Whether an instruction keeps interrupts out for one more.
fn is_shadowing(instruction: Instruction) -> bool {
    matches!(instruction, Instruction::Open | Instruction::LoadStack)
}

/// What keeps interrupts out for one more instruction: of two in a row only the first is certain to (SDM 2B, MOV).
fn shadow(code: &mut Code, instruction: Instruction) {
    if code.last().is_some_and(|last| is_shadowing(*last)) {
        code.push(Instruction::Nop);
    }
    code.push(instruction);
}

/// Writes a port.
fn out(code: &mut Code, write: PortWrite) {
    let [first, second] = [Scratch::Rax, Scratch::Rdx].map(|register| Instruction::Prepare(write, register));
    code.extend([first, second, Instruction::Out(write)]);
}

/// `body` as a handler that saves what it changes.
fn saved(body: Code) -> Code {
    let saves = body.iter().any(|it| matches!(it, Instruction::Out(_)));
    let (push, pop) = (
        [Instruction::Push(Scratch::Rax), Instruction::Push(Scratch::Rdx)],
        [Instruction::Pop(Scratch::Rdx), Instruction::Pop(Scratch::Rax)],
    );
    let (before, after) = if saves { (push.to_vec(), pop.to_vec()) } else { (Vec::new(), Vec::new()) };
    [before, body, after, vec![Instruction::Return]].concat()
}
