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
    if let Some((first, after)) = rest.split_once(|c: char| c.is_whitespace() || c == ';')
        && first.eq_ignore_ascii_case("lock")
    {
        (has_lock, rest) = (true, after.trim_start());
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
    if let Some(register) = registers::named(text.trim_start_matches('%'))
        && !text.contains(':')
    {
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
    parse_memory(text).map(Operand::Memory).ok_or_else(unknown)
}

/// `(x)`, `[x]`, `8(%rax)`, `-4(%rax,%rbx,2)`, `%fs:8(%rax)`, `[rax+8]`.
fn parse_memory(text: &str) -> Option<Memory> {
    let none = Register::None;
    let mut memory = Memory { segment: none, base: none, index: none, scale: 1, displacement: 0, symbol: None };
    let mut rest = text;
    if let Some((segment, after)) = text.split_once(':') {
        memory.segment =
            registers::named(segment.trim().trim_start_matches('%')).filter(|it| it.is_segment_register())?;
        rest = after.trim();
    }
    if let Some(inside) = rest.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return parse_sum(inside, memory);
    }
    let (before, inside) = rest.strip_suffix(')')?.split_once('(')?;
    if !before.trim().is_empty() {
        match number(before.trim()) {
            Some(value) => memory.displacement = i64::try_from(value).ok()?,
            None if is_name(before.trim()) => memory.symbol = Some(before.trim().to_owned()),
            None => return None,
        }
    }
    let mut parts = inside.split(',').map(str::trim);
    let first = parts.next()?;
    if let Some(base) = registers::named(first.trim_start_matches('%')).filter(|register| register.is_gpr()) {
        memory.base = base;
    } else if let Some(value) = number(first) {
        memory.displacement = memory.displacement.checked_add(i64::try_from(value).ok()?)?;
    } else if is_name(first) && memory.symbol.is_none() {
        memory.symbol = Some(first.to_owned());
    } else if !first.is_empty() {
        return None;
    }
    if let Some(index) = parts.next() {
        memory.index = registers::named(index.trim_start_matches('%')).filter(|register| register.is_gpr())?;
    }
    if let Some(scale) = parts.next() {
        memory.scale = scale.parse().ok().filter(|scale| [1, 2, 4, 8].contains(scale))?;
    }
    parts.next().is_none().then_some(memory)
}

/// Terms between plus signs: a register, a register times a scale, a number, a variable.
fn parse_sum(text: &str, mut memory: Memory) -> Option<Memory> {
    let text = text.replace('-', "+-");
    for term in text.split('+').map(str::trim).filter(|term| !term.is_empty()) {
        let (factor, scale) = match term.split_once('*') {
            Some((register, scale)) => (register.trim(), Some(scale.trim())),
            None => (term, None),
        };
        let register = registers::named(factor.trim_start_matches('%')).filter(|register| register.is_gpr());
        match (register, scale) {
            (Some(register), Some(scale)) if memory.index == Register::None => {
                memory.index = register;
                memory.scale = scale.parse().ok().filter(|scale| [1, 2, 4, 8].contains(scale))?;
            }
            (Some(register), None) if memory.base == Register::None => memory.base = register,
            (Some(register), None) if memory.index == Register::None => memory.index = register,
            (None, None) => match number(term) {
                Some(value) => memory.displacement = memory.displacement.checked_add(i64::try_from(value).ok()?)?,
                None if is_name(term) && memory.symbol.is_none() => memory.symbol = Some(term.to_owned()),
                None => return None,
            },
            _ => return None,
        }
    }
    Some(memory)
}
