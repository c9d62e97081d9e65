//! Random programs that are small, and likely to be interesting.

use super::program::{Fence, Instruction, Operation, Program, Register, Spot};
use crate::random::Random;

/// What the accesses of a program look like.
#[derive(Clone, Copy)]
enum Style {
    /// Aligned quadwords: the classic tests.
    Quadwords,
    /// Any sizes within one quadword.
    Mixed,
    /// Any sizes around a border of two quadwords, mostly that of two cache lines.
    Borders,
}

/// The program of `seed`.
pub fn generate(seed: u64) -> Program {
    let mut random = Random::new(seed);
    match random.below(8) {
        0 | 1 => return passing(&mut random),
        2 => return joining(&mut random),
        _ => (),
    }
    let style = random.pick(&[Style::Quadwords, Style::Quadwords, Style::Mixed, Style::Mixed, Style::Borders]);
    let variables = random.pick(&[1, 2, 2, 2, 3]);
    let threads = random.pick(&[2, 2, 3]);
    let longest = match (threads, style) {
        (2, Style::Quadwords | Style::Mixed) => 4,
        (2, Style::Borders) | (_, Style::Quadwords | Style::Mixed) => 3,
        (_, Style::Borders) => 2,
    };
    let thread = |random: &mut Random| {
        let length = 1 + random.index(longest);
        (0..length).map(|_| instruction(random, style, variables)).collect()
    };
    Program {
        threads: (0..threads).map(|_| thread(&mut random)).collect(),
        registers: (0..threads).map(|_| registers(&mut random)).collect(),
    }
}

/// Two stores, one after the other, and two loads that may see them the other way round, with something in between: what
/// any two instructions seldom make.
fn passing(random: &mut Random) -> Program {
    let [first, second] = [0, 1].map(|variable| Spot { variable, offset: 0, size: random.pick(&[4, 8]) });
    let between = |random: &mut Random| match random.below(6) {
        0 => Vec::new(),
        1..=3 => vec![Instruction::Fence(random.pick(&[Fence::Sfence, Fence::Sfence, Fence::Mfence, Fence::Lfence]))],
        _ => vec![instruction(random, Style::Mixed, 3)],
    };
    let store = |random: &mut Random, spot: Spot| match random.below(3) {
        0 => Instruction::StoreImmediate(spot, immediate(random, spot.size)),
        1 => Instruction::Store(spot, Register::Rbx),
        _ => Instruction::StoreNonTemporal(spot, Register::Rbx),
    };
    let writer = [vec![store(random, first)], between(random), vec![store(random, second)]].concat();
    let loads = [Instruction::Load(second, Register::Rax), Instruction::Load(first, Register::Rcx)];
    let reader = if random.one_in(4) { [&loads[..1], &between(random), &loads[1..]].concat() } else { loads.to_vec() };
    Program { threads: vec![writer, reader], registers: (0..2).map(|_| registers(random)).collect() }
}

/// Stores to parts of a quadword, perhaps something between them, and a load of more than one part, which may or may not wait
/// until they have been seen: what any instructions seldom make.
fn joining(random: &mut Random) -> Program {
    let whole = random.pick(&[2, 4, 8]);
    let [joined, other] = [0, 1].map(|variable| Spot { variable, offset: 0, size: whole });
    let part = |random: &mut Random| {
        let size = random.pick(&[1, whole / 2, whole / 2, whole]);
        Spot { variable: 0, offset: random.index(whole / size) * size, size }
    };
    let mut writer = Vec::new();
    for _ in 0..2 + random.index(2) {
        let spot = part(random);
        writer.push(match random.below(6) {
            0 if spot.size >= 4 => Instruction::StoreNonTemporal(spot, Register::Rbx),
            1 => Instruction::Store(spot, Register::Rbx),
            2 if writer.len() == 1 => Instruction::Fence(random.pick(&[Fence::Sfence, Fence::Lfence])),
            3 if writer.len() == 1 => Instruction::StoreImmediate(Spot { variable: 2, ..other }, 1),
            _ => Instruction::StoreImmediate(spot, immediate(random, spot.size)),
        });
    }
    writer.extend([Instruction::Load(joined, Register::Rax), Instruction::Load(other, Register::Rcx)]);
    let seen = Spot { size: 8, ..joined };
    let reader = vec![
        Instruction::StoreImmediate(other, 1),
        Instruction::Fence(Fence::Mfence),
        Instruction::Load(seen, Register::Rax),
    ];
    Program { threads: vec![writer, reader], registers: (0..2).map(|_| registers(random)).collect() }
}

fn registers(random: &mut Random) -> [u64; 3] {
    // rax is often what CMPXCHG finds.
    [random.pick(&[0, 0, 1, 0x0101, 0x1_0000_0001]), 1 + random.below(3) * 0x0101_0101_0101_0101, 0x2122_2324_2526_2728]
}

fn instruction(random: &mut Random, style: Style, variables: usize) -> Instruction {
    let spot = spot(random, style, variables);
    let register = random.pick(&Register::ALL);
    match random.below(20) {
        0..=5 => Instruction::Load(spot, register),
        6..=9 => Instruction::StoreImmediate(spot, immediate(random, spot.size)),
        10..=11 => Instruction::Store(spot, register),
        12..=13 => {
            let size = if spot.size < 4 { 4 } else { spot.size };
            let offset = if matches!(style, Style::Borders) { spot.offset.min(64) } else { spot.offset.min(8 - size) };
            Instruction::StoreNonTemporal(Spot { size, offset, ..spot }, register)
        }
        14 => Instruction::Fence(Fence::Mfence),
        15 => Instruction::Fence(random.pick(&[Fence::Sfence, Fence::Sfence, Fence::Lfence])),
        16..=17 => Instruction::Modify { spot, operation: operation(random, spot.size), is_locked: false },
        _ => Instruction::Modify { spot, operation: operation(random, spot.size), is_locked: true },
    }
}

fn operation(random: &mut Random, size: usize) -> Operation {
    let (value, register) = (immediate(random, size), random.pick(&Register::ALL));
    random.pick(&[
        Operation::Add(value),
        Operation::Or(value),
        Operation::Xor(value),
        Operation::Inc,
        Operation::Not,
        Operation::Xadd(register),
        Operation::Cmpxchg(register),
        Operation::Xchg(register),
    ])
}

/// A number that is positive in `size` bytes.
fn immediate(random: &mut Random, size: usize) -> u32 {
    let value = random.pick(&[1, 2, 3, 0x0101, 0x0203, 0x0102_0304, 0x0505_0505]);
    if size == 1 {
        value & 0x7f
    } else if size == 2 {
        value & 0x7fff
    } else {
        value
    }
}

fn spot(random: &mut Random, style: Style, variables: usize) -> Spot {
    let variable = random.index(variables);
    let size = random.pick(&[1, 2, 4, 8]);
    match style {
        Style::Quadwords => Spot { variable, offset: 0, size: 8 },
        Style::Mixed => Spot { variable, offset: random.index(8 - size + 1), size },
        Style::Borders => {
            let border = random.pick(&[64, 64, 8]);
            Spot { variable, offset: border - random.index(size + 1), size }
        }
    }
}
