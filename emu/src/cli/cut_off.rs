//! What exploration has left out, in words: why, and at which instruction or because of which device.

use super::explore::place;
use fencepost::core::CoreId;
use fencepost::explorer::survey::Surveyor;
use fencepost::explorer::{Beyond, Cut, CutPlace};
use fencepost::loader::Symbols;
use serde::Serialize;

/// So many places are named for one reason.
const MOST_PLACES: usize = 8;

/// A place where exploration does not go on.
#[derive(Serialize)]
pub(super) struct CutOff {
    reason: Beyond,
    core: Option<CoreId>,
    /// Linear address of the instruction; `None` where none is to blame.
    pc: Option<u64>,
    function: Option<String>,
    file: Option<String>,
    line: Option<u32>,
    instruction: Option<String>,
    /// The device that does something by itself.
    device: Option<&'static str>,
    /// All of that for people.
    #[serde(skip)]
    text: String,
}

/// Names `places`.
pub(super) fn named(surveyor: &mut Surveyor, symbols: &Symbols, places: Vec<CutPlace>) -> Vec<CutOff> {
    places.into_iter().map(|place| CutOff::new(surveyor, symbols, place)).collect()
}

/// A line for each of `cuts`, or for each of the `places` that it is about.
pub(super) fn lines(cuts: &[String], places: &[CutOff]) -> Vec<String> {
    let mut lines = Vec::new();
    for cut in cuts {
        let of_cut: Vec<&CutOff> = places.iter().filter(|at| Cut::Beyond(at.reason).to_string() == *cut).collect();
        if of_cut.is_empty() {
            lines.push(cut.clone());
        }
        lines.extend(of_cut.iter().take(MOST_PLACES).map(|at| at.text.clone()));
        if of_cut.len() > MOST_PLACES {
            lines.push(format!("and at {} places more {cut}", of_cut.len() - MOST_PLACES));
        }
    }
    lines
}

impl CutOff {
    fn new(surveyor: &mut Surveyor, symbols: &Symbols, cut: CutPlace) -> CutOff {
        let CutPlace { reason, pc, core, device } = cut;
        let location = pc.map(|pc| symbols.locate(pc));
        let source = pc.and_then(|pc| symbols.place(pc));
        let (file, line) = source.map_or((None, None), |(file, line)| (Some(file), Some(line)));
        let function = location.and_then(|location| location.function).map(|(name, _)| name);
        let instruction = pc.and_then(|pc| surveyor.instruction_text(pc));
        let who = core.map_or("a core".into(), |core| core.to_string());
        let text = match (pc, device) {
            (Some(pc), _) => {
                let mut text = format!("{who} {reason} at {}", place(symbols, pc));
                text += &function.as_ref().map_or(String::new(), |name| format!(" in {name}"));
                text += &instruction.as_ref().map_or(String::new(), |instruction| format!(", {instruction}"));
                text
            }
            (None, Some(device)) => {
                let whose = core.map_or(String::new(), |core| format!(" of {core}"));
                format!("a device does things by itself: {device}{whose}")
            }
            (None, None) => format!("{who} {reason}"),
        };
        CutOff { reason, core, pc, function, file, line, instruction, device, text }
    }
}
