//! Guests: random bytes as code, and random instructions that mean harm, under every model and with all kinds of slices.

use super::instructions;
use crate::guest::elf_32;
use crate::random::Random;
use fencepost::devices::PhysAddr;
use fencepost::loader::Image;
use fencepost::machine::State;
use fencepost::memory_model::MemoryModel;
use fencepost::runner::Slices;
use fencepost::testbench::{Run, Testbench};

/// Steps of all cores together.
const STEPS: u64 = 20_000;
/// RAM in bytes: the least, so that stores often meet what matters.
const RAM: u64 = 2 << 20;

/// Bits of a page table entry that the processor itself sets.
const ACCESSED_AND_DIRTY: u8 = 0x60;

pub(super) fn case(seed: u64) -> Result<(), String> {
    let mut random = Random::new(seed);
    let image = image(&mut random);
    let model = random.pick(&MemoryModel::ALL);
    let slices = random.pick(&[
        Slices::AnyMagnitude,
        Slices::AnyMagnitude,
        Slices::Around(1),
        Slices::Around(10),
        Slices::Around(1000),
    ]);
    let cores = if random.one_in(8) { 1 + random.below(4) as u8 } else { 2 };
    let bench = Testbench::image(image).cores(cores).model(model).ram(RAM).slices(slices).seed(seed).max_steps(STEPS);
    let mut run = bench.clone().run().map_err(|error| format!("it does not start: {error}"))?;
    if has_changed_page_tables(&bench, &mut run) {
        // Translations that an engine has cached are not part of a machine's state (emu/src/core/engine.rs, known limits).
        return Ok(());
    }
    match random.below(8) {
        0 => compare(&run, replay(bench, &run)?, "its replay"),
        1 => compare(&run, replay(bench.trace(), &run)?, "its replay by the precise engine alone"),
        _ => Ok(()),
    }
}

fn image(random: &mut Random) -> Image {
    match random.below(8) {
        0 | 1 => {
            let length = 1 + random.index(4096);
            Image::from_flat("random bytes", random.bytes(length))
        }
        2 => {
            let length = 1 + random.index(4096);
            let code = random.bytes(length);
            Image::from_elf("random bytes", elf_32(&code)).expect("the header is right")
        }
        3 => {
            let code = instructions::blob(random);
            Image::from_elf("random instructions", elf_32(&code)).expect("the header is right")
        }
        _ => Image::from_flat("random instructions", instructions::blob(random)),
    }
}

fn replay(bench: Testbench, run: &Run) -> Result<Run, String> {
    let schedule = run.schedule().expect("it was recorded");
    let bench = bench.schedule(schedule).map_err(|error| error.to_string())?;
    bench.max_steps(u64::MAX).run().map_err(|error| error.to_string())
}

/// Whether the guest has written its page tables, or turned to others.
fn has_changed_page_tables(bench: &Testbench, run: &mut Run) -> bool {
    let mut start = bench.machine().expect("it has started before");
    let (before, after) = (start.state(), run.machine().state());
    let of = |state: &State| {
        let entries = state.memory.slice(PhysAddr(0x1_0000), 0x9_0000).expect("this is RAM").chunks(8);
        let tables: Vec<Vec<u8>> =
            entries.map(|entry| [&[entry[0] & !ACCESSED_AND_DIRTY], &entry[1..]].concat()).collect();
        let registers: Vec<_> = state.cores.iter().map(|core| (core.cpu.cr0, core.cpu.cr3, core.cpu.cr4)).collect();
        (tables, registers)
    };
    of(before) != of(after)
}

fn compare(run: &Run, again: Run, what: &str) -> Result<(), String> {
    let of = |run: &Run| (run.trace_hash(), run.steps(), run.stop());
    if of(run) == of(&again) {
        return Ok(());
    }
    Err(format!("{what} differs: {:x?}, and then {:x?}", of(run), of(&again)))
}
