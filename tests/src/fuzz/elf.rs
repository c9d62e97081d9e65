//! Executables with errors: bits flipped, header fields changed, cut short; those that still load are started.

use crate::random::Random;
use fencepost::loader::Image;
use fencepost::programs::Program;
use fencepost::testbench::Testbench;

/// Steps for one that starts: enough to get through its start code.
const STEPS: u64 = 2000;

/// Where an ELF64 file's header ends and its program headers begin, and the size of one (ELF specification, chapter 1).
const HEADER: usize = 64;
const PROGRAM_HEADER: usize = 56;

/// Fields of the file's header: offset and width in bytes.
const FIELDS: [(usize, usize); 13] =
    [(4, 1), (5, 1), (16, 2), (18, 2), (24, 8), (32, 8), (40, 8), (52, 2), (54, 2), (56, 2), (58, 2), (60, 2), (62, 2)];
/// Fields of a program header.
const PROGRAM_FIELDS: [(usize, usize); 8] = [(0, 4), (4, 4), (8, 8), (16, 8), (24, 8), (32, 8), (40, 8), (48, 8)];

pub(super) fn case(seed: u64) -> Result<(), String> {
    let mut random = Random::new(seed);
    let program = &fencepost::programs::all()[random.index(fencepost::programs::all().len())];
    let file = broken(program, &mut random);
    let Ok(image) = Image::from_elf("broken", file) else { return Ok(()) };
    let symbols = image.symbols();
    for symbol in symbols.all().iter().take(3) {
        symbols.locate(symbol.address);
        symbols.find(&symbol.name);
    }
    symbols.locate(image.entry());
    symbols.locate(random.limit());
    // What does not fit into RAM is refused here.
    let _ = Testbench::image(image).seed(seed).max_steps(STEPS).run();
    Ok(())
}

fn broken(program: &Program, random: &mut Random) -> Vec<u8> {
    let mut file = program.image.to_vec();
    for _ in 0..=random.below(4) {
        match random.below(8) {
            0 => flip(&mut file, 1 << 20, random),
            1 => flip(&mut file, HEADER + 6 * PROGRAM_HEADER, random),
            2 => flip(&mut file, HEADER, random),
            3 => file.truncate(random.index(file.len() + 1)),
            4 => {
                let (offset, width) = random.pick(&FIELDS);
                put(&mut file, offset, width, random);
            }
            5 | 6 => {
                let header = HEADER + PROGRAM_HEADER * random.index(6);
                let (offset, width) = random.pick(&PROGRAM_FIELDS);
                put(&mut file, header + offset, width, random);
            }
            _ => splice(&mut file, random),
        }
    }
    file
}

/// Flips up to 8 bits among the first `length` bytes.
fn flip(file: &mut [u8], length: usize, random: &mut Random) {
    let length = length.min(file.len());
    if length == 0 {
        return;
    }
    for _ in 0..=random.below(8) {
        file[random.index(length)] ^= 1 << random.below(8);
    }
}

/// Overwrites a field with a limit, or with something near what it was.
fn put(file: &mut [u8], offset: usize, width: usize, random: &mut Random) {
    let Some(field) = file.get_mut(offset..offset + width) else { return };
    let mut old = [0; 8];
    old[..width].copy_from_slice(field);
    let old = u64::from_le_bytes(old);
    let new = match random.below(3) {
        0 => old.wrapping_add(random.below(9)).wrapping_sub(4),
        1 => old.wrapping_add(random.limit()),
        _ => random.limit(),
    };
    field.copy_from_slice(&new.to_le_bytes()[..width]);
}

/// Copies a stretch of the file over another.
fn splice(file: &mut [u8], random: &mut Random) {
    if file.is_empty() {
        return;
    }
    let within = if random.one_in(2) { file.len().min(HEADER + 6 * PROGRAM_HEADER) } else { file.len() };
    let (from, to) = (random.index(within), random.index(within));
    let length = (1 + random.index(64)).min(within - from).min(within - to);
    file.copy_within(from..from + length, to);
}
