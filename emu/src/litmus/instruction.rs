//! One instruction of a litmus test: its text taken apart.

use super::parse::{Malformed, is_name, number};
use super::registers;
use super::test::{Dialect, Span};
use iced_x86::Register;

/// An instruction's text, taken apart; operands in Intel order, the destination first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Parsed {
    pub(super) has_lock: bool,
    /// In lower case.
    pub(super) mnemonic: String,
    pub(super) operands: Vec<Operand>,
}

/// An operand.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Operand {
    Register(Register),
    Immediate(i64),
    Memory(Memory),
    /// Where a branch goes.
    Label(String),
}

/// A memory operand.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Memory {
    pub(super) segment: Register,
    pub(super) base: Register,
    pub(super) index: Register,
    pub(super) scale: u32,
    pub(super) displacement: i64,
    /// A variable whose address is added.
    pub(super) symbol: Option<String>,
}

/// Takes `text` apart, which stands at `span`.
pub(super) fn parse(text: &str, span: &Span, dialect: Dialect) -> Result<Parsed, Malformed> {
    let mut rest = text.trim();
    let mut has_lock = false;
    if let Some((first, after)) = rest.split_at_checked("lock".len())
        && first.eq_ignore_ascii_case("lock")
        && after.starts_with(|c: char| c.is_whitespace() || c == ';')
    {
        let after = after.trim_start();
        (has_lock, rest) = (true, after.strip_prefix(';').unwrap_or(after).trim_start());
    }
    let (mnemonic, operands) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let operands: Result<Vec<_>, _> =
        split_operands(operands).into_iter().map(|operand| parse_operand(operand, span)).collect();
    let mut operands = operands?;
    if dialect == Dialect::X86_64 {
        operands.reverse();
    }
    Ok(Parsed { has_lock, mnemonic: mnemonic.to_lowercase(), operands })
}

/// The texts between commas that stand in no parentheses.
fn split_operands(text: &str) -> Vec<&str> {
    let mut operands = Vec::new();
    let (mut start, mut depth) = (0, 0);
    for (at, c) in text.char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            ',' if depth == 0 => {
                operands.push(text[start..at].trim());
                start = at + 1;
            }
            _ => (),
        }
    }
    if !text[start..].trim().is_empty() || start > 0 {
        operands.push(text[start..].trim());
    }
    operands
}

fn parse_operand(text: &str, span: &Span) -> Result<Operand, Malformed> {
    let unknown = || Malformed::new(span.clone(), format!("`{text}` is not an operand"));
    if let Some(immediate) = text.strip_prefix('$') {
        let value = number(immediate.trim()).and_then(|value| i64::try_from(value).ok());
        // Immediates past the largest signed number are given as bits.
        let bits = number(immediate.trim()).and_then(|value| u64::try_from(value).ok()).map(|value| value as i64);
        return value.or(bits).map(Operand::Immediate).ok_or_else(unknown);
    }
    if let Some(register) = registers::named(without_percent(text)) {
        return Ok(Operand::Register(register));
    }
    if let Some(value) = number(text).and_then(|value| i64::try_from(value).ok()) {
        return Ok(Operand::Immediate(value));
    }
    if text.starts_with('%') && !text.contains(':') {
        let problem = format!("there is no register `{text}`");
        return Err(Malformed::new(span.clone(), problem));
    }
    if is_name(text) {
        return Ok(Operand::Label(text.to_owned()));
    }
    parse_memory(text).map(Operand::Memory).map_err(|reason| match reason {
        Some(reason) => unknown().help(reason),
        None => unknown(),
    })
}

/// The general register that an operand names, in either dialect.
fn general(text: &str) -> Option<Register> {
    registers::named(without_percent(text)).filter(|register| register.is_gpr())
}

fn without_percent(text: &str) -> &str {
    text.strip_prefix('%').unwrap_or(text)
}

/// Why a text is no memory operand: what there is to say beyond that.
type Reason = Option<&'static str>;

const SCALES: Reason = Some("a scale is 1, 2, 4 or 8");
const NO_VARIABLE: Reason = Some("RIP is where the instruction stands; only with a variable, `x(%rip)`, is it a place");
const RIP_AND_MORE: Reason = Some("with RIP there is no other register");
const OWN_BASE: Reason = Some("FS and GS have bases of their own, which a test does not give");

/// `(x)`, `[x]`, `8(%rax)`, `-4(%rax,%rbx,2)`, `x+8(%rip)`, `%es:8(%rax)`, `[rax+8]`.
fn parse_memory(text: &str) -> Result<Memory, Reason> {
    let none = Register::None;
    let mut memory = Memory { segment: none, base: none, index: none, scale: 1, displacement: 0, symbol: None };
    let mut rest = text;
    if let Some((segment, after)) = text.split_once(':') {
        memory.segment = parse_segment(segment.trim())?;
        rest = after.trim();
    }
    if let Some(inside) = rest.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return parse_sum(inside, memory);
    }
    let (before, inside) = rest.strip_suffix(')').and_then(|rest| rest.split_once('(')).ok_or(None)?;
    if !before.trim().is_empty() {
        memory = parse_sum(before, memory)?;
        if memory.base != none || memory.index != none {
            return Err(None);
        }
    }
    parse_parts(inside, memory)
}

/// A segment whose base is 0 in 64-bit mode (SDM 1 3.4.2.1): its name changes nothing.
fn parse_segment(text: &str) -> Result<Register, Reason> {
    match registers::named(without_percent(text)).filter(|register| register.is_segment_register()) {
        Some(Register::FS | Register::GS) => Err(OWN_BASE),
        Some(segment) => Ok(segment),
        None => Err(None),
    }
}

/// What stands in the parentheses of AT&T syntax: a base, an index, a scale.
fn parse_parts(inside: &str, mut memory: Memory) -> Result<Memory, Reason> {
    let mut parts = inside.split(',').map(str::trim);
    let first = parts.next().ok_or(None)?;
    if registers::is_instruction_pointer(without_percent(first)) {
        return relative_to_rip(memory, parts.next().is_some());
    }
    if let Some(base) = general(first) {
        memory.base = base;
    } else if let Some(value) = number(first).filter(|_| memory.symbol.is_none()) {
        memory.displacement = sum(memory.displacement, value)?;
    } else if is_variable(first) && memory.symbol.is_none() {
        memory.symbol = Some(first.to_owned());
    } else if !first.is_empty() || !inside.contains(',') {
        return Err(None);
    }
    if let Some(index) = parts.next() {
        memory.index = general(index).ok_or(None)?;
    }
    if let Some(scale) = parts.next() {
        memory.scale = parse_scale(scale)?;
    }
    if parts.next().is_none() { Ok(memory) } else { Err(None) }
}

/// A variable relative to RIP is that variable, wherever the instruction stands.
fn relative_to_rip(memory: Memory, has_more: bool) -> Result<Memory, Reason> {
    match memory.symbol {
        None => Err(NO_VARIABLE),
        Some(_) if has_more => Err(RIP_AND_MORE),
        Some(_) => Ok(memory),
    }
}

fn parse_scale(text: &str) -> Result<u32, Reason> {
    text.parse().ok().filter(|scale| [1, 2, 4, 8].contains(scale)).ok_or(SCALES)
}

fn sum(displacement: i64, value: i128) -> Result<i64, Reason> {
    i64::try_from(value).ok().and_then(|value| displacement.checked_add(value)).ok_or(None)
}

fn is_variable(text: &str) -> bool {
    is_name(text) && !registers::is_reserved(text)
}

/// Terms between plus signs: a register, a register times a scale, a number, a variable.
fn parse_sum(text: &str, mut memory: Memory) -> Result<Memory, Reason> {
    let text = text.replace('-', "+-");
    let terms: Vec<&str> = text.split('+').map(str::trim).filter(|term| !term.is_empty()).collect();
    let (pointers, terms): (Vec<&str>, Vec<&str>) =
        terms.into_iter().partition(|term| registers::is_instruction_pointer(without_percent(term)));
    if terms.is_empty() {
        return Err(if pointers.is_empty() { None } else { NO_VARIABLE });
    }
    for term in terms {
        add_term(term, &mut memory)?;
    }
    let has_registers = memory.base != Register::None || memory.index != Register::None || pointers.len() > 1;
    if pointers.is_empty() { Ok(memory) } else { relative_to_rip(memory, has_registers) }
}

fn add_term(term: &str, memory: &mut Memory) -> Result<(), Reason> {
    let (factor, scale) = match term.split_once('*') {
        Some((register, scale)) => (register.trim(), Some(scale.trim())),
        None => (term, None),
    };
    match (general(factor), scale) {
        (Some(register), Some(scale)) if memory.index == Register::None => {
            memory.index = register;
            memory.scale = parse_scale(scale)?;
        }
        (Some(register), None) if memory.base == Register::None => memory.base = register,
        (Some(register), None) if memory.index == Register::None => memory.index = register,
        (None, None) => match number(term) {
            Some(value) => memory.displacement = sum(memory.displacement, value)?,
            None if is_variable(term) && memory.symbol.is_none() => memory.symbol = Some(term.to_owned()),
            None => return Err(None),
        },
        _ => return Err(None),
    }
    Ok(())
}
