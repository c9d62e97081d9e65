//! The explorer and the brute force on the same program.

use super::enumerate::{Ends, Hang, enumerate, name};
use super::generate::{Gaps, generate};
use super::guest::{Guest, address, guest};
use super::program::{Program, REGISTERS, VARIABLES};
use crate::brute_force::Model;
use fencepost::core::CoreId;
use fencepost::devices::PhysAddr;
use fencepost::explorer::region::Region;
use fencepost::explorer::survey::Surveyor;
use fencepost::explorer::{End, Explored, Explorer, Limits};
use fencepost::machine::{DEEPEST, Machine, Settings};
use fencepost::memory_model::MemoryModel;
use std::collections::BTreeSet;

/// The most states on the way of the brute force; a program with more is left out, and counted.
const MOST: usize = 15_000;
/// RAM in bytes: the least.
const RAM: u64 = 2 << 20;
/// More steps than any program here takes before its region.
const LONGEST_BEFORE: u64 = 100_000;
/// Where r8 is among the registers.
const R8: usize = 8;

/// What came of a comparison in which nothing differs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Compared {
    /// They agree, under each model.
    Agree {
        /// How many final states there are under the weakest.
        finals: usize,
        /// Whether it can hang under the weakest.
        hang: Option<Hang>,
    },
    /// It has too many states.
    TooLarge,
}

/// Compares the program of `seed`, which may have so much.
///
/// # Errors
/// They do not agree: how, and the program.
pub fn compare(seed: u64, with: Gaps) -> Result<Compared, String> {
    let program = generate(seed, with);
    compare_program(&program).map_err(|problem| format!("seed {seed} {problem}\n{program}"))
}

/// Compares `program`.
///
/// # Errors
/// They do not agree: how.
pub fn compare_program(program: &Program) -> Result<Compared, String> {
    let models = [(Model::Sc, MemoryModel::SC), (Model::Tso, MemoryModel::TSO), (Model::Pso, MemoryModel::PSO)];
    let expected: Option<Vec<Ends>> = models.iter().map(|(model, _)| enumerate(program, *model, MOST)).collect();
    let Some(expected) = expected else { return Ok(Compared::TooLarge) };
    let guest = guest(program).map_err(|error| error.to_string())?;
    let mut surveyor = surveyor(program, &guest)?;
    for ((_, model), expected) in models.into_iter().zip(&expected) {
        compare_under(model, &mut surveyor, &guest, program, expected)
            .map_err(|problem| format!("under {model}: {problem}"))?;
    }
    let weakest = expected.last().expect("there are models");
    Ok(Compared::Agree { finals: weakest.finals.len(), hang: weakest.hang })
}

fn surveyor(program: &Program, guest: &Guest) -> Result<Surveyor, String> {
    let settings = Settings {
        cores: program.cores.len() as u8,
        ram_bytes: RAM,
        depth: DEEPEST as usize,
        wc_depth: DEEPEST as usize,
        ..Settings::default()
    };
    let machine = Machine::new(&guest.image, settings.clone()).map_err(|error| error.to_string())?;
    let region = Region::find(machine, LONGEST_BEFORE, None).map_err(|error| error.to_string())?;
    Surveyor::new(guest.image.clone(), settings, region).map_err(|error| error.to_string())
}

fn compare_under(
    model: MemoryModel,
    surveyor: &mut Surveyor,
    guest: &Guest,
    program: &Program,
    expected: &Ends,
) -> Result<(), String> {
    let (explorer, start) = surveyor.explorer();
    let explored = explorer.explore(start, model, &Limits::default());
    if !explored.is_complete() {
        return Err(format!("the explorer leaves something out: {:?}", explored.cuts()));
    }
    let mut found = BTreeSet::new();
    for index in 0..explored.finals().len() {
        let (end, stop) = (explorer.end_of(&explored, index), explored.finals()[index].stop());
        if end != End::Over || stop.is_some() {
            return Err(format!("an end is {end:?}, {stop:?}"));
        }
        found.insert(final_name(explorer, &explored, index, guest, program)?);
    }
    let more: Vec<_> = found.difference(&expected.finals).collect();
    let less: Vec<_> = expected.finals.difference(&found).collect();
    if !more.is_empty() || !less.is_empty() {
        return Err(format!("the explorer alone has {more:#?}, the brute force alone has {less:#?}"));
    }
    let found = explorer.hangs(start, &explored, &Limits::default());
    if found.is_late || !found.unsettled.is_empty() && expected.hang != Some(Hang::UnlessOpened) {
        return Err(format!("the explorer does not settle who waits for ever: {:?}", found.unsettled));
    }
    let hangs = found.proven;
    let places: Vec<&str> = hangs.iter().map(|hang| hang.whereabouts.as_str()).collect();
    match expected.hang {
        None if !hangs.is_empty() => Err(format!("only the explorer finds a hang: {places:?}")),
        Some(kind @ (Hang::Certain | Hang::Storm)) if hangs.is_empty() => {
            Err(format!("only the brute force finds a hang, which is {kind:?}"))
        }
        None | Some(Hang::Certain | Hang::Storm | Hang::UnlessOpened) => Ok(()),
    }
}

/// A final state of the explorer's as the brute force shows it.
fn final_name(
    explorer: &Explorer,
    explored: &Explored,
    index: usize,
    guest: &Guest,
    program: &Program,
) -> Result<String, String> {
    let mut memory = [0; VARIABLES];
    for (variable, value) in memory.iter_mut().enumerate() {
        let mut bytes = [0; 4];
        explorer.final_memory(explored, index, PhysAddr(address(variable)), &mut bytes);
        *value = u32::from_le_bytes(bytes);
    }
    let cores = (0..program.cores.len()).map(|core| {
        let cpu = explorer.final_registers(explored, index, CoreId(core as u8));
        let place = guest.place(cpu.rip).ok_or_else(|| format!("core {core} ends at {:#x}", cpu.rip))?;
        let mut registers = [0; REGISTERS];
        for (at, register) in registers.iter_mut().enumerate() {
            *register = cpu.gpr[R8 + at] as u32;
        }
        Ok((place, registers))
    });
    let cores: Vec<((usize, usize), [u32; REGISTERS])> = cores.collect::<Result<_, String>>()?;
    Ok(name(cores.iter().map(|(place, registers)| (*place, registers)), &memory))
}
