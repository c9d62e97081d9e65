//! Far transfers and returns in real mode (SDM 2A, CALL, INT n, IRET; SDM 2B, RET; SDM 3B 21.1).

use super::testbed::*;
use fencepost::choice::Choice;
use fencepost::core::CoreId;
use fencepost::core::cpu_state::{CpuState, SegmentName};
use fencepost::loader::Image;
use fencepost::machine::{Machine, Settings};
use iced_x86::IcedError;
use iced_x86::code_asm::*;

/// Where a boot sector is, and the segment that begins there.
const SECTOR: u32 = 0x7c00;
const SEGMENT: u32 = SECTOR / 16;
/// The stack's segment and top.
const STACK: u32 = 0x9000;
const TOP: u32 = 0x1000;
/// Where the called leave what they find: CS, and the flags.
const FOUND: u32 = 0x600;
const CARRY: u64 = 1;
const DIRECTION: u64 = 1 << 10;

fn sector(write: Code) -> Image {
    let mut a = CodeAssembler::new(16).expect("there is a 16-bit mode");
    let mut body = || {
        a.xor(ax, ax)?;
        a.mov(ds, ax)?;
        a.mov(ax, STACK)?;
        a.mov(ss, ax)?;
        a.mov(sp, TOP)?;
        write(&mut a)?;
        a.hlt()?;
        a.assemble(SECTOR.into())
    };
    let mut disk = body().expect("the guest assembles");
    assert!(disk.len() <= 510, "the code fits into a sector");
    disk.resize(512, 0);
    disk[510..].copy_from_slice(&[0x55, 0xaa]);
    Image::recognise("disk.img", disk).expect("it is a boot sector")
}

/// However the core is stepped, `code` comes to its end with registers and memory that `is_right` accepts.
fn check(code: Code, is_right: impl Fn(&CpuState, [u16; 2])) {
    let run = |steps, drained| Choice::Run { core: CoreId(0), steps, drained };
    let access = Choice::Access { core: CoreId(0) };
    for choice in [run(1, false), run(1000, false), run(1000, true), run(100, true), access] {
        let machine = Machine::new(&sector(code), Settings { cores: 1, ..settings(TSO, 1) }).expect("it fits");
        let mut t = Testbed { machine };
        for _ in 0..1000 {
            if t.core(0).is_halted() || t.machine.stop().is_some() {
                break;
            }
            t.apply(choice);
        }
        assert!(t.core(0).is_halted(), "by {choice:?}: {:?}", t.machine.stop());
        t.drain_all(0);
        let found = t.memory(FOUND.into());
        is_right(&t.core(0).cpu.clone(), [found as u16, (found >> 16) as u16]);
    }
}

/// What is called by far: notes CS and the flags, and returns by `ret`.
fn called(a: &mut CodeAssembler, ret: Code) -> Result<(), IcedError> {
    a.mov(word_ptr(FOUND), cs)?;
    a.pushf()?;
    a.pop(word_ptr(FOUND + 2))?;
    ret(a)
}

/// The stack segment and the stack pointer.
fn stack_of(cpu: &CpuState) -> (u32, u64) {
    (cpu.segment(SegmentName::Ss).selector, cpu.gpr[4])
}

/// A call by `call`, of what returns by `ret` and is given `offset` and segment at [`FOUND`] + 8; BX counts what is executed
/// after the call.
fn far_call(ret: Code, call: Code) -> impl Fn(&mut CodeAssembler) -> Result<(), IcedError> {
    move |a| {
        let (mut target, mut start) = (a.create_label(), a.create_label());
        // A near call's return address is the target's.
        a.xor(bx, bx)?;
        a.call(start)?;
        a.set_label(&mut target)?;
        called(a, ret)?;
        a.set_label(&mut start)?;
        a.pop(ax)?;
        a.sub(ax, SECTOR)?;
        a.mov(word_ptr(FOUND + 8), ax)?;
        a.mov(word_ptr(FOUND + 10), SEGMENT)?;
        call(a)?;
        a.inc(bx)
    }
}

#[test]
fn a_far_call_loads_cs_and_a_far_return_restores_it() {
    let rets: [(Code, u64); 2] = [(&|a| a.retf(), 0), (&|a| a.retf_1(4), 4)];
    for (ret, released) in rets {
        let code = far_call(ret, &|a| a.db(&[0xff, 0x1e, (FOUND + 8) as u8, ((FOUND + 8) >> 8) as u8]));
        check(&code, |cpu, found| {
            assert_eq!(u32::from(found[0]), SEGMENT, "the called ran in its segment");
            let code = cpu.segment(SegmentName::Cs);
            assert_eq!((code.selector, code.base, cpu.gpr[3] & 0xffff), (0, 0, 1), "and the caller goes on in its own");
            assert_eq!(stack_of(cpu), (STACK, u64::from(TOP) + released));
        });
    }
}

#[test]
fn a_far_return_goes_where_no_call_came_from() {
    let of_words: Code = &|a| {
        a.mov(cx, SEGMENT)?;
        a.push(cx)?;
        a.push(ax)?;
        a.retf()
    };
    let of_doublewords: Code = &|a| {
        a.movzx(eax, ax)?;
        a.mov(ecx, SEGMENT)?;
        a.push(ecx)?;
        a.push(eax)?;
        a.db(&[0x66, 0xcb])
    };
    for ret in [of_words, of_doublewords] {
        let code = far_call(&|a| a.hlt(), ret);
        check(&code, |cpu, found| {
            assert_eq!(u32::from(found[0]), SEGMENT);
            assert_eq!(cpu.segment(SegmentName::Cs).base, u64::from(SECTOR));
            assert_eq!(cpu.gpr[3] & 0xffff, 0, "nothing has come back");
        });
    }
}

#[test]
fn an_interrupt_return_takes_flags_segment_and_offset() {
    let code = far_call(&|a| a.hlt(), &|a| {
        a.mov(cx, 0x0403)?;
        a.push(cx)?;
        a.mov(cx, SEGMENT)?;
        a.push(cx)?;
        a.push(ax)?;
        a.iret()
    });
    check(&code, |cpu, found| {
        assert_eq!(u32::from(found[0]), SEGMENT);
        assert_eq!(u64::from(found[1]) & (CARRY | DIRECTION), CARRY | DIRECTION);
        assert_eq!(stack_of(cpu), (STACK, TOP.into()));
    });
}

#[test]
fn int_n_enters_by_the_vector_table_and_iret_comes_back() {
    let code = far_call(&|a| a.iret(), &|a| {
        a.mov(word_ptr(4 * 0x60), ax)?;
        a.mov(word_ptr(4 * 0x60 + 2), SEGMENT)?;
        a.std()?;
        a.stc()?;
        a.int(0x60)
    });
    check(&code, |cpu, found| {
        assert_eq!(u32::from(found[0]), SEGMENT);
        assert_eq!(u64::from(found[1]) & 0x300, 0, "IF and TF are clear in the handler");
        assert_eq!(cpu.rflags & (CARRY | DIRECTION), CARRY | DIRECTION);
        assert_eq!((cpu.segment(SegmentName::Cs).selector, cpu.gpr[3] & 0xffff), (0, 1));
        assert_eq!(stack_of(cpu), (STACK, TOP.into()));
    });
}

#[test]
fn paging_cannot_be_turned_on_without_protection() {
    // The handler of vector 13 is entered with no error code, and has the core go on after the MOV.
    let handler: Code = &|a| {
        a.pop(cx)?;
        a.add(cx, 3)?;
        a.push(cx)?;
        a.iret()
    };
    let code = far_call(handler, &|a| {
        a.mov(word_ptr(4 * 13), ax)?;
        a.mov(word_ptr(4 * 13 + 2), SEGMENT)?;
        a.mov(eax, 1u32 << 31)?;
        a.mov(cr0, eax)
    });
    check(&code, |cpu, found| {
        assert_eq!(u32::from(found[0]), SEGMENT);
        assert_eq!((cpu.cr0 & (1 << 31 | 1), cpu.gpr[3] & 0xffff), (0, 1));
        assert_eq!(stack_of(cpu), (STACK, TOP.into()));
    });
}
