//! What somebody types on the keyboard and sends down the serial line, and when: a script.
//!
//! Each line of a script is a moment, a place and a text:
//!
//! ```text
//! # the shell is there at its first prompt
//! after "$ " keys "ls\n"
//! at 2.5s serial "echo hi\n"
//! keys "\u0003"
//! ```
//!
//! `at` counts seconds of virtual time, `after` waits until the serial output has said the text since the line before, and
//! without either it is right after that line. Texts are quoted as in JSON.
//! A run becomes its script's [choices](crate::choice::Choice), so a recorded schedule needs no script.

use fencepost_devices::{I8042, TICKS_PER_SECOND, Ticks};
use std::collections::VecDeque;

/// A text, where it goes and when.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cue {
    /// When it begins.
    pub when: When,
    /// Where it goes.
    pub place: Place,
    /// What is typed or sent, in ASCII.
    pub text: String,
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

/// Where a text goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// The keyboard.
    Keys,
    /// The serial port.
    Serial,
}

/// Cues in their order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Script {
    /// What is still to come.
    cues: VecDeque<Cue>,
    /// What the serial output has said since the last cue was over.
    heard: String,
}

/// How much of the serial output is remembered, in bytes: more than anybody waits for.
const MEMORY: usize = 1 << 12;

impl Script {
    /// A script of one text that is typed at once.
    ///
    /// # Errors
    /// No key writes one of the characters.
    pub fn keys(text: &str) -> Result<Script, String> {
        check(Place::Keys, text)?;
        let cue = Cue { when: When::Next, place: Place::Keys, text: text.to_owned() };
        Ok(Script { cues: VecDeque::from([cue]), heard: String::new() })
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

    /// The serial output says `byte`.
    pub(crate) fn hear(&mut self, byte: u8) {
        self.heard.push(char::from(byte));
        if self.heard.len() > 2 * MEMORY {
            let cut = self.heard.ceil_char_boundary(self.heard.len() - MEMORY);
            self.heard.drain(..cut);
        }
    }

    /// The next character and where it goes, if its time has come; with `idle`, nothing else can happen before it.
    pub(crate) fn next(&self, now: Ticks, idle: bool) -> Option<(Place, u8)> {
        let cue = self.cues.front()?;
        let is_due = match &cue.when {
            When::Next => true,
            When::At(at) => idle || *at <= now,
            When::After(text) => self.heard.contains(text.as_str()),
        };
        let byte = cue.text.bytes().next()?;
        is_due.then_some((cue.place, byte))
    }

    /// The character that [`next`](Script::next) gave has been typed or sent.
    pub(crate) fn advance(&mut self) {
        let Some(cue) = self.cues.front_mut() else { return };
        cue.text.remove(0);
        cue.when = When::Next;
        if cue.text.is_empty() {
            self.cues.pop_front();
            self.heard.clear();
        }
    }
}

impl std::str::FromStr for Script {
    type Err = String;

    fn from_str(text: &str) -> Result<Script, String> {
        let mut script = Script::default();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let cue = parse_cue(line).map_err(|problem| format!("line {}: {problem}", number + 1))?;
            script.cues.push_back(cue);
        }
        Ok(script)
    }
}

/// What a line of a script looks like, for messages.
const FORM: &str = "a line is [at SECONDSs | after \"TEXT\"] keys|serial \"TEXT\"";

fn parse_cue(line: &str) -> Result<Cue, String> {
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
    let place = match place {
        "keys" => Place::Keys,
        "serial" => Place::Serial,
        other => return Err(format!("`{other}` is neither `keys` nor `serial`; {FORM}")),
    };
    let (text, rest) = parse_text(rest)?;
    if !rest.trim().is_empty() {
        return Err(format!("`{}` is one word too many; {FORM}", rest.trim()));
    }
    if text.is_empty() {
        return Err("it types nothing".to_owned());
    }
    check(place, &text)?;
    Ok(Cue { when, place, text })
}

/// A quoted text at the start of `from`, and what follows it.
fn parse_text(from: &str) -> Result<(String, &str), String> {
    let mut values = serde_json::Deserializer::from_str(from).into_iter::<String>();
    match values.next() {
        Some(Ok(text)) => Ok((text, &from[values.byte_offset()..])),
        Some(Err(_)) | None => Err(format!("`{}` does not begin with a text in quotes; {FORM}", from.trim())),
    }
}

/// Seconds of virtual time, as in `2.5s`.
fn parse_time(text: &str) -> Result<Ticks, String> {
    let seconds = text.strip_suffix('s').and_then(|number| number.parse::<f64>().ok());
    let seconds = seconds.filter(|seconds| (0.0..=1e9).contains(seconds));
    let seconds = seconds.ok_or(format!("`{text}` is not a time such as 2.5s"))?;
    Ok(Ticks((seconds * TICKS_PER_SECOND as f64) as u64))
}

fn check(place: Place, text: &str) -> Result<(), String> {
    let is_right = |c: &char| match place {
        Place::Keys => I8042::can_type(*c),
        Place::Serial => c.is_ascii(),
    };
    match (place, text.chars().find(|c| !is_right(c))) {
        (_, None) => Ok(()),
        (Place::Keys, Some(other)) => Err(format!("no key of a US keyboard writes {other:?}")),
        (Place::Serial, Some(other)) => Err(format!("{other:?} is not one byte of ASCII")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything that comes at `now`, typed at once.
    fn taken(script: &mut Script, now: u64, idle: bool) -> String {
        let mut text = String::new();
        while let Some((_, byte)) = script.next(Ticks(now), idle) {
            text.push(char::from(byte));
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
        assert_eq!(script.next(Ticks(0), false), Some((Place::Serial, b'l')));
        assert_eq!(taken(&mut script, 0, false), "ls\n", "the second prompt has not come");
        say(&mut script, "README\n$ ");
        assert_eq!(script.next(Ticks(0), false), Some((Place::Keys, 3)));
    }

    #[test]
    fn comments_and_empty_lines_are_nothing_and_texts_follow_each_other() {
        let mut script: Script = "# one\n\n  keys \"a\"\nkeys \"b\"\n".parse().expect("it is well-formed");
        assert_eq!(taken(&mut script, 0, false), "ab");
    }

    #[test]
    fn what_is_no_script_is_refused_with_its_line() {
        let wrong = [
            "keys",
            "keys ls",
            "keys \"\"",
            "keys \"a\" \"b\"",
            "mouse \"a\"",
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
