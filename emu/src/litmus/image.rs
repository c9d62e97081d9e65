//! A litmus test as a guest image: an ELF executable that runs it, and reports its final state as its outcome.
//!
//! Each core goes to its thread's code with the registers that the test gives it, between the marks of an explored region
//! ([`Mark`](crate::core::decode::Mark)). Then it saves its registers and says that it is done; core 0 waits for all, writes
//! the final state as herd spells it to the debug console, and exits: with 1 if the state is one that the test's `~exists` or
//! `forall` says there is not. An `exists` says of no state that it must not be, so it is no reason for 1; its witnesses bear
//! a [mark](WITNESS).

use super::assemble;
use super::parse::Malformed;
use super::program::{At, Observed, Program};
use super::test::{Condition, Quantifier, Test};
use crate::memory::LINE;
use iced_x86::code_asm::*;
use iced_x86::{Code, Instruction, Register};
use std::collections::HashMap;

/// Code is linked here.
const CODE: u64 = 0x10_0000;
/// What the outcome of a state ends with that satisfies the condition of an `exists`.
pub const WITNESS: &str = " (exists)";

/// What the threads leave: their registers, and how many are done.
const RESULTS: u64 = 0x20_0000;
/// Variables lie here, each on cache lines of its own.
const VARIABLES: u64 = 0x30_0000;
/// The registers that one thread saves, in bytes.
const SAVED: u64 = 16 * 8;
/// How many threads are done.
const DONE: u64 = RESULTS + 64 * SAVED;
/// Digits of a number are put together here, the last one first.
const DIGITS_END: u64 = DONE + 128;

const DEBUG_CONSOLE: i32 = 0xe9;
const DEBUG_EXIT: i32 = 0xf4;

/// `test` as an ELF64 executable for as many cores as it has threads.
///
/// # Errors
/// It has an instruction that there is not, or that takes no such operands.
pub fn image(test: &Test) -> Result<Vec<u8>, Malformed> {
    let mut end = VARIABLES;
    let mut addresses: HashMap<String, u64> = HashMap::new();
    let program = Program::of(test, |name, size| {
        let address = *addresses.entry(name.to_owned()).or_insert(end);
        end = end.max(address + size.next_multiple_of(LINE).max(LINE));
        address
    })?;
    let wrong = |error: Box<dyn std::error::Error>| Malformed::new(test.condition_span.clone(), error.to_string());
    let (entry, code) = code(test, &program).map_err(wrong)?;
    let mut data = vec![0; (end - VARIABLES) as usize];
    for (address, bytes) in &program.memory {
        let start = (address - VARIABLES) as usize;
        data[start..start + bytes.len()].copy_from_slice(bytes);
    }
    let segments = [
        Segment { address: CODE, bytes: code, size: None, is_code: true },
        Segment { address: RESULTS, bytes: Vec::new(), size: Some(VARIABLES - RESULTS), is_code: false },
        Segment { address: VARIABLES, bytes: data, size: None, is_code: false },
    ];
    Ok(elf(entry, &segments))
}

/// The final state that an outcome of an image tells.
pub fn state(outcome: &str) -> &str {
    outcome.strip_suffix(WITNESS).unwrap_or(outcome)
}

/// Where all code is entered, and the code, to be linked at [`CODE`].
fn code(test: &Test, program: &Program) -> Result<(u64, Vec<u8>), Box<dyn std::error::Error>> {
    // The threads' own code lies before everything else and is reached by jumps to fixed addresses.
    let mut bodies = Vec::new();
    let mut next = CODE;
    for thread in &program.threads {
        let mut body = thread.clone();
        // HLT ends a thread's code; here the end of the region stands in its place, and a jump to what saves registers.
        let halt = body.pop().ok_or("a thread ends with HLT")?;
        let mut mark = Instruction::with2(Code::Xchg_rm16_r16, Register::CX, Register::CX)?;
        mark.set_ip(halt.ip());
        body.push(mark);
        bodies.push((next, body));
        next += 16 * (thread.len() as u64 + 4);
    }
    let mut a = CodeAssembler::new(64)?;
    let mut after = Vec::new();
    let mut park = a.create_label();
    for (index, (body, _)) in bodies.iter().enumerate() {
        let mut other = a.create_label();
        a.cmp(edi, index as i32)?;
        a.jne(other)?;
        set_registers(&mut a, program, index)?;
        a.xchg(bx, bx)?;
        a.jmp(*body)?;
        let mut back = a.create_label();
        a.set_label(&mut back)?;
        after.push(back);
        save_registers(&mut a, index)?;
        if index == 0 {
            report(&mut a, test, program)?;
        }
        a.jmp(park)?;
        a.set_label(&mut other)?;
    }
    // Two labels cannot stand at one place.
    a.nop()?;
    a.set_label(&mut park)?;
    a.hlt()?;
    a.jmp(park)?;
    let options = iced_x86::BlockEncoderOptions::RETURN_NEW_INSTRUCTION_OFFSETS;
    let entry = next;
    let assembled = a.assemble_options(entry, options)?;
    if entry + assembled.inner.code_buffer.len() as u64 > RESULTS {
        return Err("it is too long to be an image, or looks at too many places".into());
    }
    let mut bytes = Vec::new();
    for ((address, mut body), back) in bodies.into_iter().zip(after) {
        let mut jump = Instruction::with_branch(Code::Jmp_rel32_64, assembled.label_ip(&back)?)?;
        jump.set_ip(u64::from(u32::MAX));
        body.push(jump);
        let body = assemble::link(&body, address)?;
        let start = (address - CODE) as usize;
        bytes.resize(start, 0xf4);
        bytes.extend(body);
    }
    bytes.resize((entry - CODE) as usize, 0xf4);
    bytes.extend(assembled.inner.code_buffer);
    Ok((entry, bytes))
}

/// Gives a thread its registers: all flags clear, what the test says, zero elsewhere. The stack of one that uses it stays.
fn set_registers(a: &mut CodeAssembler, program: &Program, thread: usize) -> Result<(), iced_x86::IcedError> {
    // 1 is neither zero nor negative, and has an odd number of bits: TEST clears all arithmetic flags.
    a.mov(eax, 1)?;
    a.test(eax, eax)?;
    for (number, register) in GENERAL.into_iter().enumerate() {
        let given = program
            .registers
            .iter()
            .find(|(owner, name, _)| *owner == thread && name.full_register().number() == number);
        if given.is_some() || register != rsp || !program.uses_stack[thread] {
            a.mov(register, given.map_or(0, |(_, _, value)| *value))?;
        }
    }
    Ok(())
}

/// Saves a thread's registers and says that it is done.
fn save_registers(a: &mut CodeAssembler, thread: usize) -> Result<(), iced_x86::IcedError> {
    for (number, register) in GENERAL.into_iter().enumerate() {
        a.mov(qword_ptr(saved(thread, number)), register)?;
    }
    a.lock().inc(dword_ptr(DONE))
}

/// Waits for all threads, writes the final state, and exits with whether it must not be.
fn report(a: &mut CodeAssembler, test: &Test, program: &Program) -> Result<(), iced_x86::IcedError> {
    let mut wait = a.create_label();
    let mut go_on = a.create_label();
    a.set_label(&mut wait)?;
    a.cmp(dword_ptr(DONE), program.threads.len() as i32)?;
    a.je(go_on)?;
    a.pause()?;
    a.jmp(wait)?;
    a.set_label(&mut go_on)?;
    write(a, "outcome: ")?;
    for (index, observed) in program.observed.iter().enumerate() {
        let blank = if index == 0 { "" } else { " " };
        write(a, &format!("{blank}{}=", observed.place))?;
        load(a, observed)?;
        write_number(a, observed.kind.is_signed)?;
        write(a, ";")?;
    }
    let mut written = a.create_label();
    if test.quantifier == Quantifier::Exists {
        jump_if(a, program, &test.condition, false, written)?;
        write(a, WITNESS)?;
    }
    a.set_label(&mut written)?;
    write(a, "\n")?;
    let mut violated = a.create_label();
    match test.quantifier {
        Quantifier::Exists => (),
        Quantifier::NotExists => jump_if(a, program, &test.condition, true, violated)?,
        Quantifier::Forall => jump_if(a, program, &test.condition, false, violated)?,
    }
    a.mov(al, 0)?;
    a.out(DEBUG_EXIT, al)?;
    a.set_label(&mut violated)?;
    a.mov(al, 1)?;
    a.out(DEBUG_EXIT, al)
}

/// Jumps to `target` where `condition` holds in the final state, or does not, as `wanted` says.
fn jump_if(
    a: &mut CodeAssembler,
    program: &Program,
    condition: &Condition,
    wanted: bool,
    target: CodeLabel,
) -> Result<(), iced_x86::IcedError> {
    match condition {
        Condition::Is(place, value) => {
            let observed = program.observed(place);
            load(a, observed)?;
            a.mov(rcx, observed.number(*value as u64) as u64)?;
            a.cmp(rax, rcx)?;
            if wanted { a.je(target) } else { a.jne(target) }
        }
        Condition::Not(inner) => jump_if(a, program, inner, !wanted, target),
        // One part alone decides.
        Condition::All(parts) if !wanted => parts.iter().try_for_each(|it| jump_if(a, program, it, wanted, target)),
        Condition::Any(parts) if wanted => parts.iter().try_for_each(|it| jump_if(a, program, it, wanted, target)),
        // One part that is otherwise decides against the jump.
        Condition::All(parts) | Condition::Any(parts) => {
            let mut stays = a.create_label();
            parts.iter().try_for_each(|it| jump_if(a, program, it, !wanted, stays))?;
            a.jmp(target)?;
            a.set_label(&mut stays)?;
            // Two labels cannot stand at one place.
            a.nop()
        }
    }
}

/// The registers by number.
const GENERAL: [AsmRegister64; 16] = [rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15];

fn saved(thread: usize, register: usize) -> u64 {
    RESULTS + SAVED * thread as u64 + 8 * register as u64
}

fn write(a: &mut CodeAssembler, text: &str) -> Result<(), iced_x86::IcedError> {
    for byte in text.bytes() {
        a.mov(al, i32::from(byte))?;
        a.out(DEBUG_CONSOLE, al)?;
    }
    Ok(())
}

/// Puts what is observed into RAX.
fn load(a: &mut CodeAssembler, observed: &Observed) -> Result<(), iced_x86::IcedError> {
    let address = match observed.at {
        At::Register { thread, register } => {
            let is_high = matches!(register, Register::AH | Register::CH | Register::DH | Register::BH);
            saved(thread, register.full_register().number()) + u64::from(is_high)
        }
        At::Memory { address } => address,
    };
    match (observed.kind.size, observed.kind.is_signed) {
        (1, true) => a.movsx(rax, byte_ptr(address)),
        (1, false) => a.movzx(rax, byte_ptr(address)),
        (2, true) => a.movsx(rax, word_ptr(address)),
        (2, false) => a.movzx(rax, word_ptr(address)),
        (4, true) => a.movsxd(rax, dword_ptr(address)),
        (4, false) => a.mov(eax, dword_ptr(address)),
        _ => a.mov(rax, qword_ptr(address)),
    }
}

/// Writes RAX in decimal.
fn write_number(a: &mut CodeAssembler, is_signed: bool) -> Result<(), iced_x86::IcedError> {
    let mut digits = a.create_label();
    let mut next_digit = a.create_label();
    let mut output = a.create_label();
    if is_signed {
        a.test(rax, rax)?;
        a.jns(digits)?;
        a.neg(rax)?;
        a.mov(rcx, rax)?;
        write(a, "-")?;
        a.mov(rax, rcx)?;
    }
    a.set_label(&mut digits)?;
    a.mov(rsi, DIGITS_END)?;
    a.mov(ecx, 10)?;
    a.set_label(&mut next_digit)?;
    a.xor(edx, edx)?;
    a.div(rcx)?;
    a.add(dl, i32::from(b'0'))?;
    a.dec(rsi)?;
    a.mov(byte_ptr(rsi), dl)?;
    a.test(rax, rax)?;
    a.jne(next_digit)?;
    a.set_label(&mut output)?;
    a.mov(al, byte_ptr(rsi))?;
    a.out(DEBUG_CONSOLE, al)?;
    a.inc(rsi)?;
    a.cmp(rsi, DIGITS_END as i32)?;
    a.jne(output)
}

/// What the image puts into memory.
struct Segment {
    address: u64,
    bytes: Vec<u8>,
    /// How many bytes it has in memory, when more than in the file.
    size: Option<u64>,
    is_code: bool,
}

/// A static ELF64 executable (ELF-64 object file format, version 1.5), entered at `entry`.
fn elf(entry: u64, segments: &[Segment]) -> Vec<u8> {
    const HEADER: u64 = 64;
    const PROGRAM_HEADER: u64 = 56;
    const PAGE: u64 = crate::memory::PAGE;
    let mut file = Vec::new();
    file.extend(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    for half in [2u16, 62] {
        file.extend(half.to_le_bytes());
    }
    file.extend(1u32.to_le_bytes());
    for word in [entry, HEADER, 0] {
        file.extend(word.to_le_bytes());
    }
    file.extend(0u32.to_le_bytes());
    for half in [HEADER as u16, PROGRAM_HEADER as u16, segments.len() as u16, 0, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    let mut offset = (HEADER + PROGRAM_HEADER * segments.len() as u64).next_multiple_of(PAGE);
    for segment in segments {
        let rights: u32 = if segment.is_code { 4 | 1 } else { 4 | 2 };
        let length = segment.bytes.len() as u64;
        file.extend(1u32.to_le_bytes());
        file.extend(rights.to_le_bytes());
        for word in [offset, segment.address, segment.address, length, segment.size.unwrap_or(length), PAGE] {
            file.extend(word.to_le_bytes());
        }
        offset = (offset + length).next_multiple_of(PAGE);
    }
    for segment in segments {
        file.resize(file.len().next_multiple_of(PAGE as usize), 0);
        file.extend(&segment.bytes);
    }
    file
}
