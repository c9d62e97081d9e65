//! `fencepost list`: the programs that come with Fencepost, and what each shows.

use super::colour::{self, Colour, paint};
use super::failure::Failure;
use super::guest::Target;
use super::stanza::{Judgement, judge};
use super::stdout;
use super::table::{self, Align, counted};
use clap::Args;
use fencepost::memory_model::MemoryModel;
use fencepost::programs::{self, Program, Variant};
use fencepost::testbench::Testbench;
use serde::Serialize;
use serde_json::json;

/// The longest line of running text, in characters.
const LINE: usize = 80;

/// List the programs that come with Fencepost, or say what one of them shows
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  fencepost list                           one line for each program
  fencepost list store-buffering           what it shows, and what may come out
  fencepost list store-buffering/mfence    the same for one variant
  fencepost list --json                    everything

In the tables `-` is never, `may` is sometimes, and `HAZARD` is sometimes and the
bug that the program is about. The models are sc (sequential consistency), tso
(what x86 processors do) and pso (weaker than x86, for contrast).")]
pub(super) struct List {
    /// A program, with or without a variant after a /
    #[arg(value_name = "NAME[/VARIANT]")]
    name: Option<String>,

    /// Write JSON
    #[arg(long)]
    json: bool,
}

impl List {
    /// Lists.
    pub(super) fn perform(self) -> Result<u8, Failure> {
        let chosen = self.name.as_deref().map(find).transpose()?;
        let text = match (&chosen, self.json) {
            (Some((program, variants)), true) => return print_json(&described(program, variants)),
            (None, true) => {
                let all = programs::all().iter().map(|program| described(program, &all_variants(program)));
                return print_json(&all.collect::<Vec<_>>());
            }
            (Some((program, variants)), false) => about(program, variants),
            (None, false) => one_line_each(),
        };
        stdout::print(&text)?;
        Ok(0)
    }
}

/// The program called `name`, and those of its variants that are meant.
fn find(name: &str) -> Result<(&'static Program, Vec<&'static Variant>), Failure> {
    // Unlike `run`, this verb knows no files: what is unknown is an unknown program.
    let bench = Testbench::program(name)?;
    let (program, variant) = bench.known_program().expect("the bench is made from a program");
    let is_one = name.contains('/');
    Ok((program, if is_one { vec![variant] } else { all_variants(program) }))
}

fn all_variants(program: &'static Program) -> Vec<&'static Variant> {
    program.variants.iter().collect()
}

fn one_line_each() -> String {
    let rows: Vec<_> =
        programs::all().iter().map(|program| vec![program.name.to_owned(), program.summary.to_owned()]).collect();
    table::lines(&rows, &[Align::Left, Align::Left]).join("\n") + "\n"
}

fn about(program: &'static Program, variants: &[&'static Variant]) -> String {
    let Program { name, summary, shows, cores, source, .. } = program;
    let mut text =
        format!("{name}: {summary}\n{}, {source}\n\n{}\n", counted(u64::from(*cores), "core"), wrapped(shows));
    for variant in variants {
        text += &format!("\n{name}/{}: {}\n", variant.name, variant.shows);
        text += &outcomes(variant);
    }
    let target = Target::Program(program, variants.first().copied());
    let words = target.words(variants.first().map_or("", |variant| variant.name));
    text + &format!("\nRun it: fencepost run {words} --runs 100\n")
}

/// `paragraphs` with lines of a comfortable length.
fn wrapped(paragraphs: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for paragraph in paragraphs.lines() {
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > LINE {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line += word;
        }
        lines.push(line);
    }
    lines.join("\n")
}

/// A table with a row for each outcome and a column for each model.
fn outcomes(variant: &Variant) -> String {
    let coloured = colour::is_wanted(&std::io::stdout());
    let head = std::iter::once("  outcome".to_owned()).chain(MemoryModel::ALL.map(|model| model.name().to_owned()));
    let texts = texts(variant);
    let row = |text: &&str| {
        let models = MemoryModel::ALL.map(|model| word(variant, model, text).to_owned());
        std::iter::once(format!("  {text}")).chain(models).collect()
    };
    let rows: Vec<Vec<String>> = std::iter::once(head.collect()).chain(texts.iter().map(row)).collect();
    let lines = table::lines(&rows, &[Align::Left; 4]);
    let paint_line = |(index, line): (usize, &String)| match index {
        0 => paint(line, Colour::Faint, coloured),
        _ if line.contains(HAZARD) => paint(line, Colour::Bad, coloured),
        _ => line.clone(),
    };
    lines.iter().enumerate().map(paint_line).collect::<Vec<_>>().join("\n") + "\n"
}

const HAZARD: &str = "HAZARD";

fn word(variant: &Variant, model: MemoryModel, outcome: &str) -> &'static str {
    match judge(variant, model, Some(outcome)) {
        Some(Judgement::Expected) => "may",
        Some(Judgement::Hazard) => HAZARD,
        Some(Judgement::Unlisted) | None => "-",
    }
}

/// All outcomes of `variant`, each once, hazards last.
fn texts(variant: &Variant) -> Vec<&'static str> {
    let all = || variant.expectations.iter().flat_map(|expectation| expectation.outcomes);
    let mut texts = Vec::new();
    for outcome in all().filter(|outcome| !outcome.hazard).chain(all().filter(|outcome| outcome.hazard)) {
        if !texts.contains(&outcome.text) {
            texts.push(outcome.text);
        }
    }
    texts
}

fn print_json(value: &impl Serialize) -> Result<u8, Failure> {
    stdout::print_json(value)?;
    Ok(0)
}

fn described(program: &Program, variants: &[&Variant]) -> serde_json::Value {
    let outcomes = |variant: &Variant| {
        let models = variant.expectations.iter().map(|expectation| {
            let outcomes = expectation.outcomes.iter();
            let listed = outcomes.map(|outcome| json!({ "outcome": outcome.text, "hazard": outcome.hazard }));
            (expectation.model.to_owned(), listed.collect())
        });
        models.collect::<serde_json::Map<_, _>>()
    };
    let variants = variants
        .iter()
        .map(|variant| json!({ "name": variant.name, "shows": variant.shows, "expected": outcomes(variant) }));
    json!({
        "name": program.name,
        "summary": program.summary,
        "shows": program.shows,
        "cores": program.cores,
        "source": program.source,
        "variants": variants.collect::<Vec<_>>(),
    })
}
