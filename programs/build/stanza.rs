//! The header stanza of a guest program: what it shows and what may come out, next to the code that does it.
//!
//! ```text
//! store-buffering: each core misses the other's store
//!
//! A paragraph that says what it shows and why.
//!
//! cores: 2
//! variant broken: no fence between store and load
//!   sc: r0=0 r1=1 | r0=1 r1=0 | r0=1 r1=1
//!   tso, pso: r0=0 r1=1 | r0=1 r1=0 | r0=1 r1=1 | r0=0 r1=0 !
//! ```
//!
//! The first line names the program, which is its file's name.
//! Every variant names each of the three models exactly once; `!` marks an outcome that is a hazard.
//! The comment sign differs with the language: `//!` in Rust, `//` in C, `;` for nasm.

use std::path::Path;

/// The memory models a stanza speaks about.
pub(crate) const MODELS: [&str; 3] = ["sc", "tso", "pso"];

/// A parsed stanza.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stanza {
    pub(crate) summary: String,
    pub(crate) shows: String,
    pub(crate) cores: u32,
    pub(crate) variants: Vec<Variant>,
}

/// One way to run the program.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Variant {
    pub(crate) name: String,
    pub(crate) shows: String,
    /// One entry for each model, in the order of [`MODELS`] once the stanza is parsed.
    pub(crate) expectations: Vec<(String, Vec<Outcome>)>,
}

/// One line the program may print as its outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) text: String,
    pub(crate) hazard: bool,
}

/// Reads the stanza of the program `name` from its source text; an error is `file:line: what is wrong`.
pub(crate) fn parse(name: &str, file: &Path, source: &str) -> Result<Stanza, String> {
    let lines = header(file, source);
    let mut parser = Parser { lines: &lines, next: 0, file };
    parser.stanza(name)
}

/// The comment lines at the top, without the comment sign, each with its line number.
fn header<'a>(file: &Path, source: &'a str) -> Vec<(usize, &'a str)> {
    let sign = match file.extension().and_then(|extension| extension.to_str()) {
        Some("c") => "//",
        Some("asm") => ";",
        _ => "//!",
    };
    let text = source.lines().map_while(|line| line.strip_prefix(sign));
    text.enumerate().map(|(index, line)| (index + 1, line.trim_end())).collect()
}

struct Parser<'a> {
    lines: &'a [(usize, &'a str)],
    next: usize,
    file: &'a Path,
}

impl<'a> Parser<'a> {
    fn stanza(&mut self, name: &str) -> Result<Stanza, String> {
        let summary = self.summary(name)?;
        let shows = self.paragraphs()?;
        let cores = self.cores()?;
        let mut variants: Vec<Variant> = Vec::new();
        while self.peek().is_some() {
            let variant = self.variant()?;
            if variants.iter().any(|earlier| earlier.name == variant.name) {
                return self.fail(format!("variant `{}` is already there", variant.name));
            }
            variants.push(variant);
        }
        if variants.is_empty() {
            return self.fail("a stanza needs at least one `variant NAME: what it does`");
        }
        Ok(Stanza { summary, shows, cores, variants })
    }

    fn summary(&mut self, name: &str) -> Result<String, String> {
        let expected = format!("{name}: one line that says what it shows");
        let Some(line) = self.take() else {
            return self.fail(format!("the file must start with a comment `{expected}`"));
        };
        match line.trim().split_once(": ") {
            Some((found, summary)) if found == name && !summary.trim().is_empty() => Ok(summary.trim().to_owned()),
            _ => self.fail(format!("expected `{expected}`, found `{}`", line.trim())),
        }
    }

    /// Everything up to `cores:`; blank lines part paragraphs.
    fn paragraphs(&mut self) -> Result<String, String> {
        let mut text = String::new();
        while let Some(line) = self.peek() {
            if line.trim().starts_with("cores:") {
                break;
            }
            if line.trim().starts_with("variant ") {
                self.next += 1;
                return self.fail("`cores: N` must stand before the first variant");
            }
            self.next += 1;
            match (line.trim(), text.is_empty() || text.ends_with('\n')) {
                ("", true) => {}
                ("", false) => text.push_str("\n\n"),
                (words, true) => text.push_str(words),
                (words, false) => {
                    text.push(' ');
                    text.push_str(words);
                }
            }
        }
        match text.trim() {
            "" => self.fail("a paragraph that says what the program shows must stand before `cores: N`"),
            shows => Ok(shows.to_owned()),
        }
    }

    fn cores(&mut self) -> Result<u32, String> {
        let Some(line) = self.take() else {
            return self.fail("`cores: N` is missing");
        };
        match line.trim().strip_prefix("cores:").and_then(|number| number.trim().parse().ok()) {
            Some(cores @ 1..=64) => Ok(cores),
            _ => self.fail(format!("expected `cores: N` with N from 1 to 64, found `{}`", line.trim())),
        }
    }

    fn variant(&mut self) -> Result<Variant, String> {
        let line = self.take().unwrap_or_default();
        let parts = line.trim().strip_prefix("variant ").and_then(|rest| rest.split_once(": "));
        let Some((name, shows)) = parts else {
            return self.fail(format!("expected `variant NAME: what it does`, found `{}`", line.trim()));
        };
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-') {
            return self.fail(format!("a variant's name is made of a-z, 0-9 and `-`, found `{name}`"));
        }
        let mut expectations = Vec::new();
        while self.peek().is_some_and(|line| !line.trim().starts_with("variant ")) {
            self.expectation(&mut expectations)?;
        }
        if let Some(model) = MODELS.iter().find(|&model| !expectations.iter().any(|(seen, _)| seen == model)) {
            return self.fail(format!("variant `{name}` does not say what may happen under `{model}`"));
        }
        expectations.sort_by_key(|(model, _)| MODELS.iter().position(|known| known == model));
        Ok(Variant { name: name.to_owned(), shows: shows.trim().to_owned(), expectations })
    }

    /// `tso, pso: whole | torn !` becomes one entry for each of its models.
    fn expectation(&mut self, expectations: &mut Vec<(String, Vec<Outcome>)>) -> Result<(), String> {
        let line = self.take().unwrap_or_default();
        let Some((models, outcomes)) = line.split_once(':') else {
            return self.fail(format!("expected `MODEL, MODEL: OUTCOME | OUTCOME !`, found `{}`", line.trim()));
        };
        let outcomes = outcomes.split('|').map(|text| self.outcome(text)).collect::<Result<Vec<_>, _>>()?;
        for model in models.split(',').map(str::trim) {
            if !MODELS.contains(&model) {
                return self.fail(format!("`{model}` is not a memory model, they are: {}", MODELS.join(", ")));
            }
            if expectations.iter().any(|(seen, _)| seen == model) {
                return self.fail(format!("`{model}` is named twice for one variant"));
            }
            expectations.push((model.to_owned(), outcomes.clone()));
        }
        Ok(())
    }

    fn outcome(&self, text: &str) -> Result<Outcome, String> {
        let text = text.trim();
        let (text, hazard) = match text.strip_suffix('!') {
            Some(rest) => (rest.trim(), true),
            None => (text, false),
        };
        if text.is_empty() {
            return self.fail("an outcome is empty");
        }
        Ok(Outcome { text: text.to_owned(), hazard })
    }

    fn peek(&self) -> Option<&'a str> {
        self.lines.get(self.next).map(|&(_, text)| text)
    }

    fn take(&mut self) -> Option<&'a str> {
        let line = self.peek();
        self.next += usize::from(line.is_some());
        line
    }

    /// The error at the line taken last.
    fn fail<T>(&self, message: impl AsRef<str>) -> Result<T, String> {
        let line = self.next.checked_sub(1).map_or(1, |index| self.lines[index].0);
        Err(format!("{}:{line}: {}", self.file.display(), message.as_ref()))
    }
}
