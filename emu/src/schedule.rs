//! Schedules: the choices of a run as text, for people to paste and for files to keep.
//!
//! ```text
//! fencepost-schedule 1 image=0123456789abcdef cores=2 model=tso processor=any ram=8388608 depth=8 wc-depth=8 args="mfence" : 0*812! 1*3 0d0 0+ p
//! ```
//!
//! Before the colon stands everything that a run depends on besides its choices. One without `processor=` is from before there
//! was a choice, and was recorded under the rules of `intel`. After the colon, separated by blanks:
//!
//! | text | choice |
//! |---|---|
//! | `0*812` | core 0 takes 812 steps |
//! | `0*812!` | the same, and its store buffer is empty at the end |
//! | `0+` | core 0 makes the next access of an instruction that has several |
//! | `0d2` | entry 2 of core 0's store buffer drains (0 is the oldest) |
//! | `p` | the oldest posted write arrives at its device |
//! | `0i` | core 0 takes the interrupt that waits for it |
//! | `k61` | somebody types the character of code 61 (in hexadecimal) on the keyboard |
//! | `s61` | this byte arrives at the serial port from outside |
//! | `m10,-5,1` | the mouse moves 10 to the right and 5 towards the user; its buttons are then 1 (1 left, 2 right, 4 middle, added) |
//! | `t` | all cores wait, and time goes on to the next event of a device |
//!
//! Any but the first two may be repeated with `xN`: `0d0x3`. Lines may be broken at any blank; `#` starts a comment.

use crate::choice::Choice;
use crate::core::CoreId;
use crate::machine::Settings;
use crate::memory_model::MemoryModel;
use crate::processor::Processor;
use fencepost_devices::MouseButtons;

/// The first word of every schedule.
pub const MAGIC: &str = "fencepost-schedule";
/// The version this program writes and reads.
pub const VERSION: &str = "1";
/// The most choices a schedule may have, so that a typing error cannot fill memory.
pub const MOST_CHOICES: usize = 5_000_000;
/// The most steps one choice may take: what a core does in one choice is kept until the choice is over.
pub const MOST_STEPS: u64 = 1 << 20;

/// A run, as far as it is decided.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Schedule {
    /// [`Image::hash`](crate::loader::Image::hash) of the image it is for.
    pub image: u64,
    /// The machine's settings.
    pub settings: Settings,
    /// The choices, in order.
    pub choices: Vec<Choice>,
}

impl std::fmt::Display for Schedule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Settings { cores, model, processor, ram_bytes, depth, wc_depth, command_line } = &self.settings;
        write!(
            f,
            "{MAGIC} {VERSION} image={:016x} cores={cores} model={model} processor={processor} ram={ram_bytes} depth={depth} wc-depth={wc_depth} args={} :",
            self.image,
            serde_json::Value::from(command_line.as_str()),
        )?;
        let mut rest = self.choices.as_slice();
        while let Some(&first) = rest.first() {
            let count = rest.iter().take_while(|&&choice| choice == first && is_repeatable(choice)).count().max(1);
            write!(f, " {}", text_of(first))?;
            if count > 1 {
                write!(f, "x{count}")?;
            }
            rest = &rest[count..];
        }
        Ok(())
    }
}

/// One choice as a schedule spells it.
pub fn text_of(choice: Choice) -> String {
    match choice {
        Choice::Run { core, steps, drained } => format!("{}*{steps}{}", core.0, if drained { "!" } else { "" }),
        Choice::Access { core } => format!("{}+", core.0),
        Choice::Drain { core, entry } => format!("{}d{entry}", core.0),
        Choice::Arrive => "p".to_owned(),
        Choice::Interrupt { core } => format!("{}i", core.0),
        Choice::Type { byte } => format!("k{byte:02x}"),
        Choice::Receive { byte } => format!("s{byte:02x}"),
        Choice::Mouse { dx, dy, buttons } => format!("m{dx},{dy},{}", buttons.bits()),
        Choice::Pass => "t".to_owned(),
    }
}

fn is_repeatable(choice: Choice) -> bool {
    match choice {
        Choice::Run { .. } => false,
        Choice::Access { .. } | Choice::Drain { .. } | Choice::Arrive | Choice::Interrupt { .. } | Choice::Pass => true,
        Choice::Type { .. } | Choice::Receive { .. } | Choice::Mouse { .. } => true,
    }
}

/// Text that is not a schedule: where, and what was expected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParseError {
    line: usize,
    column: usize,
    problem: String,
}

impl std::fmt::Display for ParseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.problem)
    }
}

impl std::error::Error for ParseError {}

impl std::str::FromStr for Schedule {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Schedule, ParseError> {
        let mut words = Words { text, at: 0 };
        words.expect(MAGIC)?;
        let version = words.next()?.ok_or_else(|| words.fail("expected a version".into()))?;
        if version != VERSION {
            return Err(words.fail(format!("version `{version}` is not `{VERSION}`, the one this program reads")));
        }
        let image = u64::from_str_radix(words.value("image")?, 16);
        let image = image.map_err(|_| words.fail("`image=` is not a hash of 16 hexadecimal digits".into()))?;
        let cores = words.number("cores")?;
        let model = words.value("model")?;
        let model = MemoryModel::named(model).ok_or_else(|| words.fail(format!("`{model}` is not a memory model")))?;
        let processor = words.optional("processor")?.unwrap_or(Processor::INTEL.name());
        let processor =
            Processor::named(processor).ok_or_else(|| words.fail(format!("`{processor}` is not a processor")))?;
        let (ram, depth, wc_depth) = (words.number("ram")?, words.number("depth")?, words.number("wc-depth")?);
        let args = words.value("args")?;
        let args: String =
            serde_json::from_str(args).map_err(|_| words.fail("`args=` is not a quoted string".into()))?;
        let settings = Settings::checked(cores, model, processor, ram, depth, wc_depth, args)
            .map_err(|error| words.fail(error.to_string()))?;
        words.expect(":")?;
        let mut choices = Vec::new();
        while let Some(word) = words.next()? {
            let (choice, count) = parse_choice(word).map_err(|problem| words.fail(problem))?;
            if choices.len().saturating_add(count) > MOST_CHOICES {
                return Err(words.fail(format!("a schedule has at most {MOST_CHOICES} choices")));
            }
            choices.extend(std::iter::repeat_n(choice, count));
        }
        Ok(Schedule { image, settings, choices })
    }
}

/// One choice and how often it is repeated.
fn parse_choice(word: &str) -> Result<(Choice, usize), String> {
    let malformed =
        || format!("`{word}` is not a choice such as 0*12, 0*12!, 0+, 0d2, 0d0x3, p, 0i, k61, s61, m10,-5,1 or t");
    let (word, count) = match word.split_once('x') {
        Some((word, count)) => (word, count.parse().ok().filter(|&count| count > 0).ok_or_else(malformed)?),
        None => (word, 1),
    };
    let end_of_core = word.find(|c: char| !c.is_ascii_digit()).ok_or_else(malformed)?;
    let (core, rest) = word.split_at(end_of_core);
    let choice = if core.is_empty() {
        match rest {
            "p" => Some(Choice::Arrive),
            "t" => Some(Choice::Pass),
            _ => parse_input(rest),
        }
    } else {
        let core = CoreId(core.parse().map_err(|_| malformed())?);
        parse_core_choice(core, rest)
    };
    let choice = choice.ok_or_else(malformed)?;
    if count > 1 && !is_repeatable(choice) {
        return Err(format!("`{word}` cannot be repeated with x; give it more steps"));
    }
    if let Choice::Run { steps, .. } = choice
        && steps > MOST_STEPS
    {
        return Err(format!("`{word}` takes more than {MOST_STEPS} steps; split it into several choices"));
    }
    Ok((choice, count))
}

/// What comes from outside: the letter says where to, two hexadecimal digits or the mouse's numbers what.
fn parse_input(text: &str) -> Option<Choice> {
    let is_hexadecimal = |digits: &&str| digits.len() == 2 && digits.chars().all(|c| c.is_ascii_hexdigit());
    let byte = |digits: &str| u8::from_str_radix(digits, 16).ok();
    if let Some(digits) = text.strip_prefix('k').filter(is_hexadecimal) {
        return Some(Choice::Type { byte: byte(digits)? });
    }
    if let Some(numbers) = text.strip_prefix('m') {
        let (dx, rest) = numbers.split_once(',')?;
        let (dy, buttons) = rest.split_once(',')?;
        let buttons = MouseButtons::from_bits(buttons.parse().ok()?)?;
        return Some(Choice::Mouse { dx: dx.parse().ok()?, dy: dy.parse().ok()?, buttons });
    }
    let digits = text.strip_prefix('s').filter(is_hexadecimal)?;
    Some(Choice::Receive { byte: byte(digits)? })
}

fn parse_core_choice(core: CoreId, text: &str) -> Option<Choice> {
    if text == "+" {
        return Some(Choice::Access { core });
    }
    if text == "i" {
        return Some(Choice::Interrupt { core });
    }
    if let Some(entry) = text.strip_prefix('d') {
        return Some(Choice::Drain { core, entry: entry.parse().ok()? });
    }
    let steps = text.strip_prefix('*')?;
    let (steps, drained) = match steps.strip_suffix('!') {
        Some(steps) => (steps, true),
        None => (steps, false),
    };
    let steps = steps.parse().ok().filter(|&steps| steps > 0)?;
    Some(Choice::Run { core, steps, drained })
}

/// The words of a schedule, and where the last one was.
struct Words<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Words<'a> {
    /// The next word; a quoted string is part of one.
    fn next(&mut self) -> Result<Option<&'a str>, ParseError> {
        loop {
            let rest = &self.text[self.at..];
            self.at += rest.len() - rest.trim_start().len();
            if !self.text[self.at..].starts_with('#') {
                break;
            }
            self.at += self.text[self.at..].find('\n').unwrap_or(self.text.len() - self.at);
        }
        let start = self.at;
        let (mut is_quoted, mut is_escaped) = (false, false);
        for (offset, c) in self.text[start..].char_indices() {
            if c.is_whitespace() && !is_quoted {
                self.at = start + offset;
                return Ok(Some(&self.text[start..self.at]));
            }
            is_quoted ^= c == '"' && !is_escaped;
            is_escaped = c == '\\' && !is_escaped;
        }
        if is_quoted {
            return Err(self.fail("a quoted string does not end".into()));
        }
        self.at = self.text.len();
        Ok((start < self.at).then(|| &self.text[start..]))
    }

    fn expect(&mut self, word: &str) -> Result<(), ParseError> {
        match self.next()? {
            Some(found) if found == word => Ok(()),
            Some(found) => Err(self.fail(format!("expected `{word}`, found `{}`", shorten(found)))),
            None => Err(self.fail(format!("expected `{word}`, found the end"))),
        }
    }

    /// The value in the next word, which must be `key=value`.
    fn value(&mut self, key: &str) -> Result<&'a str, ParseError> {
        let word = self.next()?;
        let value = word.and_then(|word| word.strip_prefix(key)?.strip_prefix('='));
        value.ok_or_else(|| self.fail(format!("expected `{key}=...`")))
    }

    /// The value in the next word, if that is `key=value`; else the word is still the next.
    fn optional(&mut self, key: &str) -> Result<Option<&'a str>, ParseError> {
        let before = self.at;
        let value = self.next()?.and_then(|word| word.strip_prefix(key)?.strip_prefix('='));
        if value.is_none() {
            self.at = before;
        }
        Ok(value)
    }

    fn number(&mut self, key: &str) -> Result<u64, ParseError> {
        let value = self.value(key)?;
        value.parse().map_err(|_| self.fail(format!("`{key}={value}` is not a number")))
    }

    /// An error about the word just read.
    fn fail(&self, problem: String) -> ParseError {
        let read = self.text[..self.at].trim_end();
        let word_start = read.len() - read.rsplit(char::is_whitespace).next().map_or(0, str::len);
        let line = self.text[..word_start].matches('\n').count() + 1;
        let column = self.text[..word_start].rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
        ParseError { line, column, problem }
    }
}

fn shorten(word: &str) -> String {
    match word.char_indices().nth(40) {
        Some((end, _)) => format!("{}...", &word[..end]),
        None => word.to_owned(),
    }
}
