//! A way to an outcome as a picture in text: one column per core, time downwards.

use crate::cli::colour::{Colour, paint};
use crate::cli::table::counted;
use fencepost::core::CoreId;
use fencepost::explorer::explain::{Effect, Explanation, Row, Stored, Stuck, shown};
use fencepost::explorer::shared::Shared;
use fencepost::loader::Symbols;
use std::collections::HashSet;
use std::ops::Range;

/// The width of a core's column, in characters.
const COLUMN: usize = 44;

/// Of a buffer with more stores than this only the oldest and the youngest are told, half of them each.
const MOST_ENTRIES: usize = 8;

/// The most rows of a round that is looked for.
const LONGEST_ROUND: usize = 32;
/// Fewer equal rounds than this are told one by one.
const FEWEST_ROUNDS: usize = 4;

/// The lines that tell `explanation`.
///
/// Of more than `most` rows those in the middle are left out.
pub(super) fn lines(
    explanation: &Explanation,
    symbols: &Symbols,
    cores: u8,
    coloured: bool,
    most: usize,
) -> Vec<String> {
    let timeline = Timeline { symbols, shared: Shared::of(explanation), cores };
    let head: String = (0..cores).map(|core| format!("{:COLUMN$}", CoreId(core).to_string())).collect();
    let mut lines = vec![paint(format!("      {head}").trim_end(), Colour::Faint, coloured)];
    let told = timeline.told(explanation, coloured);
    if told.is_empty() {
        lines = vec!["      Nothing that one core does and another could see leads there.".into()];
    }
    let pieces = folded(&told);
    let untold = middle(pieces.len(), most);
    for (index, piece) in pieces.into_iter().enumerate() {
        if index == untold.start && !untold.is_empty() {
            let text = format!("      ... {} left out; --all tells all ...", counted(untold.len() as u64, "row"));
            lines.push(paint(&text, Colour::Faint, coloured));
        }
        if untold.contains(&index) {
            continue;
        }
        match piece {
            Piece::Told(Told { number, lines: cells, .. }) => {
                for (index, cell) in cells.iter().enumerate() {
                    let margin = if index == 0 { format!("{:>4}  ", number + 1) } else { "      ".into() };
                    lines.push(format!("{margin}{cell}"));
                }
            }
            Piece::Again { rounds, last } => {
                let text =
                    format!("      ... {} of the same, up to row {}", counted(rounds as u64, "more round"), last + 1);
                lines.push(paint(&text, Colour::Faint, coloured));
            }
            Piece::Waiting { rows, last } => {
                let text = format!(
                    "      ... {} that read the same again, up to row {}",
                    counted(rows as u64, "row"),
                    last + 1
                );
                lines.push(paint(&text, Colour::Faint, coloured));
            }
        }
    }
    if explanation.left_behind > 0 {
        let stores = counted(explanation.left_behind as u64, "delayed store");
        lines.push(format!("      {stores} still in a buffer when the run ends"));
    }
    if !explanation.stuck.is_empty() {
        lines.extend(["".into(), "      For ever from then on:".into()]);
        lines.extend(explanation.stuck.iter().map(|stuck| format!("      {}", timeline.place_of(stuck))));
    }
    lines
}

/// Those of `count` things that are left out so that at most `most` are left.
fn middle(count: usize, most: usize) -> Range<usize> {
    if count > most { most / 2..count - most / 2 } else { 0..0 }
}

/// A row as it is told.
#[derive(PartialEq, Eq, Debug)]
struct Told {
    /// The number of the row.
    number: usize,
    /// Its lines, without margins.
    lines: Vec<String>,
    /// Its core reads what it has read before, and nothing has been written since.
    is_again: bool,
}

/// A part of what is told.
#[derive(PartialEq, Eq, Debug)]
enum Piece<'a> {
    /// A row.
    Told(&'a Told),
    /// The last rows come again so often, to this row.
    Again { rounds: usize, last: usize },
    /// So many rows, to this one, in which cores read the same again.
    Waiting { rows: usize, last: usize },
}

/// `told`, of equal rounds of rows only the first.
fn folded(told: &[Told]) -> Vec<Piece<'_>> {
    let rounds = |at: usize, length: usize| {
        let is_next = |(one, other): (&Told, &Told)| one.lines == other.lines;
        let alike = told[at..].iter().zip(&told[at + length..]).take_while(|pair| is_next(*pair)).count();
        1 + alike / length
    };
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < told.len() {
        let again = told[at..].iter().take_while(|told| told.is_again).count();
        if again >= FEWEST_ROUNDS {
            at += again;
            pieces.push(Piece::Waiting { rows: again, last: told[at - 1].number });
            continue;
        }
        let longest = LONGEST_ROUND.min(told.len() - at);
        let spared = |length: &usize| (rounds(at, *length) - 1) * length;
        // Of rounds that spare as much, the shortest.
        let length = (1..=longest).rev().max_by_key(spared).unwrap_or(1);
        let count = rounds(at, length);
        if count < FEWEST_ROUNDS {
            pieces.push(Piece::Told(&told[at]));
            at += 1;
            continue;
        }
        pieces.extend(told[at..at + length].iter().map(Piece::Told));
        at += length * count;
        pieces.push(Piece::Again { rounds: count - 1, last: told[at - 1].number });
    }
    pieces
}

struct Timeline<'a> {
    symbols: &'a Symbols,
    shared: Shared,
    cores: u8,
}

impl Timeline<'_> {
    /// The rows that say something, and the one that decides.
    fn told(&self, explanation: &Explanation, coloured: bool) -> Vec<Told> {
        let mut buffers: Vec<Vec<Stored>> = vec![Vec::new(); usize::from(self.cores)];
        let mut told = Vec::new();
        let mut read = HashSet::new();
        for (number, row) in explanation.rows.iter().enumerate() {
            let before = buffers.clone();
            if let Some(core) = row.core {
                buffers[core.index()].clone_from(&row.buffer);
            }
            let is_decisive = explanation.decisive == Some(number);
            if !is_decisive && !self.is_telling(row) {
                continue;
            }
            let cells = self.cells(row, &before).into_iter().map(|cell| self.in_column(row.core, &cell));
            let mut lines: Vec<String> = cells.collect();
            if is_decisive {
                lines = lines.iter().map(|line| paint(line, Colour::Bad, coloured)).collect();
                lines.push(paint(decision(explanation), Colour::Bad, coloured));
                if let Some(instead) = &explanation.instead {
                    let who = instead.core.map_or("a device".to_owned(), |core| core.to_string());
                    let cells = self.cells(instead, &before).join("; ");
                    lines.push(format!("  {}, had instead: {who}: {cells}", alternative(explanation)));
                }
            }
            let is_again = explanation.untold_rounds.is_some() && self.reads_again(row, &lines, &mut read);
            told.push(Told { number, lines, is_again });
        }
        told
    }

    /// Whether `row`, told in `lines`, does nothing but read what was `read` since something last happened.
    fn reads_again(&self, row: &Row, lines: &[String], read: &mut HashSet<Vec<String>>) -> bool {
        let mut told = row.effects.iter().filter(|effect| self.is_told(effect));
        if !told.all(|effect| matches!(effect, Effect::Load { .. })) {
            read.clear();
            return false;
        }
        !read.insert(lines.to_vec())
    }

    /// Where a core is that never comes to its end.
    fn place_of(&self, stuck: &Stuck) -> String {
        format!("{} at {}", stuck.core, self.place(stuck.pc, stuck.instruction.as_deref()))
    }

    /// A source line, or an address, and the instruction there.
    fn place(&self, pc: u64, instruction: Option<&str>) -> String {
        format!("{}  {}", place(self.symbols, pc), instruction.unwrap_or_default())
    }

    /// Whether a row says something about how the cores meet.
    fn is_telling(&self, row: &Row) -> bool {
        row.is_delayed || row.effects.iter().any(|effect| self.is_told(effect))
    }

    fn is_told(&self, effect: &Effect) -> bool {
        match effect {
            Effect::Load { .. } | Effect::Store { .. } | Effect::Drain { .. } => self.shared.has(effect),
            Effect::Fence
            | Effect::Device
            | Effect::Arrive
            | Effect::Interrupt
            | Effect::Enter { .. }
            | Effect::Return
            | Effect::Fault { .. }
            | Effect::Exception { .. }
            | Effect::Halt
            | Effect::Input { .. }
            | Effect::Pass
            | Effect::LeftOut { .. } => true,
            Effect::Finish => false,
        }
    }

    /// The lines of a row.
    fn cells(&self, row: &Row, before: &[Vec<Stored>]) -> Vec<String> {
        let mut cells = Vec::new();
        if let Some(pc) = row.pc {
            cells.push(self.place(pc, row.instruction.as_deref()));
        }
        // What an IRET reads besides is no part of the story.
        let ends_handler = row.effects.contains(&Effect::Return);
        let effects = row.effects.iter().filter(|effect| !ends_handler || self.is_told(effect));
        cells.extend(effects.map(|effect| self.effect(effect, row, before)));
        cells
    }

    fn effect(&self, effect: &Effect, row: &Row, before: &[Vec<Stored>]) -> String {
        let indent = if row.pc.is_some() { "  " } else { "" };
        match effect {
            Effect::Load { address, value, forwarded, .. } => {
                let whence = if *forwarded { ", its own, from the buffer" } else { "" };
                let mut text = format!("{indent}{} is {}{whence}", self.name(*address), shown(*value));
                for (core, buffer) in before.iter().enumerate() {
                    let is_other = row.core.is_some_and(|reader| reader.index() != core);
                    let pending = buffer.iter().filter(|it| is_other && it.address == *address);
                    let pending: Vec<String> = pending.map(|it| shown(it.value)).collect();
                    if !pending.is_empty() {
                        text += &format!(" (core {core} still keeps {})", pending.join(", then "));
                    }
                }
                text
            }
            Effect::Store { stored, buffered } => {
                let what = format!("{indent}{} = {}", self.name(stored.address), shown(stored.value));
                if *buffered { format!("{what}, buffered [{}]", self.buffer(row)) } else { what }
            }
            Effect::Drain { stored } => {
                let left = self.buffer(row);
                let rest = if left.is_empty() { String::new() } else { format!(", left [{left}]") };
                let late = if row.is_delayed { " (delayed)" } else { "" };
                format!("{indent}> {} = {} is visible now{late}{rest}", self.name(stored.address), shown(stored.value))
            }
            Effect::Fence => format!("{indent}fence"),
            Effect::Device => format!("{indent}reaches a device"),
            Effect::Arrive => format!("{indent}a posted write arrives"),
            Effect::Interrupt => format!("{indent}an interrupt comes before it: the handler is entered"),
            Effect::Enter { handled } => format!("{indent}{handled}: its handler is entered"),
            Effect::Return => format!("{indent}the handler has ended"),
            Effect::Finish => format!("{indent}is at its end"),
            Effect::Fault { fault } => format!("{indent}faults: {fault}"),
            Effect::Exception { vector } => format!("{indent}exception {vector}: the handler is entered"),
            Effect::Halt => format!("{indent}halts"),
            Effect::Input { byte: Some(byte) } => format!("`{}` comes from outside", byte.escape_ascii()),
            Effect::Input { byte: None } => "the mouse moves".into(),
            Effect::Pass => "every core waits: time goes on".into(),
            Effect::LeftOut { steps } => format!("... {} left out; --all tells all ...", counted(*steps, "step")),
        }
    }

    /// What is in the buffer after `row`, without the frame of an interrupt and what its handler has pushed.
    fn buffer(&self, row: &Row) -> String {
        let is_on_stack = |stored: &Stored| row.core.is_some_and(|core| self.shared.is_on_stack(core, stored));
        let entry = |stored: &Stored| format!("{}={}", self.name(stored.address), shown(stored.value));
        let mut entries: Vec<String> = row.buffer.iter().filter(|stored| !is_on_stack(stored)).map(entry).collect();
        if entries.len() > MOST_ENTRIES {
            let middle = MOST_ENTRIES / 2..entries.len() - MOST_ENTRIES / 2;
            let more = format!("... {} more ...", middle.len());
            entries.splice(middle, [more]);
        }
        entries.join(" ")
    }

    fn name(&self, address: u64) -> String {
        name(self.symbols, address)
    }

    fn in_column(&self, core: Option<CoreId>, cell: &str) -> String {
        let column = core.map_or(0, CoreId::index).min(usize::from(self.cores));
        format!("{}{cell}", " ".repeat(column * COLUMN))
    }
}

/// What the decisive row decides.
fn decision(explanation: &Explanation) -> &'static str {
    if explanation.violates {
        "^ from here on a violation cannot be avoided"
    } else {
        "^ from here on no other outcome can be reached that is no violation"
    }
}

/// What could still have been then.
fn alternative(explanation: &Explanation) -> &'static str {
    if explanation.violates { "it could" } else { "one could" }
}

/// The source line of the instruction at `pc`, or its address.
pub(in crate::cli) fn place(symbols: &Symbols, pc: u64) -> String {
    match symbols.place(pc) {
        Some((file, line)) => format!("{}:{line}", file.rsplit('/').next().unwrap_or(&file)),
        None => format!("{pc:#x}"),
    }
}

/// The last part of the name of what lies at `address`.
pub(super) fn name(symbols: &Symbols, address: u64) -> String {
    match symbols.locate(address).function {
        Some((name, offset)) => {
            let short = name.rsplit("::").next().unwrap_or(&name).to_owned();
            if offset == 0 { short } else { format!("{short}+{offset:#x}") }
        }
        None => format!("{address:#x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(texts: &[&str]) -> Vec<Told> {
        texts
            .iter()
            .enumerate()
            .map(|(number, text)| Told { number, lines: vec![(*text).into()], is_again: false })
            .collect()
    }

    #[test]
    fn equal_rounds_are_told_once() {
        let told = told(&["a", "b", "c", "b", "c", "b", "c", "b", "c", "b", "d"]);
        let pieces = folded(&told);
        let again = Piece::Again { rounds: 3, last: 8 };
        let expected = [0, 1, 2].map(|at| Piece::Told(&told[at])).into_iter().chain([again]);
        assert!(pieces.into_iter().eq(expected.chain([9, 10].map(|at| Piece::Told(&told[at])))));
    }

    #[test]
    fn of_cores_that_wait_by_turns_only_the_first_look_is_told() {
        let mut told = told(&["a", "b", "a", "a", "b", "a", "b", "c"]);
        told[2..7].iter_mut().for_each(|told| told.is_again = true);
        let pieces = folded(&told);
        let waiting = Piece::Waiting { rows: 5, last: 6 };
        let expected = [0, 1].map(|at| Piece::Told(&told[at])).into_iter().chain([waiting, Piece::Told(&told[7])]);
        assert!(pieces.into_iter().eq(expected));
    }

    #[test]
    fn what_is_left_out_lies_in_the_middle() {
        assert_eq!((middle(10, 4), middle(4, 4), middle(3, 4)), (2..8, 0..0, 0..0));
    }

    #[test]
    fn few_equal_rounds_are_told_one_by_one() {
        let told = told(&["a", "a", "a", "b", "a", "b", "a", "b"]);
        assert!(folded(&told).into_iter().eq(told.iter().map(Piece::Told)));
    }
}
