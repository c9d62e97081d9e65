//! SIMD floating-point exceptions: what SSE instructions raise, and whether that interrupts (SDM 1 11.5; SDM 3A 6.15,
//! interrupt 19).
//!
//! The engine computes as if everything were masked, and tells what was raised. What it does not tell is found here from the
//! operands and the result: denormal operands, and results that are tiny but exact.
//! Left out: the denormal flag while its exception is masked, and in the products of DPPS and DPPD; an unmasked underflow or
//! overflow of an exact result has the precision flag, too; while all exceptions are masked, RCPPS, RSQRTPS and quiet rounding
//! set flags that they should not. And the engine's results: which of two NaNs it is, denormals that MINPS and MAXPS let through
//! although they are zeros (DAZ), what is flushed to zero although it rounds to the smallest normal number, and approximations
//! that are too good.

use super::cpu_state::CpuState;
use super::interruption::{Exception, vector};
use iced_x86::{Instruction, MemorySize, Mnemonic};

bitflags::bitflags! {
    /// Flags of MXCSR (SDM 1 10.2.3.1); their masks are 7 bits above.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(crate) struct Raised: u32 {
        const INVALID = 1;
        const DENORMAL = 1 << 1;
        const DIVISION_BY_ZERO = 1 << 2;
        const OVERFLOW = 1 << 3;
        const UNDERFLOW = 1 << 4;
        const PRECISION = 1 << 5;
    }
}

/// Found before anything is computed: of an unmasked one no result is known (SDM 1 11.5.2).
const PRE_COMPUTATION: Raised = Raised::INVALID.union(Raised::DENORMAL).union(Raised::DIVISION_BY_ZERO);
/// MXCSR.DAZ: denormal operands are zeros.
const DENORMALS_ARE_ZEROS: u32 = 1 << 6;
/// Bits of MXCSR that this processor does not have (SDM 1 11.6.6).
const RESERVED: u32 = !0xffff;
/// In the immediate byte of ROUNDPS and relatives: no precision exception.
const ROUNDS_QUIETLY: u8 = 1 << 3;
const CR4_OSXMMEXCPT: u64 = 1 << 10;

/// What the engine tells after an instruction.
pub(crate) struct Floats {
    /// What it has raised.
    pub(crate) raised: Raised,
    /// The registers after it.
    pub(crate) after: Box<CpuState>,
}

/// What an instruction has loaded: up to 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Loaded {
    pub(crate) value: u128,
    /// In bytes.
    pub(crate) length: usize,
}

/// What comes of what an instruction has raised.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Outcome {
    /// The flags that it sets.
    pub(crate) flags: Raised,
    /// The exception that it is then; nothing else of it takes effect.
    pub(crate) exception: Option<Exception>,
}

/// Whether MXCSR in `cpu`, which has just been loaded, is one that cannot be (SDM 2A, LDMXCSR).
pub(crate) fn is_reserved(cpu: &CpuState) -> bool {
    cpu.mxcsr & RESERVED != 0
}

/// Judges `instruction`, which has executed from `before`, and has `loaded` its source if that is in memory.
pub(crate) fn judge(instruction: &Instruction, before: &CpuState, loaded: Loaded, floats: &Floats) -> Outcome {
    let raised = raised(instruction, before, loaded, floats);
    let unmasked = raised & Raised::from_bits_truncate(!before.mxcsr >> 7);
    if unmasked.is_empty() {
        return Outcome { flags: raised, exception: None };
    }
    let vector = if before.cr4 & CR4_OSXMMEXCPT != 0 { vector::SIMD_FLOATING_POINT } else { vector::INVALID_OPCODE };
    let flags = if unmasked.intersects(PRE_COMPUTATION) { raised & PRE_COMPUTATION } else { raised };
    Outcome { flags, exception: Some(Exception::new(vector, 0)) }
}

/// All that `instruction` has raised.
fn raised(instruction: &Instruction, before: &CpuState, loaded: Loaded, floats: &Floats) -> Raised {
    use Mnemonic::*;
    let mut raised = floats.raised;
    match instruction.mnemonic() {
        Rcpps | Rcpss | Rsqrtps | Rsqrtss => return Raised::empty(),
        Roundps | Roundpd | Roundss | Roundsd if instruction.immediate8() & ROUNDS_QUIETLY != 0 => {
            raised.remove(Raised::PRECISION);
        }
        _ => (),
    }
    let Some(shape) = Shape::of(instruction) else { return raised };
    let is_masked = |flag: Raised| before.mxcsr >> 7 & flag.bits() != 0;
    if !is_masked(Raised::DENORMAL) && before.mxcsr & DENORMALS_ARE_ZEROS == 0 {
        let source = register(instruction.op1_register(), before).unwrap_or(loaded.value);
        let destination = register(instruction.op0_register(), before).unwrap_or(0);
        raised.set(Raised::DENORMAL, shape.meets_denormal(destination, source));
    }
    if !is_masked(Raised::UNDERFLOW) {
        let result = register(instruction.op0_register(), &floats.after).unwrap_or(0);
        raised |= if shape.is_tiny(result) { Raised::UNDERFLOW } else { Raised::empty() };
    }
    raised
}

/// What is in an XMM register.
fn register(register: iced_x86::Register, cpu: &CpuState) -> Option<u128> {
    let [low, high] = *cpu.xmm.get(register.number()).filter(|_| register.is_xmm())?;
    Some(u128::from(high) << 64 | u128::from(low))
}

/// What an instruction makes of its operands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Operation {
    /// Of each element of both, with the divisor in the source if it `divides`.
    Both { divides: bool },
    /// Of each two neighbours, in both.
    Neighbours,
    /// A square root of each element of the source.
    SquareRoot,
    /// Another format of each element of the source.
    Conversion,
}

/// An instruction whose denormal operands count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Shape {
    operation: Operation,
    /// Its operands' elements: so many.
    format: Format,
    count: usize,
    /// Its result's elements, if it can be tiny.
    result: Option<Format>,
}

impl Shape {
    fn of(instruction: &Instruction) -> Option<Shape> {
        use Mnemonic::*;
        let (operation, can_be_tiny) = match instruction.mnemonic() {
            Addps | Addpd | Addss | Addsd | Subps | Subpd | Subss | Subsd | Mulps | Mulpd | Mulss | Mulsd
            | Addsubps | Addsubpd | Dpps | Dppd => (Operation::Both { divides: false }, true),
            Divps | Divpd | Divss | Divsd => (Operation::Both { divides: true }, true),
            Minps | Minpd | Minss | Minsd | Maxps | Maxpd | Maxss | Maxsd | Cmpps | Cmppd | Cmpss | Comiss | Comisd
            | Ucomiss | Ucomisd => (Operation::Both { divides: false }, false),
            // A string instruction has the same name.
            Cmpsd if instruction.op0_register().is_xmm() => (Operation::Both { divides: false }, false),
            Haddps | Haddpd | Hsubps | Hsubpd => (Operation::Neighbours, true),
            Sqrtps | Sqrtpd | Sqrtss | Sqrtsd => (Operation::SquareRoot, false),
            Cvtps2pd | Cvtss2sd => (Operation::Conversion, false),
            Cvtpd2ps | Cvtsd2ss => (Operation::Conversion, true),
            _ => return None,
        };
        let (format, count) = match instruction.memory_size() {
            MemorySize::Float32 => (Format::SINGLE, 1),
            MemorySize::Float64 => (Format::DOUBLE, 1),
            MemorySize::Packed64_Float32 => (Format::SINGLE, 2),
            MemorySize::Packed128_Float32 => (Format::SINGLE, 4),
            MemorySize::Packed128_Float64 => (Format::DOUBLE, 2),
            _ => return None,
        };
        let result = if operation == Operation::Conversion { Format::SINGLE } else { format };
        Some(Shape { operation, format, count, result: can_be_tiny.then_some(result) })
    }

    /// Whether a denormal operand counts: it does not beside a NaN, nor where the operation is invalid or a division by zero
    /// (SDM 1 4.9.2).
    fn meets_denormal(self, destination: u128, source: u128) -> bool {
        let format = self.format;
        let [destination, source] = [destination, source].map(|from| move |index| format.element(from, index));
        let of_two =
            |a: u64, b: u64| (format.is_denormal(a) || format.is_denormal(b)) && !format.is_nan(a) && !format.is_nan(b);
        (0..self.count).any(|index| match self.operation {
            Operation::Both { divides } => {
                let (a, b) = (destination(index), source(index));
                of_two(a, b) && !(divides && format.is_zero(b))
            }
            Operation::Neighbours => {
                let next = index | 1;
                of_two(destination(index & !1), destination(next)) || of_two(source(index & !1), source(next))
            }
            Operation::SquareRoot => format.is_denormal(source(index)) && !format.is_negative(source(index)),
            Operation::Conversion => format.is_denormal(source(index)),
        })
    }

    /// Whether a result is denormal: that is underflow where it is not masked, even if exact (SDM 1 4.9.1.5).
    fn is_tiny(self, result: u128) -> bool {
        self.result.is_some_and(|format| (0..self.count).any(|index| format.is_denormal(format.element(result, index))))
    }
}

/// A floating-point format (SDM 1 4.2.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Format {
    bits: u32,
    fraction: u32,
}

impl Format {
    const SINGLE: Format = Format { bits: 32, fraction: 23 };
    const DOUBLE: Format = Format { bits: 64, fraction: 52 };

    fn element(self, from: u128, index: usize) -> u64 {
        (from >> (index as u32 * self.bits)) as u64 & (u64::MAX >> (64 - self.bits))
    }

    /// Without its sign.
    fn magnitude(self, value: u64) -> u64 {
        value & !(1 << (self.bits - 1))
    }

    fn is_negative(self, value: u64) -> bool {
        value >> (self.bits - 1) != 0
    }

    fn is_zero(self, value: u64) -> bool {
        self.magnitude(value) == 0
    }

    fn is_denormal(self, value: u64) -> bool {
        !self.is_zero(value) && self.magnitude(value) >> self.fraction == 0
    }

    fn is_nan(self, value: u64) -> bool {
        let infinity = (1 << (self.bits - 1)) - (1 << self.fraction);
        self.magnitude(value) > infinity
    }
}
