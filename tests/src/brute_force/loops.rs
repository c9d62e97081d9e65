//! Random programs with branches and loops whose states are finitely many.
//!
//! Two rules see to that. Values come from a few bits by instructions that add none (no ADD, INC or XADD). And a loop that stores goes
//! back to an instruction that waits for an empty buffer: every circle passes a jump back over each of its instructions, so
//! that no buffer grows for ever.

use super::program::{Condition, Fence, Instruction, Operation, Program, Register, Spot};
use crate::random::Random;

/// Values that are stored and compared with.
const VALUES: [u32; 4] = [0, 1, 1, 2];

/// The program with branches and loops of `seed`.
pub fn generate_loops(seed: u64) -> Program {
    let mut random = Random::new(seed);
    let threads = random.pick(&[2, 2, 2, 3]);
    let variables = random.pick(&[1, 2, 2, 3]);
    let pieces = if threads == 2 { 3 } else { 2 };
    let mut codes: Vec<Vec<Instruction>> = vec![Vec::new(); threads];
    for thread in 0..threads {
        for _ in 0..1 + random.index(pieces) {
            if random.one_in(3) {
                wait(&mut random, variables, &mut codes, thread);
            } else {
                piece(&mut random, variables, &mut codes[thread]);
            }
        }
    }
    for code in &mut codes {
        for _ in 0..random.pick(&[0, 0, 0, 1, 1, 2]) {
            jump_anywhere(&mut random, code);
        }
        bound_buffers(code);
    }
    let registers = (0..threads).map(|_| [0, 1, 2].map(|_| u64::from(random.pick(&VALUES)))).collect();
    Program { threads: codes, registers }
}

/// Waits for a value, which another thread is likely to store.
fn wait(random: &mut Random, variables: usize, codes: &mut [Vec<Instruction>], thread: usize) {
    let (spot, register, value) = (spot(random, variables), random.pick(&Register::ALL), random.pick(&VALUES));
    let start = codes[thread].len();
    codes[thread].push(Instruction::Load(spot, register));
    codes[thread].push(Instruction::Jump { register, value, condition: Condition::NotEqual, to: start });
    if !random.one_in(5) {
        let other = (thread + 1 + random.index(codes.len() - 1)) % codes.len();
        codes[other].push(Instruction::StoreImmediate(spot, value));
    }
}

/// Adds a few instructions that belong together, or one that does not.
fn piece(random: &mut Random, variables: usize, code: &mut Vec<Instruction>) {
    let (spot, register, start) = (spot(random, variables), random.pick(&Register::ALL), code.len());
    match random.below(8) {
        // Tries again until a locked instruction finds what it wants.
        0 => {
            let operation = exchange(random, spot.size);
            code.push(Instruction::Modify { spot, operation, is_locked: true });
            let register = if let Operation::Xchg(register) = operation { register } else { Register::Rax };
            code.push(jump(random, register, start));
        }
        // Leaves something out, depending on what it has read.
        1..=2 => {
            let length = 1 + random.index(2);
            code.push(Instruction::Load(spot, register));
            code.push(jump(random, register, start + 2 + length));
            code.extend((0..length).map(|_| single(random, variables)));
        }
        _ => code.push(single(random, variables)),
    }
}

fn jump(random: &mut Random, register: Register, to: usize) -> Instruction {
    let condition = random.pick(&[Condition::Equal, Condition::NotEqual]);
    Instruction::Jump { register, value: random.pick(&VALUES), condition, to }
}

/// Puts a jump from anywhere to anywhere into `code`, itself included.
fn jump_anywhere(random: &mut Random, code: &mut Vec<Instruction>) {
    let (at, to, register) = (random.index(code.len() + 1), random.index(code.len() + 2), random.pick(&Register::ALL));
    let condition = random.pick(&[Condition::Equal, Condition::Equal, Condition::NotEqual, Condition::Always]);
    shift_targets(code, at);
    code.insert(at, Instruction::Jump { register, value: random.pick(&VALUES), condition, to });
}

/// Makes every loop that stores go back to an instruction that waits for an empty buffer.
fn bound_buffers(code: &mut Vec<Instruction>) {
    let unbounded = |code: &[Instruction]| {
        code.iter().enumerate().find_map(|(at, instruction)| match *instruction {
            Instruction::Jump { to, .. } if to <= at && code[to..at].iter().any(fills) && !drains(&code[to]) => {
                Some(to)
            }
            _ => None,
        })
    };
    while let Some(to) = unbounded(code) {
        shift_targets(code, to);
        code.insert(to, Instruction::Fence(Fence::Mfence));
    }
}

/// Makes room for one more instruction at `at`, to which jumps to `at` go.
fn shift_targets(code: &mut [Instruction], at: usize) {
    for instruction in code {
        if let Instruction::Jump { to, .. } = instruction
            && *to > at
        {
            *to += 1;
        }
    }
}

/// Whether it leaves something in the store buffer.
fn fills(instruction: &Instruction) -> bool {
    match instruction {
        Instruction::StoreImmediate(..) | Instruction::Store(..) | Instruction::StoreNonTemporal(..) => true,
        Instruction::Fence(fence) => *fence == Fence::Sfence,
        Instruction::Modify { .. } => !drains(instruction),
        Instruction::Load(..) | Instruction::Jump { .. } => false,
    }
}

/// Whether it waits for an empty store buffer.
fn drains(instruction: &Instruction) -> bool {
    match instruction {
        Instruction::Fence(fence) => *fence == Fence::Mfence,
        Instruction::Modify { operation, is_locked, .. } => *is_locked || matches!(operation, Operation::Xchg(_)),
        Instruction::Load(..)
        | Instruction::StoreImmediate(..)
        | Instruction::Store(..)
        | Instruction::StoreNonTemporal(..)
        | Instruction::Jump { .. } => false,
    }
}

/// An instruction that adds no bits to those that there are.
fn single(random: &mut Random, variables: usize) -> Instruction {
    let (spot, register) = (spot(random, variables), random.pick(&Register::ALL));
    match random.below(16) {
        0..=3 => Instruction::Load(spot, register),
        4..=7 => Instruction::StoreImmediate(spot, random.pick(&VALUES)),
        8..=9 => Instruction::Store(spot, register),
        10 => Instruction::StoreNonTemporal(spot, register),
        11 => Instruction::Fence(random.pick(&[Fence::Mfence, Fence::Mfence, Fence::Sfence, Fence::Lfence])),
        12..=13 => Instruction::Modify { spot, operation: exchange(random, spot.size), is_locked: true },
        _ => {
            let value = random.pick(&VALUES);
            let operation = random.pick(&[Operation::Or(value), Operation::Xor(value)]);
            Instruction::Modify { spot, operation, is_locked: random.one_in(2) }
        }
    }
}

/// CMPXCHG of four bytes is a known gap of the engine.
fn exchange(random: &mut Random, size: usize) -> Operation {
    let register = random.pick(&Register::ALL);
    if size == 8 && random.one_in(2) { Operation::Cmpxchg(register) } else { Operation::Xchg(register) }
}

fn spot(random: &mut Random, variables: usize) -> Spot {
    let variable = random.index(variables);
    if random.one_in(5) {
        Spot { variable, offset: random.pick(&[0, 4]), size: 4 }
    } else {
        Spot { variable, offset: 0, size: 8 }
    }
}
