//! SIMD floating-point exceptions (SDM 1 11.5): `tests/data/simd-floats.txt`, which a processor has written.

use super::testbed::*;
use fencepost::choice::Choice;
use fencepost::core::CoreId;
use fencepost_tests::guest::{IDT, INTERRUPT_GATE, gate_at, handler, load_idt};
use iced_x86::code_asm::*;

const OSFXSR: i32 = 1 << 9;
const OSXMMEXCPT: i32 = 1 << 10;
const DENORMAL: u32 = 1 << 1;
const OVERFLOW: u32 = 1 << 3;
const UNDERFLOW: u32 = 1 << 4;
const PRECISION: u32 = 1 << 5;

const ALL_MASKS: u32 = 0x1f80;

/// One line of the table: an instruction between XMM0 and XMM1, and what a processor has made of it.
struct Case {
    line: &'static str,
    bytes: Vec<u8>,
    mxcsr: u32,
    operands: [u128; 2],
    mxcsr_after: u32,
    result: u128,
    is_exception: bool,
}

impl Case {
    fn of(line: &'static str) -> Case {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, code, mxcsr, destination, source, mxcsr_after, result, ref rest @ ..] = words[..] else {
            panic!("`{line}` has seven columns, or eight");
        };
        let number = |text| u128::from_str_radix(text, 16).expect("numbers are hexadecimal");
        let code = number(code).to_be_bytes();
        Case {
            line,
            bytes: code.into_iter().skip_while(|&byte| byte == 0).fold(vec![], |mut bytes, byte| {
                bytes.push(byte);
                bytes
            }),
            mxcsr: number(mxcsr) as u32,
            operands: [number(destination), number(source)],
            mxcsr_after: number(mxcsr_after) as u32,
            result: number(result),
            is_exception: rest == ["#XM"],
        }
    }

    /// As the guest reads it, and writes its result behind.
    fn to_bytes(&self) -> Vec<u8> {
        let first = u128::from(self.mxcsr);
        [first, self.operands[0], self.operands[1], 0].into_iter().flat_map(u128::to_le_bytes).collect()
    }

    /// What the limits of `core/floats.rs` leave to compare of the flags.
    fn compared(&self) -> u32 {
        let hides_denormals = self.mxcsr & DENORMAL << 7 != 0;
        let hides_precision = self.is_exception && self.mxcsr_after & (OVERFLOW | UNDERFLOW) != 0
            || self.mxcsr & ALL_MASKS == ALL_MASKS && self.line.starts_with("round");
        !(if hides_denormals { DENORMAL } else { 0 } | if hides_precision { PRECISION } else { 0 })
    }
}

/// All with the same instruction.
fn cases() -> Vec<Vec<Case>> {
    let lines = include_str!("../../data/simd-floats.txt").lines().filter(|line| !line.starts_with('#'));
    let mut groups: Vec<Vec<Case>> = Vec::new();
    for case in lines.map(Case::of) {
        match groups.last_mut() {
            Some(group) if group[0].bytes == case.bytes => group.push(case),
            _ => groups.push(vec![case]),
        }
    }
    groups
}

/// The instruction with its source in memory, at 32 bytes from RSI.
fn from_memory(bytes: &[u8]) -> Vec<u8> {
    let operands = bytes.iter().rposition(|&byte| byte == 0xc1).expect("it is between XMM0 and XMM1");
    [&bytes[..operands], &[0x46, 0x20], &bytes[operands + 1..]].concat()
}

/// Executes `code` for every case, and then `drive` has to bring it to its end.
fn run(cases: &[Case], code: &[u8], vector: u8, drive: &dyn Fn(&mut Testbed)) -> Testbed {
    let program: Code = &|a| {
        let mut again = a.create_label();
        handler(a, &[vector], |a| {
            a.inc(ebx)?;
            a.add(qword_ptr(rsp), code.len() as i32)?;
            a.iretq()
        })?;
        load_idt(a)?;
        a.mov(rax, cr4)?;
        a.and(eax, !OSXMMEXCPT)?;
        a.or(eax, if vector == 19 { OSFXSR | OSXMMEXCPT } else { OSFXSR })?;
        a.mov(cr4, rax)?;
        a.mov(esi, DATA as u32)?;
        a.mov(ecx, cases.len() as u32)?;
        a.set_label(&mut again)?;
        a.xor(ebx, ebx)?;
        a.movaps(xmm0, xmmword_ptr(rsi + 16))?;
        a.movaps(xmm1, xmmword_ptr(rsi + 32))?;
        a.ldmxcsr(ptr(rsi))?;
        a.db(code)?;
        a.stmxcsr(ptr(rsi + 4))?;
        a.mov(dword_ptr(rsi + 8), ebx)?;
        a.movaps(xmmword_ptr(rsi + 48), xmm0)?;
        a.add(rsi, 64)?;
        a.dec(ecx)?;
        a.jnz(again)
    };
    let data: Vec<u8> = cases.iter().flat_map(Case::to_bytes).collect();
    let mut t = Testbed::with_data(TSO, &[program], &data);
    while !t.core(0).is_halted() {
        drive(&mut t);
    }
    t.drain_all(0);
    t
}

fn check(cases: &[Case], t: &mut Testbed) {
    let mut wrong = Vec::new();
    for (case, at) in cases.iter().zip((DATA..).step_by(64)) {
        let [control, exceptions, low, high] = [0, 8, 48, 56].map(|offset| t.memory(at + offset));
        let result = u128::from(high) << 64 | u128::from(low);
        let flags = (control >> 32) as u32;
        let is_right = exceptions == u64::from(case.is_exception)
            && result == case.result
            && (flags ^ case.mxcsr_after) & case.compared() == 0;
        if !is_right {
            wrong.push(format!("{}\nhas come to {exceptions} exceptions, {flags:x}, {result:032x}", case.line));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn drained(t: &mut Testbed, steps: u64) {
    t.apply(Choice::Run { core: CoreId(0), steps, drained: true });
}

#[test]
fn flags_exceptions_and_results_are_those_of_a_processor() {
    for group in cases() {
        let code = &group[0].bytes;
        check(&group, &mut run(&group, code, 19, &|t| drained(t, 10_000)));
        check(&group, &mut run(&group, &from_memory(code), 19, &|t| drained(t, 10_000)));
        check(&group, &mut run(&group, &from_memory(code), 19, &|t| t.steps(0, 1)));
    }
}

#[test]
fn they_are_the_same_access_by_access() {
    for group in cases().into_iter().step_by(5) {
        check(&group, &mut run(&group, &from_memory(&group[0].bytes), 19, &|t| t.access(0)));
    }
}

#[test]
fn without_os_support_the_exception_is_an_invalid_opcode() {
    for group in cases().into_iter().step_by(7) {
        check(&group, &mut run(&group, &group[0].bytes, 6, &|t| drained(t, 10_000)));
    }
}

/// Executes `body` with SSE on and MXCSR at [`X`] under its hands, until it halts or comes to `vector`: EBX tells, and MXCSR is at
/// [`Y`].
fn halted(vector: u8, body: Code, drained: bool) -> Testbed {
    let program: Code = &|a| {
        handler(a, &[vector], |a| {
            a.mov(ebx, 1)?;
            a.stmxcsr(ptr(Y))?;
            a.hlt()
        })?;
        load_idt(a)?;
        a.mov(rax, cr4)?;
        a.or(eax, OSFXSR | OSXMMEXCPT)?;
        a.mov(cr4, rax)?;
        a.xor(ebx, ebx)?;
        a.mov(eax, 3)?;
        a.cvtsi2ss(xmm1, eax)?;
        a.mov(eax, 1)?;
        a.cvtsi2ss(xmm0, eax)?;
        a.pxor(xmm2, xmm2)?;
        // Enough for the fast engine to be worth it.
        (0..40).try_for_each(|_| a.nop())?;
        body(a)?;
        a.stmxcsr(ptr(Y))
    };
    let mut t = Testbed::new(TSO, &[program]);
    while !t.core(0).is_halted() {
        t.apply(Choice::Run { core: CoreId(0), steps: if drained { 1000 } else { 1 }, drained });
    }
    t.drain_all(0);
    t
}

/// MXCSR at the end of `body`, which comes to `vector` if there is one.
fn control_after(vector: Option<u8>, body: Code) -> u32 {
    let [slow, fast] = [false, true].map(|drained| {
        let mut t = halted(vector.unwrap_or(19), body, drained);
        assert_eq!(t.gpr(0, 3), u64::from(vector.is_some()), "drained: {drained}");
        t.memory(Y) as u32
    });
    assert_eq!(slow, fast);
    slow
}

fn load(a: &mut CodeAssembler, mxcsr: u32) -> Result<(), iced_x86::IcedError> {
    load_at(a, X, mxcsr)
}

/// Loads MXCSR from `place`.
fn load_at(a: &mut CodeAssembler, place: u64, mxcsr: u32) -> Result<(), iced_x86::IcedError> {
    a.mov(dword_ptr(place), mxcsr as i32)?;
    a.ldmxcsr(ptr(place))
}

#[test]
fn flags_stay_until_they_are_loaded() {
    assert_eq!(control_after(None, &|a| a.divss(xmm0, xmm1)), 0x1fa0);
    let both: Code = &|a| {
        a.divss(xmm0, xmm1)?;
        a.divss(xmm1, xmm2)
    };
    assert_eq!(control_after(None, both), 0x1fa4);
    let cleared: Code = &|a| {
        a.divss(xmm0, xmm1)?;
        load(a, 0x1f80)
    };
    assert_eq!(control_after(None, cleared), 0x1f80);
    let saved: Code = &|a| {
        a.divss(xmm0, xmm1)?;
        a.fxsave(ptr(Z))?;
        a.divss(xmm1, xmm2)?;
        // MXCSR is the doubleword at 24 of the area.
        a.mov(eax, dword_ptr(Z + 24))?;
        a.fxrstor(ptr(Z))
    };
    assert_eq!(control_after(None, saved), 0x1fa0);
}

#[test]
fn a_flag_that_is_loaded_is_no_exception() {
    let body: Code = &|a| {
        load(a, 0x3f)?;
        a.addss(xmm0, xmm1)?;
        a.movaps(xmm0, xmm1)
    };
    assert_eq!(control_after(None, body), 0x3f);
}

#[test]
fn reserved_bits_are_refused() {
    assert_eq!(control_after(Some(13), &|a| load(a, 0x1_1f80)), 0x1f80);
    let restored: Code = &|a| {
        a.fxsave(ptr(Z))?;
        a.mov(dword_ptr(Z + 24), 1 << 16)?;
        a.fxrstor(ptr(Z))
    };
    assert_eq!(control_after(Some(13), restored), 0x1f80);
}

#[test]
fn approximations_and_moves_raise_nothing() {
    let body: Code = &|a| {
        load(a, 0)?;
        a.rcpps(xmm0, xmm2)?;
        a.rsqrtss(xmm0, xmm1)?;
        a.movups(xmm0, xmmword_ptr(X))
    };
    assert_eq!(control_after(None, body), 0);
}

#[test]
fn an_exception_comes_before_the_single_step_trap_of_its_instruction() {
    let body: Code = &|a| {
        load(a, 0)?;
        a.mov(dword_ptr(Z), 0)?;
        handler(a, &[1], |a| {
            a.inc(dword_ptr(Z))?;
            a.iretq()
        })?;
        a.pushfq()?;
        a.or(dword_ptr(rsp), 1 << 8)?;
        a.popfq()?;
        a.nop()?;
        a.divss(xmm0, xmm2)
    };
    let mut t = halted(19, body, true);
    assert_eq!((t.gpr(0, 3), t.memory(Z), t.memory(Y) as u32), (1, 1, 4));
}

/// A denormal number in XMM0, with every exception unmasked.
fn denormal(a: &mut CodeAssembler) -> Result<(), iced_x86::IcedError> {
    load(a, 0)?;
    a.mov(eax, 1)?;
    a.movd(xmm0, eax)
}

#[test]
fn an_instruction_that_does_not_execute_raises_nothing() {
    const CR0_TS: i32 = 1 << 3;
    for place in [1 << 40, -8i64 as u64] {
        let page_fault: Code = &|a| {
            denormal(a)?;
            a.mov(rax, place)?;
            a.mulss(xmm0, dword_ptr(rax))
        };
        assert_eq!(control_after(Some(14), page_fault), 0);
    }
    let lazily: Code = &|a| {
        let mut past = a.create_label();
        a.call(past)?;
        // MXCSR cannot be stored before.
        a.clts()?;
        a.mov(ebx, 1)?;
        a.stmxcsr(ptr(Y))?;
        a.hlt()?;
        a.set_label(&mut past)?;
        a.pop(rax)?;
        gate_at(a, IDT, 7, INTERRUPT_GATE)?;
        denormal(a)?;
        a.mov(rax, cr0)?;
        a.or(eax, CR0_TS)?;
        a.mov(cr0, rax)?;
        a.mulss(xmm0, xmm1)
    };
    let mut t = halted(6, lazily, true);
    assert_eq!((t.gpr(0, 3), t.memory(Y) as u32), (1, 0));
}

#[test]
fn a_source_in_device_space_is_judged_as_it_was_read() {
    const INITIAL_COUNT: u64 = 0xfee0_0380;
    let body: Code = &|a| {
        load(a, 0)?;
        a.mov(eax, INITIAL_COUNT as u32)?;
        a.mov(dword_ptr(rax), 5)?;
        a.addss(xmm0, dword_ptr(rax))
    };
    assert_eq!(control_after(Some(19), body), 2);
}

#[test]
fn what_the_accesses_of_an_instruction_have_read_is_what_it_raises() {
    const ONE: i32 = 0x3f80_0000;
    const THREE: i32 = 0x4040_0000;
    // The first access reads the lower half, and then core 1 stores.
    let flags = |mxcsr: u32, low: i32, then: u64, value: i32| {
        let divides: Code = &|a| {
            a.mov(rax, cr4)?;
            a.or(eax, OSFXSR | OSXMMEXCPT)?;
            a.mov(cr4, rax)?;
            for (offset, value) in [(0, low), (4, ONE), (8, THREE), (12, ONE)] {
                a.mov(dword_ptr(X + offset), value)?;
                a.mov(dword_ptr(Z + offset), ONE)?;
            }
            a.movaps(xmm1, xmmword_ptr(Z))?;
            load_at(a, Z + 16, mxcsr)?;
            a.mfence()?;
            a.mov(r12d, 1)?;
            a.divps(xmm1, xmmword_ptr(X))
        };
        let stores: Code = &|a| {
            a.mov(dword_ptr(then), value)?;
            a.mfence()
        };
        let mut t = Testbed::new(TSO, &[divides, stores]);
        while t.gpr(0, 12) == 0 {
            t.step(0);
        }
        t.access(0);
        assert_eq!((t.core(0).partial.len(), t.core(0).cpu.mxcsr), (1, mxcsr));
        t.finish(1);
        while !t.core(0).partial.is_empty() {
            t.access(0);
        }
        t.core(0).cpu.mxcsr & 0x3f
    };
    // Underflow unmasked: 1/3 in the upper half is exact once core 1 has stored 1 there.
    assert_eq!(flags(0x1780, ONE, X + 8, THREE), PRECISION);
    assert_eq!(flags(0x1780, ONE, X + 8, ONE), 0);
    // Denormal operands unmasked: core 1 stores one where the access has been made.
    assert_eq!(flags(0x1e80, ONE, X, 1), PRECISION);
}
