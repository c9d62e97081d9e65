//! `fencepost fences`: where fences make a guest right, and which of its own it does not need.

use super::colour::{self, Colour, paint};
use super::cut_off::{self, CutOff};
use super::explored_guest::{ExploredGuest, variant};
use super::failure::Failure;
use super::fence_words::Words;
use super::guest::{RULE, Target};
use super::table::counted;
use super::{progress, stdout};
use clap::Args;
use fencepost::explorer::Limits;
use fencepost::explorer::doctor::{self, Findings, Patience};
use fencepost::explorer::own_fence::OwnFence;
use fencepost::explorer::survey::Surveyor;
use fencepost::loader::Symbols;
use fencepost::memory_model::MemoryModel;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Find every minimal set of places where a fence makes a guest right, and the fences it has for nothing
///
/// Fences are put in and taken out in the emulator, the program stays as it is; each answer is verified by exploring every
/// interleaving with it.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = after_long_help())]
pub(super) struct Fences {
    #[command(flatten)]
    guest: ExploredGuest,

    /// The most fences in a set
    #[arg(long, value_name = "N", help_heading = "Exploration", default_value_t = Patience::default().places as u64,
          value_parser = clap::value_parser!(u64).range(1..=64))]
    most: u64,

    /// Give up one exploration when it has more states than this (those met meanwhile, hundreds, may come on top)
    #[arg(long, value_name = "N", help_heading = "Exploration", default_value_t = Limits::default().states as u64,
          value_parser = clap::value_parser!(u64).range(1..=u64::from(u32::MAX)))]
    max_states: u64,

    /// Give up after this many seconds, everything included
    #[arg(long, value_name = "SECONDS", help_heading = "Exploration", value_parser = clap::value_parser!(u64).range(1..))]
    time: Option<u64>,

    /// Write one report as JSON; it has nothing but `no_answer` where a bound was reached before the mark
    #[arg(long, help_heading = "Output")]
    json: bool,
}

fn after_long_help() -> String {
    format!(
        "{RULE}\n\n\
Examples:
  fencepost fences dekker                     where the broken variant needs fences
  fencepost fences dekker/mfence              which of its fences it needs
  fencepost fences peterson --model tso,pso

Exit codes: 0 the guest is right as it is, 1 it is not (fences that make it so are
named, if there are any), 2 bad use or bad input, 3 a bound was reached before
the answer was whole: what is said then is so, but there may be more to say."
    )
}

/// What was found under one model.
#[derive(Serialize)]
struct Row {
    model: &'static str,
    processor: &'static str,
    seconds: f64,
    #[serde(flatten)]
    findings: Findings,
    /// Where explorations were cut off.
    cut_off: Vec<CutOff>,
    /// Source lines of all addresses named.
    places: BTreeMap<u64, String>,
    /// Of each place in `cures`, what to write there.
    to_write: Vec<Vec<String>>,
    /// Each of the guest's own fences as its source has it.
    as_written: BTreeMap<u64, String>,
}

impl Fences {
    /// Examines.
    pub(super) fn perform(self) -> Result<u8, Failure> {
        let target = self.guest.target()?;
        let started = Instant::now();
        let time = self.time.map(Duration::from_secs);
        let mut surveyor = stdout::or_no_answer(self.guest.surveyor(&target, time), self.json)?;
        let patience = Patience { places: self.most as usize, ..Patience::default() };
        let symbols = surveyor.image().symbols();
        let spinner = progress::spinner();
        let mut rows = Vec::new();
        for model in self.guest.models() {
            spinner.set_message(format!("trying fences under {model}"));
            let began = Instant::now();
            let time = time.map(|time| time.saturating_sub(started.elapsed()));
            let limits = Limits { states: self.max_states as usize, time, ..Limits::default() };
            surveyor.allow_only(self.listed(&target, &surveyor, model));
            let findings = doctor::examine(&mut surveyor, model, &limits, &patience);
            let named = findings.cures.iter().flatten().map(|place| place.pc);
            let named = named.chain(findings.fences.iter().copied());
            let places = named.map(|pc| (pc, describe(&mut surveyor, &symbols, pc))).collect();
            let cut_off = cut_off::named(&mut surveyor, &symbols, findings.cut_places.clone());
            let processor = surveyor.settings().processor.name();
            let mut words = Words { surveyor: &mut surveyor, symbols: &symbols };
            let to_write = findings.cures.iter().map(|cure| cure.iter().map(|place| words.cure(place)).collect());
            let to_write = to_write.collect();
            let as_written = findings.kinds.iter().map(|(&pc, &kind)| (pc, words.own(pc, kind))).collect();
            let seconds = began.elapsed().as_secs_f64();
            let model = model.name();
            rows.push(Row { model, processor, seconds, findings, cut_off, places, to_write, as_written });
        }
        spinner.finish_and_clear();
        if self.json {
            stdout::print_json(&rows)?;
        } else {
            let coloured = colour::is_wanted(&std::io::stdout());
            stdout::print(&rows.iter().map(|row| row.text(coloured)).collect::<Vec<_>>().join("\n"))?;
        }
        let is_wrong = rows.iter().any(|row| row.findings.violated);
        let has_no_answer = |it: &Findings| !it.complete || it.violated && it.cures.is_empty() && it.larger_untried;
        let is_unknown = rows.iter().any(|row| has_no_answer(&row.findings));
        Ok(if is_unknown {
            3
        } else if is_wrong {
            1
        } else {
            0
        })
    }

    /// What a program's stanza says that it may report, if it says anything about `model`.
    fn listed(&self, target: &Target, surveyor: &Surveyor, model: MemoryModel) -> Option<BTreeSet<String>> {
        let variant = variant(target, &surveyor.settings().command_line)?;
        let expectation = variant.expectation(model.name())?;
        Some(expectation.outcomes.iter().map(|listed| listed.text.to_owned()).collect())
    }
}

/// Source line and instruction at `pc`.
fn describe(surveyor: &mut Surveyor, symbols: &Symbols, pc: u64) -> String {
    let place = match symbols.place(pc) {
        Some((file, line)) => format!("{file}:{line}"),
        None => symbols.locate(pc).function.map_or(format!("{pc:#x}"), |(name, offset)| format!("{name}+{offset:#x}")),
    };
    let instruction = surveyor.instruction_text(pc).unwrap_or_default();
    format!("{place}  {instruction}")
}

impl Row {
    fn text(&self, coloured: bool) -> String {
        let Findings { holds, violated, cuts, cures, complete, larger_untried, explorations, .. } = &self.findings;
        let head = if *holds {
            paint("right as it is", Colour::Good, coloured)
        } else if *violated {
            paint("not right", Colour::Bad, coloured)
        } else {
            "no answer".into()
        };
        let count = counted(*explorations as u64, "exploration");
        let mut text = format!("{}: {head} ({count}, {:.2} s)\n", self.model, self.seconds);
        text += self.incurable();
        for (index, cure) in self.to_write.iter().enumerate() {
            let plural = if cure.len() == 1 { "a fence" } else { "fences" };
            text += &format!("  {}. with {plural}\n", index + 1);
            cure.iter().for_each(|place| text += &format!("       {place}\n"));
        }
        if self.model == MemoryModel::PSO.name() && cures.iter().flatten().any(|place| place.store_fence) {
            text += "  An sfence is pso's only: no x86 processor needs one between ordinary stores.\n";
        }
        text += &self.own_fences(coloured);
        if *larger_untried {
            text += "  Sets of more places than --most were not tried: raise it.\n";
        }
        if !complete && *violated {
            text += match cures.is_empty() {
                true => "  A bound was reached before a set of fences was found.\n",
                false => {
                    "  A bound was reached: there may be other sets, smaller ones, and some in which an sfence is enough.\n"
                }
            };
        }
        for cut in cut_off::lines(cuts, &self.cut_off) {
            text += &format!("  cut off: {cut}\n");
        }
        text
    }

    /// Why no fence helps, if none does.
    fn incurable(&self) -> &'static str {
        match (self.findings.incurable, self.findings.in_order) {
            (false, _) => "",
            (true, true) => "  No fence helps: it goes wrong under sc, too, without any store being late.\n",
            (true, false) => "  No fence helps: it goes wrong within one instruction, where none can stand.\n",
        }
    }

    /// What there is to say of the fences that the guest has.
    fn own_fences(&self, coloured: bool) -> String {
        let Findings { holds, cures, redundant, removable, needed_then, undecided, fences, .. } = &self.findings;
        if !holds && cures.is_empty() || fences.is_empty() {
            return String::new();
        }
        let mut text = String::new();
        let indent = if *holds { "  " } else { "     " };
        if !holds {
            text += "  Of its own fences, with those of 1. in place\n";
        }
        let bad = |text: &str| paint(text, Colour::Bad, coloured);
        let is_settled = |it: &&u64| !redundant.contains(it) && !undecided.contains(it);
        let needed: Vec<u64> = fences.iter().filter(is_settled).copied().collect();
        let (alone, open): (Vec<u64>, Vec<u64>) = undecided.iter().partition(|it| redundant.contains(it));
        let (can_go, stays) = match (removable.len(), needed_then.len()) {
            (1, 1) => (bad("either of these can go, not both"), bad("either of these can go, not both")),
            (1, _) => (bad("not needed"), "needed once that one is gone, though not before".into()),
            (_, _) => (bad("not needed"), "needed once those are gone, though not before".into()),
        };
        let groups = [
            ("needed".to_owned(), &needed),
            (can_go, removable),
            (stays, needed_then),
            ("not needed alone, not known whether with the others gone".to_owned(), &alone),
            ("not known whether it is needed".to_owned(), &open),
        ];
        for (verdict, group) in groups {
            for fence in group {
                text += &format!("{indent}{verdict}: {}\n", self.as_written[fence]);
            }
        }
        if removable.iter().any(|fence| self.findings.kinds[fence] == OwnFence::Exchange) {
            text += &format!("{indent}Instead of an exchange that is not needed, a plain store is enough.\n");
        }
        if removable.len() > 1 {
            text += &format!("{indent}All that are not needed can go at once.\n");
        }
        text
    }
}
