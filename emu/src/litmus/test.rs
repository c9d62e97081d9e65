//! A litmus test as data.

use std::ops::Range;

/// Where in the file something stands, in bytes.
pub type Span = Range<usize>;

/// The dialect a test is written in: the word that begins its first line.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Dialect {
    /// `X86`: Intel operand order, 32-bit registers.
    X86,
    /// `X86_64`: AT&T operand order.
    X86_64,
}

impl Dialect {
    /// The word that begins a test.
    pub fn name(self) -> &'static str {
        match self {
            Dialect::X86 => "X86",
            Dialect::X86_64 => "X86_64",
        }
    }
}

/// A litmus test.
#[derive(Clone, Debug)]
pub struct Test {
    /// In which dialect.
    pub dialect: Dialect,
    /// Its name.
    pub name: String,
    /// What memory and registers hold at first; all else is 0.
    pub init: Vec<Init>,
    /// The code of each thread.
    pub threads: Vec<Vec<Line>>,
    /// Places that are shown in final states besides those of the condition.
    pub locations: Vec<Place>,
    /// What the condition says about the final states.
    pub quantifier: Quantifier,
    /// The condition.
    pub condition: Condition,
    /// The condition as the file has it, blanks squeezed.
    pub condition_text: String,
    /// Where it stands.
    pub condition_span: Span,
}

/// A memory location or a register of a thread.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Place {
    /// A thread's register, as the test spells it but in lower case without `%` in `X86_64`, in upper case in `X86`.
    Register(usize, String),
    /// A variable.
    Variable(String),
    /// An element of an array.
    Element(String, usize),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::Register(thread, name) => write!(f, "{thread}:{name}"),
            Place::Variable(name) => write!(f, "[{name}]"),
            Place::Element(name, index) => write!(f, "{name}[{index}]"),
        }
    }
}

/// One item of the initial state.
#[derive(Clone, Debug)]
pub struct Init {
    /// What it is about.
    pub place: Place,
    /// Its type, if one is given.
    pub kind: Option<Type>,
    /// Elements: one, or those of an array.
    pub values: Vec<Value>,
    /// Where it stands.
    pub span: Span,
}

/// A C type, as far as it matters: how wide, and whether negative numbers exist.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Type {
    /// Bytes.
    pub size: u64,
    /// Whether it is signed.
    pub is_signed: bool,
}

impl Type {
    /// Whether a variable of this type can hold `value`, as a signed or as an unsigned number.
    pub fn takes(&self, value: &Value) -> bool {
        match value {
            Value::Number(number) => self.takes_number(*number),
            // Variables lie in the first 4 GiB, and not in the first 64 KiB.
            Value::Address(_) => self.size >= 4,
        }
    }

    /// The same of a number.
    pub fn takes_number(&self, number: i128) -> bool {
        let bits = 8 * self.size;
        (-(1i128 << (bits - 1))..1i128 << bits).contains(&number)
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Value::Number(number) => write!(f, "{number}"),
            Value::Address(name) => write!(f, "the address of `{name}`"),
        }
    }
}

/// An initial value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    /// A number.
    Number(i128),
    /// The address of a variable.
    Address(String),
}

/// A cell of the table that is not empty.
#[derive(Clone, Debug)]
pub struct Line {
    /// Labels in front of the instruction.
    pub labels: Vec<String>,
    /// The instruction, if there is one.
    pub text: String,
    /// Where the instruction stands.
    pub span: Span,
}

/// What a condition says about the final states.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Quantifier {
    /// `exists`: some final state satisfies it.
    Exists,
    /// `~exists`: none does.
    NotExists,
    /// `forall`: all do.
    Forall,
}

/// A condition on one final state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Condition {
    /// A place holds a value.
    Is(Place, i128),
    /// Not so.
    Not(Box<Condition>),
    /// All of them.
    All(Vec<Condition>),
    /// Any of them.
    Any(Vec<Condition>),
}

impl Condition {
    /// Whether it holds where `value` says what a place holds.
    pub fn holds(&self, value: &impl Fn(&Place, i128) -> bool) -> bool {
        match self {
            Condition::Is(place, wanted) => value(place, *wanted),
            Condition::Not(inner) => !inner.holds(value),
            Condition::All(parts) => parts.iter().all(|part| part.holds(value)),
            Condition::Any(parts) => parts.iter().any(|part| part.holds(value)),
        }
    }

    /// Calls `see` with each place it is about, and with a value that is asked for there.
    pub fn places(&self, see: &mut impl FnMut(&Place, i128)) {
        match self {
            Condition::Is(place, wanted) => see(place, *wanted),
            Condition::Not(inner) => inner.places(see),
            Condition::All(parts) | Condition::Any(parts) => parts.iter().for_each(|part| part.places(see)),
        }
    }
}
