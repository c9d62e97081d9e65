//! The decode table: what the memory model and the machine need to know about an instruction.
//!
//! A class says what happens to the store buffer and who executes the instruction (DESIGN rules; SDM 3A 9.2 and 9.3).
//! The table is tested as a table of bytes in `tests/`.

use iced_x86::{
    Code, CodeSize, ConditionCode, CpuidFeature, Decoder, DecoderError, DecoderOptions, EncodingKind, Instruction,
    Mnemonic, OpKind, Register,
};

/// What an instruction is to the memory model.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Class {
    /// Nothing special; its stores are buffered.
    Plain,
    /// LOCK-prefixed, or XCHG with memory: drains, then one indivisible step straight to memory.
    Locked,
    /// MFENCE: drains.
    FullFence,
    /// SFENCE: orders earlier stores before later ones, waits for nothing.
    StoreFence,
    /// LFENCE: no effect on the store buffer.
    LoadFence,
    /// Its stores are non-temporal: MOVNTI and relatives, MASKMOVDQU.
    NonTemporal,
    /// IN or OUT with registers: drains, then the machine performs it.
    PortIo,
    /// INS or OUTS: drains, then the engine performs it with the machine's ports.
    StringPortIo,
    /// Serialising (SDM 3A 9.3): drains. May change how addresses are translated.
    Serialising,
    /// MOV to CR0, CR2, CR3 or CR4: serialising, done by the machine. May change how addresses are translated.
    ControlRegister,
    /// SMSW into a 32-bit register, of which the engine fills only half.
    StatusWord,
    /// CPUID: serialising, answered by the machine.
    CpuId,
    /// RDMSR: answered by the machine.
    ReadMsr,
    /// WRMSR: serialising, done by the machine. May change how addresses are translated.
    WriteMsr,
    /// RDTSC or RDTSCP: answered from the core's own clock.
    TimeStamp,
    /// RDRAND or RDSEED: answered from the machine's seed.
    Random,
    /// LDMXCSR, STMXCSR, and FXSAVE, XRSTOR and relatives: loads or stores MXCSR, of which the engine knows only half.
    MediaControl,
    /// HLT.
    Halt,
    /// PAUSE: a spinning core says so.
    Pause,
    /// STI: interrupts may come after the instruction that follows.
    SetInterruptFlag,
    /// MOV to or from CR8: the local APIC's task priority. Not serialising.
    TaskPriority,
    /// A mark of the explored region, which does nothing: `xchg bx, bx` begins it, `xchg cx, cx` ends it.
    Mark,
    /// Far transfers and POPF: no drain, but what follows may run in another mode or under the trap flag.
    ModeChange,
    /// INT n, INT3, INTO, INT1: drains, as the delivery of any interrupt does.
    SoftwareInterrupt,
    /// SYSCALL, SYSRET, SYSENTER, SYSEXIT: no drain, and not serialising.
    SystemCall,
    /// This processor does not have it, AVX and relatives, or no processor does. An invalid opcode.
    Absent,
}

impl Class {
    /// Whether the core's buffer drains before the instruction executes.
    pub fn drains(self) -> bool {
        match self {
            Class::Locked
            | Class::FullFence
            | Class::PortIo
            | Class::StringPortIo
            | Class::Serialising
            | Class::ControlRegister
            | Class::CpuId
            | Class::WriteMsr
            | Class::SoftwareInterrupt => true,
            Class::Plain
            | Class::StoreFence
            | Class::LoadFence
            | Class::NonTemporal
            | Class::ReadMsr
            | Class::TimeStamp
            | Class::Random
            | Class::Halt
            | Class::Pause
            | Class::SetInterruptFlag
            | Class::TaskPriority
            | Class::StatusWord
            | Class::Mark
            | Class::ModeChange
            | Class::SystemCall
            | Class::MediaControl
            | Class::Absent => false,
        }
    }

    /// Whether the machine executes the instruction itself, between two runs of the engine.
    pub fn is_emulated(self) -> bool {
        match self {
            Class::PortIo
            | Class::ControlRegister
            | Class::CpuId
            | Class::ReadMsr
            | Class::WriteMsr
            | Class::TimeStamp
            | Class::Random
            | Class::Halt
            | Class::TaskPriority
            | Class::StatusWord
            | Class::SystemCall
            | Class::Absent => true,
            Class::Plain
            | Class::Locked
            | Class::FullFence
            | Class::StoreFence
            | Class::LoadFence
            | Class::NonTemporal
            | Class::StringPortIo
            | Class::Serialising
            | Class::SoftwareInterrupt
            | Class::ModeChange
            | Class::Mark
            | Class::SetInterruptFlag
            | Class::MediaControl
            | Class::Pause => false,
        }
    }

    /// Whether the fast engine may execute the instruction inside a run whose stores all commit at once.
    pub(crate) fn is_fast(self) -> bool {
        match self {
            Class::Plain
            | Class::Locked
            | Class::FullFence
            | Class::StoreFence
            | Class::LoadFence
            | Class::NonTemporal
            | Class::SetInterruptFlag
            | Class::Pause => true,
            Class::PortIo
            | Class::StringPortIo
            | Class::Serialising
            | Class::ControlRegister
            | Class::CpuId
            | Class::ReadMsr
            | Class::WriteMsr
            | Class::TimeStamp
            | Class::Random
            | Class::Halt
            | Class::TaskPriority
            | Class::StatusWord
            | Class::Mark
            | Class::SoftwareInterrupt
            | Class::ModeChange
            | Class::SystemCall
            | Class::MediaControl
            | Class::Absent => false,
        }
    }
}

/// Decodes the first instruction in `bytes`, which is at linear address `address` in code of `bits` (16, 32 or 64).
///
/// `None` when the bytes are not an instruction, or not all of one.
pub fn decode(bytes: &[u8], address: u64, bits: u32) -> Option<Instruction> {
    let decode = |options| {
        let instruction = Decoder::with_ip(bits, bytes, address, options).decode();
        (!instruction.is_invalid()).then_some(instruction)
    };
    // The engine executes even malformed AVX instructions, so they have to be known for what they are.
    decode(DecoderOptions::NONE).or_else(|| decode(DecoderOptions::NO_INVALID_CHECK).filter(is_absent))
}

/// The most bytes that an instruction has (SDM 2A 2.3.11).
const LONGEST: usize = 15;

/// What the processor makes of `bytes`: like [`decode`], or an invalid instruction where they are known to be none.
///
/// `None` for what is too long as well, which is another exception.
pub(crate) fn fetched(bytes: &[u8], address: u64, bits: u32) -> Option<Instruction> {
    decode(bytes, address, bits).or_else(|| {
        let mut decoder = Decoder::with_ip(bits, bytes, address, DecoderOptions::NONE);
        let instruction = decoder.decode();
        let is_known = decoder.last_error() == DecoderError::InvalidInstruction && decoder.position() < LONGEST;
        is_known.then_some(instruction)
    })
}

/// The class of `instruction`.
pub fn classify(instruction: &Instruction) -> Class {
    use Mnemonic::*;
    if instruction.is_invalid() || is_absent(instruction) {
        return Class::Absent;
    }
    match instruction.mnemonic() {
        Mfence => Class::FullFence,
        Sfence => Class::StoreFence,
        Lfence => Class::LoadFence,
        Pause => Class::Pause,
        Sti => Class::SetInterruptFlag,
        Hlt => Class::Halt,
        In | Out => Class::PortIo,
        Insb | Insw | Insd | Outsb | Outsw | Outsd => Class::StringPortIo,
        Movnti | Movntq | Movntdq | Movntps | Movntpd | Maskmovq | Maskmovdqu => Class::NonTemporal,
        Rdtsc | Rdtscp => Class::TimeStamp,
        Rdrand | Rdseed => Class::Random,
        Cpuid => Class::CpuId,
        Rdmsr => Class::ReadMsr,
        Wrmsr => Class::WriteMsr,
        Syscall | Sysret | Sysretq | Sysenter | Sysexit | Sysexitq => Class::SystemCall,
        Iret | Iretd | Iretq | Lgdt | Lidt | Ltr | Lldt | Invlpg | Invpcid | Wbinvd | Invd | Rsm => Class::Serialising,
        Mov if [instruction.op0_register(), instruction.op1_register()].contains(&Register::CR8) => Class::TaskPriority,
        Mov if instruction.op0_register().is_cr() => Class::ControlRegister,
        Mov if writes_serialising_register(instruction) => Class::Serialising,
        // LMSW and CLTS change CR0, and with it translation; XSETBV what is saved.
        Lmsw | Clts | Xsetbv => Class::Serialising,
        Smsw if instruction.code() == Code::Smsw_r32m16 && instruction.op0_kind() == OpKind::Register => {
            Class::StatusWord
        }
        Ldmxcsr | Stmxcsr | Fxsave | Fxsave64 | Fxrstor | Fxrstor64 | Xsave | Xsave64 | Xsavec | Xsavec64
        | Xsaveopt | Xsaveopt64 | Xsaves | Xsaves64 | Xrstor | Xrstor64 | Xrstors | Xrstors64 => Class::MediaControl,
        Retf | Popf | Popfd | Popfq => Class::ModeChange,
        Call | Jmp if is_far(instruction) => Class::ModeChange,
        Int | Int3 | Into | Int1 => Class::SoftwareInterrupt,
        Xchg if touches_memory(instruction) => Class::Locked,
        Xchg if mark_of(instruction).is_some() => Class::Mark,
        _ if instruction.has_lock_prefix() => Class::Locked,
        _ => Class::Plain,
    }
}

/// Whether the engine, stopped at the instruction's memory access, has already forgotten the flags it began with.
///
/// Rotations through carry and SETcc compute the flags into place before the access, and a stop then takes them for
/// the operands of the instruction before.
pub(crate) fn loses_flags(instruction: &Instruction) -> bool {
    let mnemonic = instruction.mnemonic();
    let is_set = instruction.condition_code() != ConditionCode::None && instruction.op0_kind() == OpKind::Memory;
    let is_rotation = matches!(mnemonic, Mnemonic::Rcl | Mnemonic::Rcr) && instruction.op0_kind() == OpKind::Memory;
    // Of the conditional instructions only SETcc has a memory destination; jumps through memory have no condition.
    is_set || is_rotation
}

/// Whether `instruction` is the CMPXCHG of 4 bytes in 64-bit code, with which the engine takes liberties.
///
/// Whatever comes of the comparison, it writes accumulator and destination register as if they were written, and so clears
/// their upper halves. Processors leave alone what they do not write (SDM 2A, CMPXCHG; tried on AMD's Zen 4).
pub(crate) fn is_cmpxchg_of_halves(instruction: &Instruction) -> bool {
    instruction.code() == Code::Cmpxchg_rm32_r32 && instruction.code_size() == CodeSize::Code64
}

/// A mark of the explored region.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mark {
    /// `xchg bx, bx`
    Begin,
    /// `xchg cx, cx`
    End,
}

/// The mark that `instruction` is, if it is one.
pub fn mark_of(instruction: &Instruction) -> Option<Mark> {
    if instruction.code() != Code::Xchg_rm16_r16 || instruction.op0_register() != instruction.op1_register() {
        return None;
    }
    match instruction.op0_register() {
        Register::BX => Some(Mark::Begin),
        Register::CX => Some(Mark::End),
        _ => None,
    }
}

/// Encoded as vector instructions are, without being one of those on general registers that CPUID announces; or about
/// transactions, which it does not.
fn is_absent(instruction: &Instruction) -> bool {
    let code = instruction.code();
    let is_announced = |feature| matches!(feature, &CpuidFeature::BMI1 | &CpuidFeature::BMI2);
    match code.encoding() {
        // Transactions, which the engine takes for jumps and nothing.
        EncodingKind::Legacy => code.cpuid_features().contains(&CpuidFeature::RTM),
        EncodingKind::VEX => !code.cpuid_features().iter().all(is_announced),
        // EVEX, XOP, 3DNow, and whatever a later version of the decoder tells apart.
        _ => true,
    }
}

/// MOV to a debug register (SDM 3A 9.3).
fn writes_serialising_register(instruction: &Instruction) -> bool {
    instruction.op0_register().is_dr()
}

/// Whether `instruction` loads CS and the instruction pointer together, and may switch tasks (SDM 3A 8.3).
pub(crate) fn is_far_transfer(instruction: &Instruction) -> bool {
    matches!(instruction.mnemonic(), Mnemonic::Retf | Mnemonic::Iret | Mnemonic::Iretd | Mnemonic::Iretq)
        || is_far(instruction)
}

/// A call or jump to another code segment.
fn is_far(instruction: &Instruction) -> bool {
    instruction.is_call_far()
        || instruction.is_call_far_indirect()
        || instruction.is_jmp_far()
        || instruction.is_jmp_far_indirect()
}

fn touches_memory(instruction: &Instruction) -> bool {
    instruction.op_kinds().any(|kind| kind == OpKind::Memory)
}
