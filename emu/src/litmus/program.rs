//! A litmus test made ready to run: machine code, addresses, and what is looked at in the end.

use super::assemble;
use super::instruction::{self, Operand, Parsed};
use super::parse::Malformed;
use super::registers;
use super::test::{Dialect, Init, Place, Test, Type, Value};
use crate::core::decode::mark_of;
use iced_x86::{Code, Instruction, Register};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The most bytes one variable has: an array of the most elements.
const MOST_BYTES: u64 = 4096 * 8;

/// What is needed to run a test, apart from addresses.
pub(super) struct Program {
    /// The code of each thread, for the addresses given.
    pub(super) threads: Vec<Vec<Instruction>>,
    /// Which threads use their stack.
    pub(super) uses_stack: Vec<bool>,
    /// What memory holds at first, where that is not 0.
    pub(super) memory: Vec<(u64, Vec<u8>)>,
    /// What registers hold at first, where that is not 0: thread, register, value.
    pub(super) registers: Vec<(usize, Register, u64)>,
    /// What is looked at in final states, in the order in which it is shown.
    pub(super) observed: Vec<Observed>,
}

/// A place that is looked at.
#[derive(Clone, Debug)]
pub(super) struct Observed {
    pub(super) place: Place,
    pub(super) kind: Type,
    pub(super) at: At,
}

/// Where a place is.
#[derive(Clone, Copy, Debug)]
pub(super) enum At {
    Register { thread: usize, register: Register },
    Memory { address: u64 },
}

impl Program {
    /// Assembles `test`. `allocate` gives the address of a variable of so many bytes.
    pub(super) fn of(test: &Test, mut allocate: impl FnMut(&str, u64) -> u64) -> Result<Program, Malformed> {
        let parsed = parse_code(test)?;
        let sizes = variables(test, &parsed);
        let addresses: HashMap<String, u64> =
            sizes.iter().map(|(name, &size)| (name.clone(), allocate(name, size.min(MOST_BYTES)))).collect();
        let mut threads = Vec::new();
        for (lines, code) in test.threads.iter().zip(&parsed) {
            threads.push(assemble_thread(test.dialect, lines, code, &addresses)?);
        }
        let uses_stack = threads.iter().map(|code| code.iter().any(uses_stack)).collect();
        let mut program =
            Program { threads, uses_stack, memory: Vec::new(), registers: Vec::new(), observed: Vec::new() };
        // What is only declared is 0, unless a value is given elsewhere.
        for init in test.init.iter().filter(|init| init.values.iter().any(|value| *value != Value::Number(0))) {
            program.initialise(test, init, &addresses);
        }
        program.observe(test, &sizes, &addresses);
        check_initial_values(test, &sizes)?;
        program.check_condition(test)?;
        Ok(program)
    }

    fn initialise(&mut self, test: &Test, init: &Init, addresses: &HashMap<String, u64>) {
        let number = |value: &Value| match value {
            Value::Number(number) => *number as u64,
            Value::Address(name) => addresses[name],
        };
        match &init.place {
            Place::Register(thread, name) => {
                let register = registers::find(name).expect("the parser knows the registers");
                let unused = 64 - 8 * register.size();
                self.registers.push((*thread, register, number(&init.values[0]) << unused >> unused));
            }
            Place::Variable(name) => {
                let size = kind_of_variable(test, name, 8, Some(init)).size as usize;
                let bytes = init.values.iter().flat_map(|value| number(value).to_le_bytes()[..size].to_vec());
                self.memory.push((addresses[name], bytes.collect()));
            }
            Place::Element(..) => unreachable!("the parser gives initial values to whole arrays"),
        }
    }

    /// Registers by thread and name, then variables by name: the order in which herd shows them.
    fn observe(&mut self, test: &Test, sizes: &BTreeMap<String, u64>, addresses: &HashMap<String, u64>) {
        let mut places: BTreeSet<Place> = test.locations.iter().cloned().collect();
        test.condition.places(&mut |place, _| _ = places.insert(place.clone()));
        for place in places {
            let declared = test.init.iter().find(|init| init.place == place);
            let (kind, at) = match &place {
                Place::Register(thread, name) => {
                    let register = registers::find(name).expect("the parser knows the registers");
                    let size = register.size() as u64;
                    let is_signed = declared.and_then(|init| init.kind).is_none_or(|kind| kind.is_signed);
                    (Type { size, is_signed }, At::Register { thread: *thread, register })
                }
                Place::Variable(name) => {
                    let kind = kind_of_variable(test, name, sizes[name], declared);
                    (kind, At::Memory { address: addresses[name] })
                }
                Place::Element(name, index) => {
                    let kind = kind_of_variable(test, name, sizes[name], None);
                    (kind, At::Memory { address: addresses[name] + *index as u64 * kind.size })
                }
            };
            self.observed.push(Observed { place, kind, at });
        }
    }

    /// A value that its place cannot hold is never there: not to be taken for the bits of it that fit.
    fn check_condition(&self, test: &Test) -> Result<(), Malformed> {
        let mut wrong = None;
        test.condition.places(&mut |place, wanted| {
            let kind = self.observed(place).kind;
            if !kind.takes_number(wanted) {
                wrong = Some(format!("`{place}` has {} bits and never holds {wanted}", 8 * kind.size));
            }
        });
        wrong.map_or(Ok(()), |problem| Err(Malformed::new(test.condition_span.clone(), problem)))
    }

    /// What is looked at for `place`, which the condition is about.
    pub(super) fn observed(&self, place: &Place) -> &Observed {
        let index = self.observed.binary_search_by(|it| it.place.cmp(place));
        &self.observed[index.expect("every place of the condition is observed")]
    }
}

impl Observed {
    /// The bits of `value` that the place has, as the number they mean.
    pub(super) fn number(&self, value: u64) -> i128 {
        let bits = 8 * self.kind.size as u32;
        let value = if bits == 64 { value } else { value & ((1 << bits) - 1) };
        let is_negative = self.kind.is_signed && value >> (bits - 1) & 1 == 1;
        i128::from(value) - if is_negative { 1 << bits } else { 0 }
    }
}

/// An initial value must fit the variable as it is, also where only its use says how wide that is.
fn check_initial_values(test: &Test, sizes: &BTreeMap<String, u64>) -> Result<(), Malformed> {
    for init in &test.init {
        let Place::Variable(name) = &init.place else { continue };
        let kind = kind_of_variable(test, name, sizes[name], Some(init));
        if let Some(value) = init.values.iter().find(|value| !kind.takes(value)) {
            let problem = format!("`{}` has {} bits and cannot hold {value}", init.place, 8 * kind.size);
            return Err(Malformed::new(init.span.clone(), problem).help("a type in front of it makes it wider"));
        }
    }
    Ok(())
}

fn parse_code(test: &Test) -> Result<Vec<Vec<Option<Parsed>>>, Malformed> {
    let parse = |line: &super::test::Line| {
        let is_label = line.text.is_empty();
        (!is_label).then(|| instruction::parse(&line.text, &line.span, test.dialect)).transpose()
    };
    test.threads.iter().map(|thread| thread.iter().map(parse).collect()).collect()
}

/// Every variable that the test names, and how many bytes it has.
fn variables(test: &Test, parsed: &[Vec<Option<Parsed>>]) -> BTreeMap<String, u64> {
    let mut sizes: BTreeMap<String, u64> = BTreeMap::new();
    let mut at_least = |name: &str, size: u64| {
        let known = sizes.entry(name.to_owned()).or_default();
        *known = (*known).max(size);
    };
    for init in &test.init {
        if let Place::Variable(name) = &init.place {
            let element = kind_of_variable(test, name, 4, Some(init)).size;
            at_least(name, element * init.values.len() as u64);
        }
        for value in &init.values {
            if let Value::Address(name) = value {
                at_least(name, 4);
            }
        }
    }
    let operands =
        parsed.iter().flatten().flatten().flat_map(|parsed| parsed.operands.iter().map(move |it| (parsed, it)));
    for (parsed, operand) in operands {
        if let Operand::Memory(memory) = operand
            && let Some(name) = &memory.symbol
        {
            at_least(name, access_size(parsed));
        }
    }
    let mut looked_at = |place: &Place| {
        if let Place::Variable(name) = place {
            at_least(name, 4);
        }
    };
    test.condition.places(&mut |place, _| looked_at(place));
    test.locations.iter().for_each(looked_at);
    sizes
}

/// How many bytes the instruction's suffix or register says.
fn access_size(parsed: &Parsed) -> u64 {
    if parsed.mnemonic.starts_with("lea") {
        return 4;
    }
    let register = parsed.operands.iter().find_map(|operand| match operand {
        Operand::Register(register) => Some(register.size() as u64),
        _ => None,
    });
    let is_move = parsed.mnemonic.starts_with("mov");
    let suffix = match parsed.mnemonic.chars().last() {
        Some('q') if is_move || register.is_none() => Some(8),
        _ => None,
    };
    suffix.or(register).unwrap_or(4)
}

/// The type of a variable, or of an array's elements: what the test says, else an int, or as wide as it is accessed.
fn kind_of_variable(test: &Test, name: &str, size: u64, declared: Option<&Init>) -> Type {
    let place = Place::Variable(name.to_owned());
    let all = || test.init.iter().filter(|init| init.place == place);
    let kind = declared.and_then(|init| init.kind).or_else(|| all().find_map(|init| init.kind));
    let is_array = all().any(|init| init.values.len() > 1);
    kind.unwrap_or(Type { size: if size >= 8 && !is_array { 8 } else { 4 }, is_signed: true })
}

fn assemble_thread(
    dialect: Dialect,
    lines: &[super::test::Line],
    parsed: &[Option<Parsed>],
    addresses: &HashMap<String, u64>,
) -> Result<Vec<Instruction>, Malformed> {
    // Instructions are numbered from 1; branches name these numbers until the code is linked.
    let mut labels: HashMap<&str, u64> = HashMap::new();
    let mut number = 1;
    for (line, parsed) in lines.iter().zip(parsed) {
        for label in &line.labels {
            if labels.insert(label, number).is_some() {
                return Err(Malformed::new(line.span.clone(), format!("the label `{label}` is there twice")));
            }
        }
        number += u64::from(parsed.is_some());
    }
    let end = number;
    let mut code = Vec::new();
    for (line, parsed) in lines.iter().zip(parsed) {
        let Some(parsed) = parsed else { continue };
        let mut instruction = assemble_line(dialect, line, parsed, addresses, &labels, end)?;
        instruction.set_ip(code.len() as u64 + 1);
        code.push(instruction);
    }
    let mut halt = Instruction::with(Code::Hlt);
    halt.set_ip(end);
    code.push(halt);
    Ok(code)
}

fn assemble_line(
    dialect: Dialect,
    line: &super::test::Line,
    parsed: &Parsed,
    addresses: &HashMap<String, u64>,
    labels: &HashMap<&str, u64>,
    end: u64,
) -> Result<Instruction, Malformed> {
    let wrong = |problem: String| Malformed::new(line.span.clone(), problem);
    if parsed.mnemonic == "ret" || parsed.mnemonic == "retq" {
        return Instruction::with_branch(Code::Jmp_rel32_64, end).map_err(|error| wrong(error.to_string()));
    }
    let Some(named) = assemble::named(parsed) else {
        return Err(wrong(format!("there is no instruction `{}`", parsed.mnemonic)));
    };
    let unknown = parsed.operands.iter().find_map(|operand| match operand {
        Operand::Label(label) if !labels.contains_key(label.as_str()) => Some(label),
        _ => None,
    });
    if let Some(label) = unknown {
        return Err(wrong(format!("there is no label `{label}` in this thread"))
            .help("a variable is written (x) or [x]; a label stands before a colon"));
    }
    let usual_size = (dialect == Dialect::X86).then_some(4);
    let address = |name: &str| addresses[name];
    let parsed = assemble::in_order(parsed, &named);
    let instruction = assemble::encode(&parsed, &named, usual_size, address, |label| labels.get(label).copied())
        .map_err(|problem| wrong(format!("`{}`: {problem}", line.text)))?;
    match mark_of(&instruction) {
        Some(_) => Err(wrong(format!("`{}` marks the explored region of a guest; a test has none", line.text))
            .help("`xchg` of any other register with itself does nothing, too")),
        None => Ok(instruction),
    }
}

fn uses_stack(instruction: &Instruction) -> bool {
    let names_it =
        (0..instruction.op_count()).any(|index| instruction.op_register(index).full_register() == Register::RSP);
    instruction.is_stack_instruction() || names_it || instruction.memory_base().full_register() == Register::RSP
}
