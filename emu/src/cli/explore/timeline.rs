//! A way to an outcome as a picture in text: one column per core, time downwards.

use crate::cli::colour::{Colour, paint};
use fencepost::core::CoreId;
use fencepost::explorer::explain::{Effect, Explanation, Row, Stored};
use fencepost::loader::Symbols;
use std::collections::HashMap;

/// The width of a core's column, in characters.
const COLUMN: usize = 44;

/// The lines that tell `explanation`.
pub(super) fn lines(explanation: &Explanation, symbols: &Symbols, cores: u8, coloured: bool) -> Vec<String> {
    let timeline = Timeline { symbols, shared: shared(explanation), cores };
    let mut buffers: Vec<Vec<Stored>> = vec![Vec::new(); usize::from(cores)];
    let head: String = (0..cores).map(|core| format!("{:COLUMN$}", CoreId(core).to_string())).collect();
    let mut lines = vec![paint(format!("      {head}").trim_end(), Colour::Faint, coloured)];
    for (index, row) in explanation.rows.iter().enumerate() {
        let before = buffers.clone();
        if let Some(core) = row.core {
            buffers[core.index()].clone_from(&row.buffer);
        }
        let is_decisive = explanation.decisive == Some(index);
        if !is_decisive && !timeline.is_telling(row) {
            continue;
        }
        for (number, cell) in timeline.cells(row, &before).into_iter().enumerate() {
            let margin = if number == 0 { format!("{:>4}  ", index + 1) } else { "      ".into() };
            let line = format!("{margin}{}", timeline.in_column(row.core, &cell));
            let colour = is_decisive.then_some(Colour::Bad);
            lines.push(colour.map_or(line.clone(), |colour| paint(&line, colour, coloured)));
        }
        if is_decisive {
            lines.push(paint("      ^ from here on it cannot be avoided", Colour::Bad, coloured));
            if let Some(instead) = &explanation.instead {
                let who = instead.core.map_or("a device".to_owned(), |core| core.to_string());
                let cells = timeline.cells(instead, &before).join("; ");
                lines.push(format!("        it could, had instead: {who}: {cells}"));
            }
        }
    }
    lines
}

struct Timeline<'a> {
    symbols: &'a Symbols,
    /// Which cores touch each address.
    shared: HashMap<u64, u64>,
    cores: u8,
}

/// Bit sets of the cores that touch each address.
fn shared(explanation: &Explanation) -> HashMap<u64, u64> {
    let mut shared: HashMap<u64, u64> = HashMap::new();
    for row in &explanation.rows {
        let Some(core) = row.core else { continue };
        for address in row.effects.iter().filter_map(address_of) {
            *shared.entry(address & !7).or_default() |= 1 << core.0;
        }
    }
    shared
}

fn address_of(effect: &Effect) -> Option<u64> {
    match effect {
        Effect::Load { address, .. } => Some(*address),
        Effect::Store { stored, .. } | Effect::Drain { stored } => Some(stored.address),
        Effect::Fence | Effect::Device | Effect::Arrive | Effect::Finish | Effect::Fault => None,
    }
}

impl Timeline<'_> {
    /// Whether a row says something about how the cores meet.
    fn is_telling(&self, row: &Row) -> bool {
        row.effects.iter().any(|effect| match address_of(effect) {
            Some(address) => self.shared.get(&(address & !7)).is_some_and(|cores| cores.count_ones() > 1),
            None => *effect != Effect::Finish,
        })
    }

    /// The lines of a row.
    fn cells(&self, row: &Row, before: &[Vec<Stored>]) -> Vec<String> {
        let mut cells = Vec::new();
        if let Some(pc) = row.pc {
            let place = self.symbols.place(pc).map(|(file, line)| {
                let short = file.rsplit('/').next().unwrap_or(&file).to_owned();
                format!("{short}:{line}")
            });
            let instruction = row.instruction.clone().unwrap_or_default();
            cells.push(format!("{}  {instruction}", place.unwrap_or_else(|| format!("{pc:#x}"))));
        }
        for effect in &row.effects {
            cells.push(self.effect(effect, row, before));
        }
        cells
    }

    fn effect(&self, effect: &Effect, row: &Row, before: &[Vec<Stored>]) -> String {
        let indent = if row.pc.is_some() { "  " } else { "" };
        match effect {
            Effect::Load { address, value, forwarded, .. } => {
                let whence = if *forwarded { ", its own, from the buffer" } else { "" };
                let mut text = format!("{indent}{} is {value}{whence}", self.name(*address));
                for (core, buffer) in before.iter().enumerate() {
                    let is_other = row.core.is_some_and(|reader| reader.index() != core);
                    let pending = buffer.iter().filter(|it| is_other && it.address == *address);
                    let pending: Vec<String> = pending.map(|it| it.value.to_string()).collect();
                    if !pending.is_empty() {
                        text += &format!(" (core {core} still keeps {})", pending.join(", then "));
                    }
                }
                text
            }
            Effect::Store { stored, buffered } => {
                let what = format!("{indent}{} = {}", self.name(stored.address), stored.value);
                if *buffered { format!("{what}, buffered {}", self.buffer(&row.buffer)) } else { what }
            }
            Effect::Drain { stored } => {
                let rest =
                    if row.buffer.is_empty() { String::new() } else { format!(", left {}", self.buffer(&row.buffer)) };
                format!("{indent}> {} = {} is visible now{rest}", self.name(stored.address), stored.value)
            }
            Effect::Fence => format!("{indent}fence"),
            Effect::Device => format!("{indent}reaches a device"),
            Effect::Arrive => format!("{indent}a posted write arrives"),
            Effect::Finish => format!("{indent}is at its end"),
            Effect::Fault => format!("{indent}faults"),
        }
    }

    fn buffer(&self, buffer: &[Stored]) -> String {
        let entries: Vec<String> =
            buffer.iter().map(|stored| format!("{}={}", self.name(stored.address), stored.value)).collect();
        format!("[{}]", entries.join(" "))
    }

    fn name(&self, address: u64) -> String {
        name(self.symbols, address)
    }

    fn in_column(&self, core: Option<CoreId>, cell: &str) -> String {
        let column = core.map_or(0, CoreId::index).min(usize::from(self.cores));
        format!("{}{cell}", " ".repeat(column * COLUMN))
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
