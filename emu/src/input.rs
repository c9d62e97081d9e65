//! What somebody types on the keyboard, does with the mouse and sends down the serial line, and when: a script.
//!
//! Each line of a script is a moment and something that is done then; `#` begins a comment:
//!
//! ```text
//! # the shell is there at its first prompt
//! after "$ " keys "ls\n"
//! at 2.5s serial "echo hi\n"
//! keys "\u0003" # Ctrl+C
//! mouse move 10 -5
//! mouse press left
//! mouse release left
//! ```
//!
//! `at` counts seconds of virtual time, `after` waits until the serial output has said the text since the line before, and
//! without either it is right after that line. Texts are quoted and have escapes as in JSON.
//! The mouse moves so many counts to the right and away from the user, or, negative, to the left and towards the user.
//! Everything waits until the guest takes it: a key until those before have reached the keyboard's buffer, a byte until the
//! serial port has room, the mouse until the guest has turned its reports on and been told all that happened before.
//! A run becomes its script's [choices](crate::choice::Choice), so a recorded schedule needs no script.

mod live;

pub use live::{Live, Place, Typist};

use crate::choice::Choice;
use fencepost_devices::{I8042, MouseButtons, TICKS_PER_SECOND, Ticks};
use std::collections::VecDeque;

/// Something that is done, and when.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cue {
    /// When it begins.
    pub when: When,
    /// What is done.
    pub what: What,
    /// The line of the script, from 1; `None` where there is none.
    pub line: Option<usize>,
}

/// The moment of a cue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum When {
    /// Right after the cue before it.
    Next,
    /// At this virtual time, or when nothing else can happen.
    At(Ticks),
    /// When the serial output has said this since the cue before it.
    After(String),
}

/// What is done in a cue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum What {
    /// This text is typed on the keyboard, in ASCII.
    Keys(String),
    /// This text is sent down the serial line, in ASCII.
    Serial(String),
    /// The mouse moves.
    Move {
        /// To the right, in counts of the mouse.
        dx: i16,
        /// Away from the user.
        dy: i16,
    },
    /// This button of the mouse goes down.
    Press(MouseButtons),
    /// This button of the mouse goes up.
    Release(MouseButtons),
}

/// Cues in their order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Script {
    /// What is still to come.
    cues: VecDeque<Cue>,
    /// What the serial output has said since the last cue was over.
    heard: String,
    /// The buttons of the mouse that are down.
    buttons: MouseButtons,
}

/// How much of the serial output is remembered, in bytes: more than anybody waits for.
const MEMORY: usize = 1 << 12;

impl Script {
    /// A script of one text that is typed at once.
    ///
    /// # Errors
    /// No key writes one of the characters.
    pub fn keys(text: &str) -> Result<Script, String> {
        check_keys(text)?;
        let cue = Cue { when: When::Next, what: What::Keys(text.to_owned()), line: None };
        Ok(Script { cues: VecDeque::from([cue]), ..Script::default() })
    }

    /// This script, and then `other`.
    pub fn then(mut self, other: Script) -> Script {
        self.cues.extend(other.cues);
        self
    }

    /// Whether nothing is to come any more.
    pub fn is_over(&self) -> bool {
        self.cues.is_empty()
    }

    /// What has not been done, or not wholly: of that the first cue is the rest.
    pub fn undone(&self) -> impl Iterator<Item = &Cue> {
        self.cues.iter()
    }

    /// The serial output says `byte`.
    pub(crate) fn hear(&mut self, byte: u8) {
        self.heard.push(char::from(byte));
        if self.heard.len() > 2 * MEMORY {
            let cut = self.heard.ceil_char_boundary(self.heard.len() - MEMORY);
            self.heard.drain(..cut);
        }
    }

    /// What comes next, a character or a movement, if its time has come; with `idle`, nothing else can happen before it.
    pub(crate) fn next(&self, now: Ticks, idle: bool) -> Option<Choice> {
        let cue = self.cues.front()?;
        let is_due = match &cue.when {
            When::Next => true,
            When::At(at) => idle || *at <= now,
            When::After(text) => self.heard.contains(text.as_str()),
        };
        let mouse = |dx, dy| Choice::Mouse { dx, dy, buttons: cue.what.buttons_after(self.buttons) };
        let choice = match &cue.what {
            What::Keys(text) => Choice::Type { byte: text.bytes().next()? },
            What::Serial(text) => Choice::Receive { byte: text.bytes().next()? },
            What::Move { dx, dy } => mouse(*dx, *dy),
            What::Press(_) | What::Release(_) => mouse(0, 0),
        };
        is_due.then_some(choice)
    }

    /// What [`next`](Script::next) gave has been done.
    pub(crate) fn advance(&mut self) {
        let Some(cue) = self.cues.front_mut() else { return };
        self.buttons = cue.what.buttons_after(self.buttons);
        cue.when = When::Next;
        let is_over = match &mut cue.what {
            What::Keys(text) | What::Serial(text) => {
                text.remove(0);
                text.is_empty()
            }
            What::Move { .. } | What::Press(_) | What::Release(_) => true,
        };
        if is_over {
            self.cues.pop_front();
            self.heard.clear();
        }
    }
}

impl What {
    /// The buttons of the mouse that are down when it is done, if `before` were.
    fn buttons_after(&self, before: MouseButtons) -> MouseButtons {
        match *self {
            What::Press(button) => before | button,
            What::Release(button) => before - button,
            What::Keys(_) | What::Serial(_) | What::Move { .. } => before,
        }
    }
}

impl std::fmt::Display for Cue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.when {
            When::Next => (),
            When::At(at) => write!(f, "at {}s ", at.0 as f64 / TICKS_PER_SECOND as f64)?,
            When::After(text) => write!(f, "after {} ", quoted(text))?,
        }
        match &self.what {
            What::Keys(text) => write!(f, "keys {}", quoted(text)),
            What::Serial(text) => write!(f, "serial {}", quoted(text)),
            What::Move { dx, dy } => write!(f, "mouse move {dx} {dy}"),
            What::Press(button) => write!(f, "mouse press {}", button_name(*button)),
            What::Release(button) => write!(f, "mouse release {}", button_name(*button)),
        }
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn button_name(button: MouseButtons) -> &'static str {
    BUTTONS.iter().find(|(_, known)| *known == button).map_or("several", |(name, _)| name)
}

impl std::str::FromStr for Script {
    type Err = String;

    fn from_str(text: &str) -> Result<Script, String> {
        // Some editors begin a file so.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut script = Script::default();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let number = number + 1;
            let (when, what) = parse_cue(line).map_err(|problem| format!("line {number}: {problem}"))?;
            script.cues.push_back(Cue { when, what, line: Some(number) });
        }
        Ok(script)
    }
}

/// What a line of a script looks like, for messages.
const FORM: &str = "a line is [at SECONDSs | after \"TEXT\"] keys|serial \"TEXT\", or `mouse` and what it does";

/// What the mouse does, for messages.
const MOUSE_FORM: &str = "the mouse does `move DX DY`, `press BUTTON` or `release BUTTON`";

/// The names of the mouse's buttons.
const BUTTONS: [(&str, MouseButtons); 3] =
    [("left", MouseButtons::LEFT), ("right", MouseButtons::RIGHT), ("middle", MouseButtons::MIDDLE)];

fn parse_cue(line: &str) -> Result<(When, What), String> {
    let (when, rest) = if let Some(rest) = line.strip_prefix("at ") {
        let (seconds, rest) = rest.trim_start().split_once(' ').ok_or(FORM)?;
        (When::At(parse_time(seconds)?), rest)
    } else if let Some(rest) = line.strip_prefix("after ") {
        let (text, rest) = parse_text(rest)?;
        if text.is_empty() {
            return Err("`after \"\"` waits for nothing; leave it out".to_owned());
        }
        (When::After(text), rest)
    } else {
        (When::Next, line)
    };
    let (place, rest) = rest.trim_start().split_once(' ').ok_or(FORM)?;
    let what = match place {
        "keys" => What::Keys(parse_whole_text(rest, check_keys)?),
        "serial" => What::Serial(parse_whole_text(rest, check_serial)?),
        "mouse" => parse_mouse(rest)?,
        other => return Err(format!("`{other}` is none of `keys`, `serial` and `mouse`; {FORM}")),
    };
    Ok((when, what))
}

/// The quoted text that `rest` is, which `check` has nothing against.
fn parse_whole_text(rest: &str, check: fn(&str) -> Result<(), String>) -> Result<String, String> {
    let (text, rest) = parse_text(rest)?;
    let rest = rest.trim();
    if !rest.is_empty() && !rest.starts_with('#') {
        return Err(format!("`{rest}` is one word too many; {FORM}"));
    }
    if text.is_empty() {
        return Err("it types nothing".to_owned());
    }
    check(&text)?;
    Ok(text)
}

/// What the mouse does: `move DX DY`, `press BUTTON`, `release BUTTON`.
fn parse_mouse(rest: &str) -> Result<What, String> {
    let rest = rest.split('#').next().unwrap_or(rest);
    match rest.split_whitespace().collect::<Vec<_>>()[..] {
        ["move", dx, dy] => match (parse_distance(dx)?, parse_distance(dy)?) {
            (0, 0) => Err("it moves the mouse nowhere".to_owned()),
            (dx, dy) => Ok(What::Move { dx, dy }),
        },
        ["press", button] => Ok(What::Press(parse_button(button)?)),
        ["release", button] => Ok(What::Release(parse_button(button)?)),
        _ => Err(format!("`{}` is nothing that a mouse does; {MOUSE_FORM}", rest.trim())),
    }
}

fn parse_distance(text: &str) -> Result<i16, String> {
    text.parse().map_err(|_| format!("`{text}` is not a distance, a whole number from {} to {}", i16::MIN, i16::MAX))
}

fn parse_button(text: &str) -> Result<MouseButtons, String> {
    match BUTTONS.iter().find(|(name, _)| *name == text) {
        Some((_, button)) => Ok(*button),
        None => Err(format!("`{text}` is no button; there are left, right and middle")),
    }
}

/// A quoted text at the start of `from`, and what follows it.
fn parse_text(from: &str) -> Result<(String, &str), String> {
    let Some(quoted) = from.trim_start().strip_prefix('"') else {
        return Err(format!("`{}` does not begin with a text in quotes; {FORM}", from.trim()));
    };
    let mut is_escaped = false;
    let end = quoted.find(|c| {
        let is_end = c == '"' && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        is_end
    });
    let end = end.ok_or_else(|| format!("the text `\"{quoted}` has no quote at its end"))?;
    Ok((unescape(&quoted[..end])?, &quoted[end + 1..]))
}

/// `text` with its escapes replaced by what they stand for: those of JSON, one character each.
///
/// # Errors
/// One of them is none.
pub fn unescape(text: &str) -> Result<String, String> {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        let (character, length) = escape(after).ok_or_else(|| {
            let length = if after.starts_with('u') { 5 } else { 1 };
            let wrong: String = after.chars().take(length).collect();
            format!("`\\{wrong}` is no escape; there are \\n, \\t, \\r, \\b, \\f, \\\\, \\\" and, by number, \\u0003")
        })?;
        plain.push_str(before);
        plain.push(character);
        rest = &after[length..];
    }
    Ok(plain + rest)
}

/// The character that the escape at the start of `after`, behind its backslash, stands for, and the escape's length.
fn escape(after: &str) -> Option<(char, usize)> {
    let character = match after.chars().next()? {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        'b' => '\u{8}',
        'f' => '\u{c}',
        plain @ ('\\' | '"' | '/') => plain,
        'u' => {
            let digits = after.get(1..5).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
            let character = u32::from_str_radix(digits, 16).ok().and_then(char::from_u32)?;
            return Some((character, 5));
        }
        _ => return None,
    };
    Some((character, 1))
}

/// Seconds of virtual time, as in `2.5s`.
fn parse_time(text: &str) -> Result<Ticks, String> {
    let seconds = text.strip_suffix('s').and_then(|number| number.parse::<f64>().ok());
    let seconds = seconds.filter(|seconds| (0.0..=1e9).contains(seconds));
    let seconds = seconds.ok_or(format!("`{text}` is not a time such as 2.5s"))?;
    Ok(Ticks((seconds * TICKS_PER_SECOND as f64) as u64))
}

fn check_keys(text: &str) -> Result<(), String> {
    match text.chars().find(|c| !I8042::can_type(*c)) {
        None => Ok(()),
        Some(other) => Err(format!("no key of a US keyboard writes {other:?}")),
    }
}

fn check_serial(text: &str) -> Result<(), String> {
    match text.chars().find(|c| !c.is_ascii()) {
        None => Ok(()),
        Some(other) => Err(format!("{other:?} is not one byte of ASCII")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything that comes at `now`, typed at once.
    fn taken(script: &mut Script, now: u64, idle: bool) -> String {
        let mut text = String::new();
        while let Some(choice) = script.next(Ticks(now), idle) {
            match choice {
                Choice::Type { byte } | Choice::Receive { byte } => text.push(char::from(byte)),
                other => text.push_str(&format!("[{}]", crate::schedule::text_of(other))),
            }
            script.advance();
        }
        text
    }

    fn say(script: &mut Script, text: &str) {
        text.bytes().for_each(|byte| script.hear(byte));
    }

    #[test]
    fn a_text_waits_for_its_time_or_for_nothing_else_to_happen() {
        let script = "at 2s keys \"late\"\n";
        let mut at_its_time: Script = script.parse().expect("it is well-formed");
        assert_eq!(taken(&mut at_its_time, 2 * TICKS_PER_SECOND - 1, false), "");
        assert_eq!(taken(&mut at_its_time, 2 * TICKS_PER_SECOND, false), "late");
        assert!(at_its_time.is_over());
        let mut idle: Script = script.parse().expect("it is well-formed");
        assert_eq!(taken(&mut idle, 0, true), "late");
    }

    #[test]
    fn a_text_waits_for_what_is_said_after_the_one_before() {
        let script = "after \"$ \" serial \"ls\\n\"\nafter \"$ \" keys \"\\u0003\"";
        let mut script: Script = script.parse().expect("it is well-formed");
        assert_eq!(script.next(Ticks(0), true), None);
        say(&mut script, "init\n$");
        assert_eq!(script.next(Ticks(0), true), None);
        say(&mut script, " ");
        assert_eq!(script.next(Ticks(0), false), Some(Choice::Receive { byte: b'l' }));
        assert_eq!(taken(&mut script, 0, false), "ls\n", "the second prompt has not come");
        say(&mut script, "README\n$ ");
        assert_eq!(script.next(Ticks(0), false), Some(Choice::Type { byte: 3 }));
    }

    #[test]
    fn comments_and_empty_lines_are_nothing_and_texts_follow_each_other() {
        let mut script: Script = "# one\n\n  keys \"a\"\nkeys \"b\"\n".parse().expect("it is well-formed");
        assert_eq!(taken(&mut script, 0, false), "ab");
    }

    #[test]
    fn a_comment_may_follow_and_a_byte_order_mark_precede() {
        let script = "\u{feff}keys \"a#\" # b\nmouse press left # c\n";
        let mut script: Script = script.parse().expect("it is well-formed");
        assert_eq!(taken(&mut script, 0, false), "a#[m0,0,1]");
    }

    #[test]
    fn escapes_are_those_of_json_and_others_are_named() {
        assert_eq!(unescape(r#"\n\t\r\\\"\u0003"#).as_deref(), Ok("\n\t\r\\\"\u{3}"));
        for (text, wrong) in [(r"a\x41q", r"`\x`"), (r"\u00zz", r"`\u00zz`"), (r"\ud800", r"`\ud800`"), (r"\", r"`\`")]
        {
            let problem = unescape(text).expect_err(text);
            assert!(problem.contains(wrong), "{text}: {problem}");
        }
        let problem = r#"serial "\x41q""#.parse::<Script>().expect_err("it has a wrong escape");
        assert!(problem.starts_with(r"line 1: `\x` is no escape"), "{problem}");
        let problem = "keys \"a".parse::<Script>().expect_err("it has no end");
        assert!(problem.contains("no quote at its end"), "{problem}");
    }

    #[test]
    fn a_cue_is_said_as_it_is_written() {
        let lines = [
            r#"after "$ " keys "ls\n\u0003""#,
            r#"at 2.5s serial "a \"b\"""#,
            "mouse move 10 -5",
            "at 1s mouse press left",
            "mouse release middle",
        ];
        let script: Script = lines.join("\n").parse().expect("it is well-formed");
        let said: Vec<String> = script.undone().map(ToString::to_string).collect();
        assert_eq!(said, lines);
    }

    #[test]
    fn the_mouse_keeps_its_buttons_down_until_they_are_released() {
        let script = "mouse press left\nkeys \"a\"\nmouse move 10 -5\nmouse press middle\nat 1s mouse release left\n";
        let mut script: Script = script.parse().expect("it is well-formed");
        assert_eq!(taken(&mut script, 0, false), "[m0,0,1]a[m10,-5,1][m0,0,5]");
        assert_eq!(taken(&mut script, TICKS_PER_SECOND, false), "[m0,0,4]");
    }

    #[test]
    fn what_is_no_script_is_refused_with_its_line() {
        let wrong = [
            "keys",
            "keys ls",
            "keys \"\"",
            "keys \"a\" \"b\"",
            "mouse \"a\"",
            "mouse move 1",
            "mouse move 0 0",
            "mouse move 1 2 3",
            "mouse move 1.5 2",
            "mouse move 40000 0",
            "mouse press",
            "mouse press both",
            "mouse press left right",
            "at 2 mouse press left",
            "pen \"a\"",
            "at keys \"a\"",
            "at 2 keys \"a\"",
            "at -1s keys \"a\"",
            "at 1e99s keys \"a\"",
            "after keys \"a\"",
            "after \"\" keys \"a\"",
            "keys \"\\q\"",
            "keys \"ü\"",
            "serial \"ü\"",
        ];
        for line in wrong {
            let problem = format!("keys \"a\"\n{line}").parse::<Script>().expect_err(line);
            assert!(problem.starts_with("line 2: "), "{line}: {problem}");
        }
        assert!(Script::keys("ü").is_err());
    }
}
