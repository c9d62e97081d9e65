//! The litmus format (herdtools7, lib/LexSplit and lib/X86_64Parser): dialects `X86` and `X86_64`.
//!
//! ```text
//! X86_64 SB
//! "PodWR Fre PodWR Fre"
//! { uint64_t x; uint64_t y; }
//!  P0            | P1            ;
//!  movq $1,(x)   | movq $1,(y)   ;
//!  movq (y),%rax | movq (x),%rax ;
//! exists (0:rax=0 /\ 1:rax=0)
//! ```
//!
//! Every row has as many cells as the first, though a cell may be empty. `lock;` is a prefix: its row goes on behind it.
//! Comments `(* ... *)` nest and may stand anywhere after the first line. Of the header lines only `Variant=` would mean
//! something, and the one variant there is (`telechat`) only allows `ret`, which is always allowed here.

use super::test::{Condition, Dialect, Init, Line, Place, Quantifier, Span, Test, Type, Value};
use std::collections::{HashMap, HashSet};

/// Longer files, in bytes, are not litmus tests: the longest published one has 2 KiB.
pub const LONGEST_FILE: usize = 1 << 16;
/// More instructions in one thread cannot be explored.
const MOST_INSTRUCTIONS: usize = 1000;
/// More initial values, or places to look at, are a mistake.
const MOST_PLACES: usize = 4096;
/// More threads than any machine here has cores.
const MOST_THREADS: usize = 64;
/// Parentheses this deep are a mistake.
const DEEPEST: usize = 200;

/// What is wrong with a test, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Malformed {
    /// Where, in bytes of the file.
    pub span: Span,
    /// What.
    pub problem: String,
    /// The way out.
    pub help: Option<String>,
}

impl Malformed {
    pub(super) fn new(span: Span, problem: impl Into<String>) -> Malformed {
        Malformed { span, problem: problem.into(), help: None }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Malformed {
        self.help = Some(help.into());
        self
    }
}

/// Reads the test in `source`.
///
/// # Errors
/// It is not a test of one of the two dialects.
pub fn parse(source: &str) -> Result<Test, Malformed> {
    if source.len() > LONGEST_FILE {
        return Err(Malformed::new(0..0, format!("the file is longer than {LONGEST_FILE} bytes: no litmus test")));
    }
    // Some editors put a byte order mark in front of UTF-8.
    let first = source.len() - source.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}').len();
    let first_end = source[first..].find('\n').map_or(source.len(), |at| first + at);
    let (dialect, name) = first_line(&source[first..first_end], first)?;
    let blank = without_comments(source, first_end)?;
    let mut parser = Parser { text: &blank, at: first_end, dialect, threads: 0, elements: HashMap::new(), atoms: 0 };
    parser.header()?;
    let init = parser.init()?;
    let threads = parser.table()?;
    parser.threads = threads.len();
    for item in &init {
        parser.check_place(&item.place, &item.span)?;
        if let Place::Variable(name) = &item.place {
            let elements = parser.elements.entry(name.clone()).or_default();
            *elements = item.values.len().max(*elements);
        }
    }
    let locations = parser.locations()?;
    let (quantifier, condition, condition_span) = parser.final_condition()?;
    let words: Vec<&str> = blank[condition_span.clone()].split_whitespace().collect();
    let condition_text = words.join(" ");
    Ok(Test { dialect, name, init, threads, locations, quantifier, condition, condition_text, condition_span })
}

fn first_line(line: &str, offset: usize) -> Result<(Dialect, String), Malformed> {
    let mut words = line.split_whitespace();
    let arch = words.next().unwrap_or_default();
    let dialect = [Dialect::X86, Dialect::X86_64].into_iter().find(|dialect| dialect.name() == arch);
    let Some(dialect) = dialect else {
        let problem = format!("the first line begins with `{arch}`, not with X86 or X86_64");
        return Err(Malformed::new(offset..offset + arch.len(), problem)
            .help("a litmus test begins with its architecture and its name: `X86_64 SB`"));
    };
    match words.next() {
        Some(name) => Ok((dialect, name.to_owned())),
        None => Err(Malformed::new(offset..offset + line.len(), "the test has no name")
            .help("a litmus test begins with its architecture and its name: `X86_64 SB`")),
    }
}

/// `source` with the bytes of comments after `from` made blanks, so that places stay what they are.
fn without_comments(source: &str, from: usize) -> Result<String, Malformed> {
    let mut bytes = source.as_bytes().to_vec();
    let mut open: Vec<usize> = Vec::new();
    let mut at = from;
    while at < bytes.len() {
        let is_open = bytes[at..].starts_with(b"(*");
        let is_close = bytes[at..].starts_with(b"*)") && !open.is_empty();
        let length = if is_open || is_close { 2 } else { 1 };
        if is_open {
            open.push(at);
        }
        if !open.is_empty() {
            bytes[at..at + length].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
        }
        if is_close {
            open.pop();
        }
        at += length;
    }
    match open.first() {
        Some(&start) => Err(Malformed::new(start..start + 2, "this comment does not end").help("end it with `*)`")),
        None => Ok(String::from_utf8(bytes).expect("whole characters were replaced by blanks")),
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    dialect: Dialect,
    threads: usize,
    /// How many elements each variable has that the initial state names.
    elements: HashMap<String, usize>,
    /// How many comparisons the condition has so far.
    atoms: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn skip_blanks(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    fn fail<T>(&self, span: Span, problem: impl Into<String>) -> Result<T, Malformed> {
        Err(Malformed::new(span, problem))
    }

    /// One character, or nothing at the end of the file.
    fn here(&self) -> Span {
        let length = self.rest().chars().next().map_or(0, char::len_utf8);
        self.at..self.at + length
    }

    fn eat(&mut self, text: &str) -> bool {
        self.skip_blanks();
        let is_there = self.rest().starts_with(text);
        if is_there {
            self.at += text.len();
        }
        is_there
    }

    fn expect(&mut self, text: &str, what: &str) -> Result<(), Malformed> {
        if self.eat(text) { Ok(()) } else { self.fail(self.here(), format!("expected `{text}` {what}")) }
    }

    /// The lines between the first one and the initial state.
    fn header(&mut self) -> Result<(), Malformed> {
        loop {
            self.skip_blanks();
            if self.rest().starts_with('{') {
                return Ok(());
            }
            let line = self.rest().lines().next().unwrap_or_default();
            let span = self.at..self.at + line.len();
            if line.is_empty() {
                return self.fail(span, "the file ends before the initial state in braces");
            }
            if !line.starts_with('"') && !line.contains('=') {
                return Err(Malformed::new(span, "this is neither a header line nor the initial state")
                    .help("header lines are \"quoted\" or KEY=VALUE; then comes `{ ... }`"));
            }
            self.at = span.end;
        }
    }

    fn init(&mut self) -> Result<Vec<Init>, Malformed> {
        let start = self.at;
        let mut depth = 0;
        let end = self.rest().char_indices().find_map(|(offset, c)| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            (depth == 0).then_some(start + offset)
        });
        let Some(end) = end else {
            return self.fail(start..start + 1, "this brace is not closed");
        };
        self.at = end + 1;
        let mut items: Vec<Init> = Vec::new();
        let mut values = 0;
        let (mut given, mut declared) = (HashSet::new(), HashMap::new());
        let mut add = |span: Span| {
            let Some(item) = self.init_item(span)? else { return Ok(()) };
            let says_value = self.text[item.span.clone()].contains('=');
            if says_value && !given.insert(whole(&item.place)) {
                return self.fail(item.span, format!("`{}` has been given a value before", item.place));
            }
            if let Some(kind) = item.kind
                && *declared.entry(item.place.clone()).or_insert((kind, item.values.len())) != (kind, item.values.len())
            {
                return self.fail(item.span, format!("`{}` has been declared with another type before", item.place));
            }
            values += item.values.len();
            if values > MOST_PLACES {
                return self.fail(item.span, format!("there are more than {MOST_PLACES} initial values"));
            }
            items.push(item);
            Ok(())
        };
        let mut item_start = start + 1;
        let mut depth = 0;
        for (offset, c) in self.text[start + 1..end].char_indices() {
            depth += i32::from(c == '{') - i32::from(c == '}');
            if c == ';' && depth == 0 {
                add(item_start..start + 1 + offset)?;
                item_start = start + 2 + offset;
            }
        }
        add(item_start..end)?;
        Ok(items)
    }

    fn init_item(&self, span: Span) -> Result<Option<Init>, Malformed> {
        let span = trimmed(self.text, span);
        let text = &self.text[span.clone()];
        if text.is_empty() {
            return Ok(None);
        }
        let (left, right) = match text.split_once('=') {
            Some((left, right)) => (left.trim(), Some(right.trim())),
            None => (text, None),
        };
        let (kind, left) = match left.rsplit_once(char::is_whitespace) {
            Some((kind, left)) => (Some(self.kind(kind, &span)?), left),
            None => (None, left),
        };
        let (left, count) = match left.strip_suffix(']').and_then(|left| left.split_once('[')) {
            Some((name, count)) if !name.is_empty() => {
                let count: Option<usize> = count.parse().ok().filter(|count| (1..=4096).contains(count));
                let count =
                    count.ok_or_else(|| Malformed::new(span.clone(), "an array has from 1 to 4096 elements"))?;
                (name, Some(count))
            }
            _ => (left, None),
        };
        let place = self.place(left, &span)?;
        let values = match (right, count) {
            (None, count) => vec![Value::Number(0); count.unwrap_or(1)],
            (Some(right), None) => vec![self.value(right, &span)?],
            (Some(right), Some(count)) => {
                let inner = right.strip_prefix('{').and_then(|right| right.strip_suffix('}'));
                let Some(inner) = inner else {
                    return self.fail(span, "an array's value is a list in braces");
                };
                let values: Result<Vec<_>, _> = inner.split(',').map(|value| self.value(value.trim(), &span)).collect();
                let mut values = values?;
                if values.len() > count {
                    return self.fail(span, format!("{} values for an array of {count}", values.len()));
                }
                values.resize(count, Value::Number(0));
                values
            }
        };
        if matches!(place, Place::Register(..)) && values.len() > 1 {
            return self.fail(span, "a register is no array");
        }
        let room = kind.filter(|_| matches!(place, Place::Variable(_))).or_else(|| room(&place));
        if let Some((kind, value)) = room.and_then(|kind| Some((kind, values.iter().find(|it| !kind.takes(it))?))) {
            let bits = 8 * kind.size;
            return self.fail(span, format!("{value} is more than a variable of {bits} bits can hold"));
        }
        Ok(Some(Init { place, kind, values, span }))
    }

    fn kind(&self, name: &str, span: &Span) -> Result<Type, Malformed> {
        let name = name.trim();
        if name.ends_with('*') {
            return Ok(Type { size: 8, is_signed: false });
        }
        let (size, is_signed) = match name {
            "int8_t" | "char" => (1, true),
            "uint8_t" | "unsigned char" => (1, false),
            "int16_t" | "short" => (2, true),
            "uint16_t" | "unsigned short" => (2, false),
            "int" | "int32_t" => (4, true),
            "uint32_t" | "unsigned" | "unsigned int" => (4, false),
            "int64_t" | "long" | "intptr_t" => (8, true),
            "uint64_t" | "unsigned long" | "uintptr_t" | "size_t" => (8, false),
            _ => {
                return Err(Malformed::new(span.clone(), format!("`{name}` is not a type"))
                    .help("types are int, int64_t, uint64_t and the like"));
            }
        };
        Ok(Type { size, is_signed })
    }

    fn value(&self, text: &str, span: &Span) -> Result<Value, Malformed> {
        if let Some(number) = number(text) {
            return Ok(Value::Number(number));
        }
        let name = text.strip_prefix('&').unwrap_or(text);
        if is_name(name) {
            return Ok(Value::Address(name.to_owned()));
        }
        let digits = text.trim_start_matches('-');
        if !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit()) {
            return self.fail(span.clone(), format!("{text} does not fit 64 bits"));
        }
        self.fail(span.clone(), format!("`{text}` is neither a number nor a variable"))
    }

    /// `0:rax`, `x`, `[x]` or `x[1]`.
    fn place(&self, text: &str, span: &Span) -> Result<Place, Malformed> {
        let text = text.trim();
        if let Some((thread, register)) = text.split_once(':') {
            let thread = thread.trim();
            let thread = thread.strip_prefix('P').unwrap_or(thread);
            let is_number = thread.chars().all(|c| c.is_ascii_digit());
            let thread = thread.parse().ok().filter(|&thread| is_number && thread < MOST_THREADS);
            let Some(thread) = thread else {
                return self.fail(span.clone(), format!("`{text}` does not begin with the number of a thread"));
            };
            let register = register.trim();
            let register = register.strip_prefix('%').unwrap_or(register);
            let name = match self.dialect {
                Dialect::X86 => register.to_uppercase(),
                Dialect::X86_64 => register.to_lowercase(),
            };
            if super::registers::find(&name).is_none() {
                return Err(Malformed::new(span.clone(), format!("there is no register `{register}`"))
                    .help("general registers are meant, such as rax, ebx, r8d"));
            }
            return Ok(Place::Register(thread, name));
        }
        if let Some((name, index)) = text.strip_suffix(']').and_then(|text| text.split_once('['))
            && is_name(name.trim())
        {
            let Some(index) = index.trim().parse().ok() else {
                return self.fail(span.clone(), format!("`{index}` is not the number of an element"));
            };
            return Ok(Place::Element(name.trim().to_owned(), index));
        }
        let name = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text).trim();
        if super::registers::is_reserved(name) {
            return Err(Malformed::new(span.clone(), format!("`{name}` is a register: no variable has its name"))
                .help(format!("the register of a thread is written 0:{name}")));
        }
        if is_name(name) {
            return Ok(Place::Variable(name.to_owned()));
        }
        self.fail(span.clone(), format!("`{text}` is neither a variable nor a register such as 0:rax"))
    }

    fn check_place(&self, place: &Place, span: &Span) -> Result<(), Malformed> {
        match place {
            Place::Register(thread, _) if *thread >= self.threads => {
                self.fail(span.clone(), format!("there is no thread P{thread}; the table has {}", self.threads))
            }
            Place::Element(name, index) => match self.elements.get(name).copied().unwrap_or(0) {
                count if *index < count => Ok(()),
                count => self.fail(span.clone(), format!("`{name}` is an array of {count}: there is no `{place}`")),
            },
            Place::Register(..) | Place::Variable(_) => Ok(()),
        }
    }

    /// The code: rows that end in `;`, cells between `|`.
    fn table(&mut self) -> Result<Vec<Vec<Line>>, Malformed> {
        let names = self.row()?;
        for (index, name) in names.iter().enumerate() {
            let text = &self.text[name.clone()];
            if text != format!("P{index}") {
                return Err(Malformed::new(name.clone(), format!("expected P{index}, found `{text}`"))
                    .help("the table's first row names the threads: `P0 | P1 ;`"));
            }
        }
        if names.len() > MOST_THREADS {
            return self.fail(names[MOST_THREADS].clone(), format!("there are more than {MOST_THREADS} threads"));
        }
        let mut threads = vec![Vec::new(); names.len()];
        while !self.is_at_condition() {
            self.skip_blanks();
            let start = self.at;
            let cells = self.row()?;
            if cells.len() != names.len() {
                return Err(wrong_row(&cells, names.len(), start..self.at));
            }
            for (thread, cell) in threads.iter_mut().zip(cells) {
                thread.extend(self.line(cell.clone()));
                if thread.len() > MOST_INSTRUCTIONS {
                    return self.fail(cell, format!("a thread has more than {MOST_INSTRUCTIONS} instructions"));
                }
            }
        }
        Ok(threads)
    }

    fn row(&mut self) -> Result<Vec<Span>, Malformed> {
        self.skip_blanks();
        let Some(length) = self.rest().match_indices(';').map(|(at, _)| at).find(|&at| !self.is_after_lock(at)) else {
            return Err(Malformed::new(self.here(), "expected a row of the table, or a condition")
                .help("rows end in `;`; after them comes `exists (...)`, `~exists (...)` or `forall (...)`"));
        };
        let end = self.at + length;
        let mut cells = Vec::new();
        let mut start = self.at;
        for cell in self.text[self.at..end].split('|') {
            cells.push(trimmed(self.text, start..start + cell.len()));
            start += cell.len() + 1;
        }
        self.at = end + 1;
        Ok(cells)
    }

    /// Whether a prefix LOCK stands in front of what is `length` bytes from here: `lock; incl (x)` is one instruction.
    fn is_after_lock(&self, length: usize) -> bool {
        let before = self.rest()[..length].rsplit(['|', ':', ';']).next();
        before.is_some_and(|before| before.trim().eq_ignore_ascii_case("lock"))
    }

    fn line(&self, mut span: Span) -> Option<Line> {
        let mut labels = Vec::new();
        while let Some((label, rest)) = self.text[span.clone()].split_once(':')
            && is_name(label.trim())
            && !label.trim().contains(char::is_whitespace)
        {
            labels.push(label.trim().to_owned());
            span = trimmed(self.text, span.end - rest.len()..span.end);
        }
        let text = self.text[span.clone()].to_owned();
        (!text.is_empty() || !labels.is_empty()).then_some(Line { labels, text, span })
    }

    fn is_at_condition(&mut self) -> bool {
        self.skip_blanks();
        let rest = self.rest();
        let begins = |word: &str| {
            rest.strip_prefix(word).is_some_and(|after| !after.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
        };
        // NOT is an instruction, too.
        let is_negated = begins("not") && rest["not".len()..].trim_start().starts_with("exists");
        ["exists", "forall", "locations", "filter"].into_iter().any(begins) || is_negated || rest.starts_with('~')
    }

    fn locations(&mut self) -> Result<Vec<Place>, Malformed> {
        let mut places = Vec::new();
        if !self.eat("locations") {
            return Ok(places);
        }
        self.expect("[", "after `locations`")?;
        loop {
            self.skip_blanks();
            if self.eat("]") {
                return Ok(places);
            }
            let mut depth = 0;
            let length = self.rest().find(|c| {
                depth += i32::from(c == '[') - i32::from(c == ']');
                c == ';' || depth < 0
            });
            let Some(length) = length else {
                return self.fail(self.here(), "this list of locations does not end");
            };
            let span = trimmed(self.text, self.at..self.at + length);
            let place = self.place(&self.text[span.clone()], &span)?;
            self.check_place(&place, &span)?;
            if places.len() == MOST_PLACES {
                return self.fail(span, format!("there are more than {MOST_PLACES} locations"));
            }
            places.push(place);
            self.at += length;
            self.eat(";");
        }
    }

    fn final_condition(&mut self) -> Result<(Quantifier, Condition, Span), Malformed> {
        self.skip_blanks();
        let start = self.at;
        let quantifier = if self.eat("exists") {
            Quantifier::Exists
        } else if self.eat("forall") {
            Quantifier::Forall
        } else if self.eat("~") || self.eat("not") {
            self.expect("exists", "after `~`")?;
            Quantifier::NotExists
        } else if self.eat("filter") {
            return Err(Malformed::new(start..self.at, "final states are not filtered here")
                .help("what `filter` says can be a part of the condition"));
        } else {
            return Err(Malformed::new(self.here(), "expected a condition")
                .help("a test ends with `exists (...)`, `~exists (...)` or `forall (...)`"));
        };
        let condition_start = self.at;
        let condition = self.any(0)?;
        let end = self.at;
        self.eat(";");
        self.skip_blanks();
        if !self.rest().is_empty() {
            return self.fail(self.here(), "expected the end of the file after the condition");
        }
        if !super::satisfiable::is_satisfiable(&condition) {
            let span = trimmed(self.text, condition_start..end);
            return Err(Malformed::new(span, "no state can satisfy this condition: it gives a place two values")
                .help("the parts of `/\\` must agree"));
        }
        Ok((quantifier, condition, start..end))
    }

    fn any(&mut self, depth: usize) -> Result<Condition, Malformed> {
        let mut parts = vec![self.all(depth)?];
        while self.eat("\\/") {
            parts.push(self.all(depth)?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Condition::Any(parts) })
    }

    fn all(&mut self, depth: usize) -> Result<Condition, Malformed> {
        let mut parts = vec![self.atom(depth)?];
        while self.eat("/\\") {
            parts.push(self.atom(depth)?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Condition::All(parts) })
    }

    fn atom(&mut self, depth: usize) -> Result<Condition, Malformed> {
        self.skip_blanks();
        if depth > DEEPEST {
            return self.fail(self.here(), "the parentheses of this condition are nested too deeply");
        }
        if self.eat("(") {
            let inner = self.any(depth + 1)?;
            self.expect(")", "in this condition")?;
            return Ok(inner);
        }
        let is_not = self.rest().strip_prefix("not").is_some_and(|rest| rest.starts_with([' ', '(', '\t', '\n', '\r']));
        if is_not {
            self.at += "not".len();
            return Ok(Condition::Not(Box::new(self.atom(depth + 1)?)));
        }
        if self.eat("~") {
            return Ok(Condition::Not(Box::new(self.atom(depth + 1)?)));
        }
        self.atoms += 1;
        if self.atoms > MOST_PLACES {
            return self.fail(self.here(), format!("this condition has more than {MOST_PLACES} parts"));
        }
        let start = self.at;
        let Some(equals) =
            self.rest().find(['=', '/', '\\', '(', ')']).filter(|&at| self.rest()[at..].starts_with('='))
        else {
            return Err(Malformed::new(self.here(), "expected PLACE=VALUE")
                .help("a place is a register such as 0:rax, or a variable"));
        };
        let place_span = trimmed(self.text, start..start + equals);
        let place = self.place(&self.text[place_span.clone()], &place_span)?;
        self.check_place(&place, &place_span)?;
        self.at = start + equals + 1;
        self.skip_blanks();
        let length = self.rest().find(|c: char| !c.is_alphanumeric() && c != '-' && c != '_');
        let span = self.at..self.at + length.unwrap_or(self.rest().len());
        let Some(value) = number(&self.text[span.clone()]) else {
            let text = &self.text[span.clone()];
            let span = if span.is_empty() { self.here() } else { span };
            return self.fail(span, format!("`{text}` is not a number"));
        };
        self.at = span.end;
        Ok(Condition::Is(place, value))
    }
}

/// How much a register holds.
fn room(place: &Place) -> Option<Type> {
    match place {
        Place::Register(_, name) => {
            super::registers::find(name).map(|register| Type { size: register.size() as u64, is_signed: true })
        }
        Place::Variable(_) | Place::Element(..) => None,
    }
}

/// `place`, or the register that it is a part of: `0:eax` and `0:rax` are one.
fn whole(place: &Place) -> Place {
    match place {
        Place::Register(thread, name) => {
            let register = super::registers::find(name).expect("the parser knows the registers");
            Place::Register(*thread, format!("{:?}", register.full_register()))
        }
        Place::Variable(_) | Place::Element(..) => place.clone(),
    }
}

/// What is wrong with a row at `span` that has other than `wanted` cells.
fn wrong_row(cells: &[Span], wanted: usize, span: Span) -> Malformed {
    let span = cells.get(wanted).cloned().unwrap_or(span);
    Malformed::new(span, format!("the table has {wanted} columns, this row has {}", cells.len()))
        .help("a thread with nothing to do in a row has an empty cell there: `movq $1,(x) | ;`")
}

/// `span` without the blanks at its ends.
fn trimmed(text: &str, span: Span) -> Span {
    let inside = &text[span.clone()];
    let start = span.start + inside.len() - inside.trim_start().len();
    start..(start + inside.trim().len()).max(start)
}

/// A number in decimal or, after `0x`, hexadecimal, perhaps negative.
pub(super) fn number(text: &str) -> Option<i128> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text),
    };
    let is_number = digits.starts_with(|c: char| c.is_ascii_digit()) && !digits.contains('+');
    let value = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => digits.parse::<u64>().ok(),
    };
    value.filter(|_| is_number).map(|value| sign * i128::from(value))
}

/// Whether `text` can name a variable or a label.
pub(super) fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == '.')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.' || c == '$')
}
