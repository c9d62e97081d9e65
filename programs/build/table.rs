//! Writes the table of programs as Rust source, from the stanzas and the built images.

use crate::Built;
use crate::stanza::{self, Outcome, Stanza, Variant};
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// Writes `programs.rs`: one constant with every program.
pub(crate) fn write(package: &Path, programs: &[Built], table: &Path) -> Result<(), String> {
    let mut text = String::from("static PROGRAMS: &[Program] = &[\n");
    let mut errors = Vec::new();
    for built in programs {
        match read(package, built) {
            Ok(stanza) => program(&mut text, built, &stanza),
            Err(error) => errors.push(error),
        }
    }
    text.push_str("];\n");
    if !errors.is_empty() {
        return Err(errors.join("\n"));
    }
    fs::write(table, text).map_err(|error| format!("{}: {error}", table.display()))
}

fn read(package: &Path, built: &Built) -> Result<Stanza, String> {
    let path = package.join(&built.source);
    let source = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    stanza::parse(&built.name, &path, &source)
}

fn program(text: &mut String, built: &Built, stanza: &Stanza) {
    let Stanza { summary, shows, cores, variants } = stanza;
    let (name, source, image) = (&built.name, &built.source, built.image.display().to_string());
    line(text, format_args!("Program {{ name: {name:?}, summary: {summary:?}, shows: {shows:?}, cores: {cores},"));
    line(text, format_args!("image: include_bytes!({image:?}), source: \"programs/{source}\", variants: &["));
    variants.iter().for_each(|found| variant(text, found));
    line(text, format_args!("] }},"));
}

fn variant(text: &mut String, variant: &Variant) {
    let Variant { name, shows, expectations } = variant;
    line(text, format_args!("Variant {{ name: {name:?}, shows: {shows:?}, expectations: &["));
    for (model, outcomes) in expectations {
        line(text, format_args!("Expectation {{ model: {model:?}, outcomes: &["));
        for Outcome { text: outcome, hazard } in outcomes {
            line(text, format_args!("Outcome {{ text: {outcome:?}, hazard: {hazard} }},"));
        }
        line(text, format_args!("] }},"));
    }
    line(text, format_args!("] }},"));
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    writeln!(text, "{arguments}").expect("a String takes every write");
}
