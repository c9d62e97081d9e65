//! How litmus tests are reported: as herd does, as JSON, and what is wrong with a file.

use super::{Explored, Under};
use crate::cli::colour;
use crate::cli::table::counted;
use ariadne::{Config, IndexType, Label, Report, ReportKind, Source};
use fencepost::litmus::Observation;
use fencepost::litmus::parse::Malformed;
use fencepost::litmus::test::Quantifier;
use fencepost::processor::Processor;
use serde::Serialize;

/// One test under one model.
#[derive(Serialize)]
struct Row<'a> {
    path: &'a str,
    name: &'a str,
    model: &'static str,
    processor: &'static str,
    observation: Observation,
    states: &'a [String],
    complete: bool,
    executions: u64,
    explored: usize,
    hangs: bool,
    seconds: f64,
}

/// A line of JSON.
pub(super) fn json(explored: &Explored, under: &Under, processor: Processor) -> String {
    let row = Row {
        path: &explored.file.name,
        name: &explored.test.name,
        model: under.model.name(),
        processor: processor.name(),
        observation: under.outcome.observation(),
        states: &under.outcome.states,
        complete: under.outcome.complete,
        executions: under.outcome.executions,
        explored: under.outcome.explored,
        hangs: under.outcome.hangs,
        seconds: under.time.as_secs_f64(),
    };
    serde_json::to_string(&row).expect("a report is plain data with text keys") + "\n"
}

/// The lines that herd prints.
pub(super) fn text(explored: &Explored, under: &Under) -> String {
    let (test, outcome) = (&explored.test, &under.outcome);
    let kind = match test.quantifier {
        Quantifier::Exists => "Allowed",
        Quantifier::NotExists => "Forbidden",
        Quantifier::Forall => "Required",
    };
    let answer = match outcome.answer(test.quantifier) {
        Some(true) => "Ok",
        Some(false) => "No",
        None => "Unknown",
    };
    let mut text = format!("Test {} {kind} ({})\nStates {}\n", test.name, under.model, outcome.states.len());
    for state in &outcome.states {
        text += &format!("{state}\n");
    }
    let negative = outcome.states.len() - outcome.positive;
    text += &format!("{answer}\nWitnesses\nPositive: {} Negative: {negative}\n", outcome.positive);
    text += &format!("Condition {}\n", test.condition_text);
    let observation = match outcome.observation() {
        Observation::Never | Observation::Always if !outcome.complete => "Unknown".into(),
        known => format!("{known:?}"),
    };
    text += &format!("Observation {} {observation} {} {negative}\n", test.name, outcome.positive);
    let bound = if outcome.complete { "complete" } else { "NOT COMPLETE" };
    text += &format!(
        "Explored {bound}, {}, {}, {:.1} ms\n",
        counted(outcome.explored as u64, "state"),
        counted(outcome.executions, "execution"),
        under.time.as_secs_f64() * 1e3
    );
    for cut in &outcome.cuts {
        text += &format!("Cut off: {cut}\n");
    }
    if outcome.hangs && !outcome.states.is_empty() {
        text += "Hang: in some orders of steps a thread waits for ever\n";
    }
    for fault in &outcome.faults {
        text += &format!("Fault: {fault}\n");
    }
    text + "\n"
}

/// What is wrong with a file, with the lines it is about.
pub(super) fn excerpt(name: &str, text: &str, wrong: &Malformed) -> String {
    let coloured = colour::is_wanted(&std::io::stderr());
    let config = Config::default().with_index_type(IndexType::Byte).with_color(coloured);
    let span = (name, wrong.span.clone());
    let mut report = Report::build(ReportKind::Error, span.clone())
        .with_config(config)
        .with_message(&wrong.problem)
        .with_label(Label::new(span).with_message("here"));
    if let Some(help) = &wrong.help {
        report = report.with_help(help);
    }
    let mut shown = Vec::new();
    let written = report.finish().write((name, Source::from(text)), &mut shown);
    written.expect("writing to memory does not fail");
    String::from_utf8_lossy(&shown).trim_end().to_owned()
}
