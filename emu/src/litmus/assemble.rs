//! Machine code from the text of instructions.
//!
//! Nothing here knows single instructions: every encoding that iced-x86 has for a mnemonic is tried with the operands given,
//! and the shortest one that fits is taken, as assemblers do.

use super::instruction::{Memory, Operand, Parsed};
use iced_x86::{
    BlockEncoder, BlockEncoderOptions, Code, CodeSize, Encoder, Instruction, InstructionBlock, MemoryOperand, Mnemonic,
    OpCodeOperandKind, OpKind, Register,
};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

/// Mnemonics by their lower-case names, with every 64-bit legacy encoding of each.
static ENCODINGS: LazyLock<HashMap<String, Vec<Code>>> = LazyLock::new(|| {
    let mut encodings: HashMap<String, Vec<Code>> = HashMap::new();
    let is_usable = |code: &Code| {
        let info = code.op_code();
        info.mode64() && info.encoding() == iced_x86::EncodingKind::Legacy && info.is_instruction()
    };
    for code in Code::values().filter(is_usable) {
        encodings.entry(format!("{:?}", code.mnemonic()).to_lowercase()).or_default().push(code);
    }
    encodings
});

/// Other names of conditions (SDM 2A, Jcc).
const CONDITIONS: [(&str, &str); 14] = [
    ("z", "e"),
    ("nz", "ne"),
    ("c", "b"),
    ("nc", "ae"),
    ("nae", "b"),
    ("nb", "ae"),
    ("na", "be"),
    ("nbe", "a"),
    ("nge", "l"),
    ("nl", "ge"),
    ("ng", "le"),
    ("nle", "g"),
    ("pe", "p"),
    ("po", "np"),
];

/// A mnemonic and the operand sizes its suffixes ask for, in bytes.
pub(super) struct Named {
    encodings: &'static [Code],
    /// Of the source, where the operands differ in size.
    size: Option<usize>,
    /// Of the register that is written, where the operands differ in size.
    register: Option<usize>,
}

/// The mnemonic that `parsed` has; `None` if there is none.
pub(super) fn named(parsed: &Parsed) -> Option<Named> {
    let name = parsed.mnemonic.as_str();
    let is_vector =
        |operand: &Operand| matches!(operand, Operand::Register(register) if register.is_xmm() || register.is_mm());
    let is_vector = parsed.operands.iter().any(is_vector);
    let find =
        |name: &str| ENCODINGS.get(name).map(Vec::as_slice).or_else(|| ENCODINGS.get(&usual(name)?).map(Vec::as_slice));
    if let Some((usual, size, register)) = extension(name) {
        let encodings = find(usual)?;
        return Some(Named { encodings, size: Some(size), register: Some(register) });
    }
    let suffix = suffix(name.chars().last()?);
    // `movq` is a vector move and also a `mov` of 8 bytes: the operands tell.
    if let Some(size) = suffix.filter(|_| !is_vector)
        && let Some(encodings) = find(&name[..name.len() - 1])
    {
        return Some(Named { encodings, size: Some(size), register: None });
    }
    find(name).map(|encodings| Named { encodings, size: None, register: None })
}

/// How many bytes the last letter of an AT&T mnemonic asks for.
fn suffix(letter: char) -> Option<usize> {
    match letter {
        'b' => Some(1),
        'w' => Some(2),
        'l' => Some(4),
        'q' => Some(8),
        _ => None,
    }
}

/// `movzbl` and its like: the manual's name, the source's size and the destination's.
fn extension(name: &str) -> Option<(&'static str, usize, usize)> {
    let (sign, letters) = name.strip_prefix("mov").and_then(|rest| rest.split_at_checked(1))?;
    let mut sizes = letters.chars().map(suffix);
    let (Some(Some(from)), Some(Some(to)), None) = (sizes.next(), sizes.next(), sizes.next()) else { return None };
    match (sign, from, to) {
        ("z", 1 | 2, to) if from < to => Some(("movzx", from, to)),
        ("s", 1 | 2, to) if from < to => Some(("movsx", from, to)),
        ("s", 4, 8) => Some(("movsxd", from, to)),
        _ => None,
    }
}

/// The manual's first name of a conditional instruction that has several.
fn usual(name: &str) -> Option<String> {
    let (stem, condition) = ["cmov", "set", "j"].iter().find_map(|stem| Some((*stem, name.strip_prefix(stem)?)))?;
    let (_, usual) = CONDITIONS.iter().find(|(other, _)| *other == condition)?;
    Some(format!("{stem}{usual}"))
}

/// `parsed` with its operands in the manual's order: XCHG and TEST do the same in either, and assemblers take either.
pub(super) fn in_order<'a>(parsed: &'a Parsed, named: &Named) -> Cow<'a, Parsed> {
    let is_symmetric = matches!(named.encodings[0].mnemonic(), Mnemonic::Xchg | Mnemonic::Test);
    match parsed.operands.as_slice() {
        [register @ Operand::Register(_), memory @ Operand::Memory(_)] if is_symmetric => {
            Cow::Owned(Parsed { operands: vec![memory.clone(), register.clone()], ..parsed.clone() })
        }
        _ => Cow::Borrowed(parsed),
    }
}

/// The shortest instruction that `parsed` can mean; an error says what is missing.
///
/// `address` gives the addresses of variables, `label` what stands for the address of a label. `usual_size` is how wide an
/// access is that nothing says the width of, if there is such a rule.
pub(super) fn encode(
    parsed: &Parsed,
    named: &Named,
    usual_size: Option<usize>,
    address: impl Fn(&str) -> u64,
    label: impl Fn(&str) -> Option<u64>,
) -> Result<Instruction, String> {
    let register_size = parsed.operands.iter().find_map(|operand| match operand {
        Operand::Register(register) if register.is_gpr() => Some(register.size()),
        _ => None,
    });
    let has_memory = parsed.operands.iter().any(|operand| matches!(operand, Operand::Memory(_)));
    let size = named.size.or(register_size).or(usual_size.filter(|_| has_memory));
    let mut best: Option<(usize, Instruction)> = None;
    let mut is_ambiguous = false;
    for &code in named.encodings {
        for instruction in candidates(code, parsed, &address, &label) {
            let size_of_memory = instruction.memory_size().size();
            let wrong_size = has_memory && size_of_memory != 0 && size.is_some_and(|size| size != size_of_memory);
            let wrong_operand = named.size.is_some_and(|size| register_size.is_some_and(|register| register != size));
            let is_named = named.register.is_some();
            let wrong_register = is_named && register_size != named.register;
            let wrong_source = is_named
                && parsed.operands.get(1).is_some_and(
                    |source| matches!(source, Operand::Register(register) if Some(register.size()) != named.size),
                );
            if wrong_size && (is_named || !takes_any_size(code)) || wrong_operand && !mixes_sizes(code) {
                continue;
            }
            if wrong_register || wrong_source {
                continue;
            }
            let Some(length) = encoded_length(&instruction) else { continue };
            let is_free = size.is_none() || mixes_sizes(code) && named.size.is_none() && is_extension(code);
            is_ambiguous |=
                is_free && best.as_ref().is_some_and(|(_, other)| other.memory_size().size() != size_of_memory);
            if best.as_ref().is_none_or(|(shortest, _)| length < *shortest) {
                best = Some((length, instruction));
            }
        }
    }
    let Some((_, mut instruction)) = best else {
        return Err("no encoding of this instruction takes these operands".into());
    };
    if is_ambiguous && has_memory {
        let way_out = match instruction.mnemonic() {
            Mnemonic::Movzx => "`movzbl` or `movzwl`".to_owned(),
            Mnemonic::Movsx => "`movsbl` or `movswl`".to_owned(),
            Mnemonic::Push | Mnemonic::Pop => format!("`{}q`", parsed.mnemonic),
            _ => format!("`{}l` or `{0}q`", parsed.mnemonic),
        };
        return Err(format!("nothing says how wide this access is; write {way_out}"));
    }
    if parsed.has_lock {
        let takes_lock = instruction.code().op_code().can_use_lock_prefix()
            && parsed.operands.first().is_some_and(|operand| matches!(operand, Operand::Memory(_)));
        if !takes_lock {
            return Err("this instruction takes no LOCK prefix".into());
        }
        instruction.set_has_lock_prefix(true);
    }
    Ok(instruction)
}

/// The width of a vector access is the instruction's own business.
fn takes_any_size(code: Code) -> bool {
    let info = code.op_code();
    let is_vector = |kind: OpCodeOperandKind| {
        use OpCodeOperandKind::*;
        matches!(kind, xmm_reg | xmm_rm | xmm_or_mem | mm_reg | mm_rm | mm_or_mem)
    };
    (0..info.op_count()).any(|index| is_vector(info.op_kind(index))) || mixes_sizes(code)
}

/// Whether the operands may differ in width.
fn mixes_sizes(code: Code) -> bool {
    matches!(
        code.mnemonic(),
        Mnemonic::Movzx
            | Mnemonic::Movsx
            | Mnemonic::Movsxd
            | Mnemonic::Shl
            | Mnemonic::Shr
            | Mnemonic::Sar
            | Mnemonic::Sal
    )
}

/// Whether it reads fewer bytes than it writes.
fn is_extension(code: Code) -> bool {
    matches!(code.mnemonic(), Mnemonic::Movzx | Mnemonic::Movsx)
}

/// The ways in which `code` might take the operands of `parsed`; the encoder knows whether it does.
fn candidates(
    code: Code,
    parsed: &Parsed,
    address: &impl Fn(&str) -> u64,
    label: &impl Fn(&str) -> Option<u64>,
) -> Vec<Instruction> {
    let info = code.op_code();
    if info.op_count() as usize != parsed.operands.len() {
        return Vec::new();
    }
    let mut instruction = Instruction::default();
    instruction.set_code(code);
    let mut made = vec![instruction];
    for (index, operand) in parsed.operands.iter().enumerate() {
        let index = index as u32;
        match operand {
            Operand::Register(register) => made.iter_mut().for_each(|it| {
                it.set_op_kind(index, OpKind::Register);
                it.set_op_register(index, *register);
            }),
            Operand::Memory(memory) => {
                if !may_be_memory(info.op_kind(index)) {
                    return Vec::new();
                }
                made.iter_mut().for_each(|it| set_memory(it, index, memory, address));
            }
            Operand::Immediate(value) => {
                let Some(kind) = immediate_kind(info.op_kind(index), *value) else { return Vec::new() };
                made.iter_mut().for_each(|it| {
                    it.set_op_kind(index, kind);
                    set_immediate(it, kind, *value);
                });
            }
            Operand::Label(name) => {
                let is_branch = matches!(info.op_kind(index), OpCodeOperandKind::br64_1 | OpCodeOperandKind::br64_4);
                let Some(target) = label(name).filter(|_| is_branch) else { return Vec::new() };
                made.iter_mut().for_each(|it| {
                    it.set_op_kind(index, OpKind::NearBranch64);
                    it.set_near_branch64(target);
                });
            }
        }
    }
    made
}

fn may_be_memory(kind: OpCodeOperandKind) -> bool {
    use OpCodeOperandKind::*;
    matches!(kind, mem | mem_offs | r8_or_mem | r16_or_mem | r32_or_mem | r64_or_mem | xmm_or_mem | mm_or_mem)
        && kind != mem_offs
}

fn set_memory(instruction: &mut Instruction, index: u32, memory: &Memory, address: &impl Fn(&str) -> u64) {
    let symbol = memory.symbol.as_deref().map_or(0, address) as i64;
    let displacement = memory.displacement.wrapping_add(symbol);
    let is_absolute = memory.base == Register::None;
    let size = if displacement == 0 && !is_absolute {
        0
    } else if i8::try_from(displacement).is_ok() && !is_absolute {
        1
    } else {
        8
    };
    instruction.set_op_kind(index, OpKind::Memory);
    let operand =
        MemoryOperand::new(memory.base, memory.index, memory.scale, displacement, size, false, memory.segment);
    instruction.set_memory_base(operand.base);
    instruction.set_memory_index(operand.index);
    instruction.set_memory_index_scale(operand.scale);
    instruction.set_memory_displ_size(operand.displ_size);
    instruction.set_memory_displacement64(operand.displacement as u64);
    instruction.set_segment_prefix(operand.segment_prefix);
}

/// How `value` is given to an operand of `kind`; `None` when it does not fit.
fn immediate_kind(kind: OpCodeOperandKind, value: i64) -> Option<OpKind> {
    use OpCodeOperandKind::*;
    let fits_signed = |bits: u32| value >= -(1 << (bits - 1)) && value < 1 << (bits - 1);
    let fits = |bits: u32| fits_signed(bits) || (value >= 0 && value < 1 << bits);
    let (op_kind, is_fit) = match kind {
        imm8 => (OpKind::Immediate8, fits(8)),
        imm8sex16 => (OpKind::Immediate8to16, fits_signed(8)),
        imm8sex32 => (OpKind::Immediate8to32, fits_signed(8)),
        imm8sex64 => (OpKind::Immediate8to64, fits_signed(8)),
        imm16 => (OpKind::Immediate16, fits(16)),
        imm32 => (OpKind::Immediate32, fits(32)),
        imm32sex64 => (OpKind::Immediate32to64, fits_signed(32)),
        imm64 => (OpKind::Immediate64, true),
        imm8_const_1 => (OpKind::Immediate8, value == 1),
        _ => return Option::None,
    };
    is_fit.then_some(op_kind)
}

fn set_immediate(instruction: &mut Instruction, kind: OpKind, value: i64) {
    match kind {
        OpKind::Immediate8 => instruction.set_immediate8(value as u8),
        OpKind::Immediate8to16 => instruction.set_immediate8to16(value as i16),
        OpKind::Immediate8to32 => instruction.set_immediate8to32(value as i32),
        OpKind::Immediate8to64 => instruction.set_immediate8to64(value),
        OpKind::Immediate16 => instruction.set_immediate16(value as u16),
        OpKind::Immediate32 => instruction.set_immediate32(value as u32),
        OpKind::Immediate32to64 => instruction.set_immediate32to64(value),
        OpKind::Immediate64 => instruction.set_immediate64(value as u64),
        _ => unreachable!("`immediate_kind` gives no other kinds"),
    }
}

/// How many bytes `instruction` takes; `None` when its code does not take its operands.
fn encoded_length(instruction: &Instruction) -> Option<usize> {
    let mut instruction = *instruction;
    let mut encoder = Encoder::new(64);
    instruction.set_code_size(CodeSize::Code64);
    // Branches are near whatever they reach; the block encoder decides how long they are.
    encoder.encode(&instruction, instruction.near_branch_target()).ok()
}

/// The code of a thread that is at `address`.
pub(super) fn link(instructions: &[Instruction], address: u64) -> Result<Vec<u8>, String> {
    let block = InstructionBlock::new(instructions, address);
    BlockEncoder::encode(64, block, BlockEncoderOptions::NONE)
        .map(|result| result.code_buffer)
        .map_err(|error| error.to_string())
}
