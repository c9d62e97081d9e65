//! Instructions that are steps although they do more than compute and access memory: exceptions and INT n with a handler,
//! what serialises, model-specific registers.

use super::guests::{Code, X, Y, cores, marked_cores, outcomes, survey};
use fencepost::core::interruption::Source;
use fencepost::explorer::explain::Effect;
use fencepost::explorer::survey::{Outcome, Survey};
use fencepost::explorer::{Beyond, Cut};
use fencepost::memory_model::MemoryModel;
use fencepost::trace::Fault;
use fencepost_tests::guest::{IDT_POINTER, apic, handler, load_idt, store};
use iced_x86::IcedError;
use iced_x86::code_asm::*;

const TSO: MemoryModel = MemoryModel::TSO;
const SC: MemoryModel = MemoryModel::SC;

/// A stack of core 0's own, which grows down from here.
const STACK: u64 = Y + 0x1000;
/// Where a handler's frame has CS (SDM 3A, figure 7-9).
const CS_IN_FRAME: u64 = STACK - 32;
/// Where core 1 tells core 0 what it has seen, and that it has.
const SEEN: u64 = Y + 0x80;
const IS_SEEN: u64 = Y + 0xc0;
/// A word that nobody writes.
const ZERO: u64 = Y + 0x100;

/// The vector of INT n here.
const VECTOR: i32 = 0x30;
/// Vectors that a handler is there for.
const VECTORS: [u8; 7] = [0, 3, 6, 7, 13, 14, VECTOR as u8];

/// The rest of core 0: its region ends, and it exits with whether `ebx` or what core 1 has seen is not zero.
fn judges(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let mut again = a.create_label();
    a.xchg(cx, cx)?;
    a.set_label(&mut again)?;
    a.cmp(dword_ptr(IS_SEEN), 0)?;
    a.je(again)?;
    a.or(ebx, dword_ptr(SEEN))?;
    a.setne(al)?;
    a.out(0xf4, al)
}

/// Core 1 stores to `mine` and looks at `theirs`, one after the other.
fn looks(mine: u64, theirs: u64) -> impl Fn(&mut CodeAssembler) -> Result<(), IcedError> {
    move |a| {
        a.xchg(bx, bx)?;
        a.mov(dword_ptr(mine), 1)?;
        a.mfence()?;
        a.mov(ecx, dword_ptr(theirs))?;
        a.xchg(cx, cx)?;
        a.mov(dword_ptr(SEEN), ecx)?;
        a.mov(dword_ptr(IS_SEEN), 1)
    }
}

/// Whether neither core sees what the other has stored. Exploration must be complete.
fn both_miss(survey: &Survey) -> bool {
    assert!(survey.is_complete(), "{:?} at {:x?}", survey.cuts(), survey.cut_places());
    assert!(survey.outcomes.contains_key(&Outcome::Exited(1)), "{:?}", outcomes(survey));
    assert!(survey.outcomes.len() <= 2, "{:?}", outcomes(survey));
    survey.outcomes.contains_key(&Outcome::Exited(0))
}

/// Likewise, where core 0 stores to [`X`], is led into a handler by `cause`, and loads [`Y`] there; core 1 looks at `theirs`.
fn both_miss_in_handler(cause: Code, theirs: u64, model: MemoryModel) -> bool {
    let enters = |a: &mut CodeAssembler| {
        handler(a, &VECTORS, |a| {
            a.mov(ebx, dword_ptr(Y))?;
            judges(a)
        })?;
        load_idt(a)?;
        a.mov(rsp, STACK)?;
        a.mov(rsi, 1u64 << 46)?;
        a.xor(ecx, ecx)?;
        a.xchg(bx, bx)?;
        a.mov(dword_ptr(X), 1)?;
        cause(a)
    };
    both_miss(&survey(&mut marked_cores(&[&enters, &looks(Y, theirs)]), model))
}

/// What leads into a handler.
const CAUSES: [Code; 7] = [
    &|a| a.int(VECTOR),
    &|a| a.int3(),
    &|a| a.ud2(),
    &|a| a.div(ecx),
    &|a| a.div(dword_ptr(ZERO)),
    // No address that a processor has.
    &|a| a.mov(eax, dword_ptr(rsi + rsi * 2)),
    // Not mapped.
    &|a| a.mov(dword_ptr(rsi), eax),
];

#[test]
fn the_buffer_is_empty_before_a_handler_is_entered() {
    for (number, cause) in CAUSES.into_iter().enumerate() {
        assert!(!both_miss_in_handler(cause, X, TSO), "cause {number}");
    }
}

#[test]
fn a_handlers_frame_is_pushed_by_stores_that_others_see_later() {
    for (number, cause) in CAUSES.into_iter().enumerate() {
        assert!(both_miss_in_handler(cause, CS_IN_FRAME, TSO), "cause {number}");
        assert!(!both_miss_in_handler(cause, CS_IN_FRAME, SC), "cause {number}");
    }
}

/// Divides by what it reads at [`X`], and goes on with whether that was zero in EBX, after it has stored to [`Y`].
fn divides(a: &mut CodeAssembler) -> Result<(), IcedError> {
    handler(a, &[0], |a| {
        a.xor(ebx, ebx)?;
        judges(a)
    })?;
    load_idt(a)?;
    a.mov(rsp, STACK)?;
    a.mov(eax, 1)?;
    a.xor(edx, edx)?;
    a.xchg(bx, bx)?;
    a.mov(dword_ptr(Y), 1)?;
    a.div(dword_ptr(X))?;
    a.mov(ebx, 1)?;
    judges(a)
}

#[test]
fn what_an_instruction_faults_by_is_loaded_before_the_buffer_is_empty() {
    let other = looks(X, Y);
    assert!(both_miss(&survey(&mut marked_cores(&[&divides, &other]), TSO)));
    assert!(!both_miss(&survey(&mut marked_cores(&[&divides, &other]), SC)));
}

#[test]
fn a_fault_that_depends_on_what_is_loaded_is_found_and_so_is_the_way_past_it() {
    for (before, after) in [(0, 1), (1, 0)] {
        let divide = |a: &mut CodeAssembler| {
            a.mov(dword_ptr(X), before)?;
            a.mov(eax, 1)?;
            a.xor(edx, edx)?;
            a.xchg(bx, bx)?;
            a.div(dword_ptr(X))?;
            a.mov(dword_ptr(Y), 1)
        };
        let flag = |a: &mut CodeAssembler| {
            a.xchg(bx, bx)?;
            // Once before the division is tried with the other value, and once after.
            a.mov(dword_ptr(X), after)?;
            a.mov(dword_ptr(X), before)?;
            a.mov(dword_ptr(X), after)
        };
        let survey = survey(&mut marked_cores(&[&divide, &flag]), TSO);
        assert!(survey.is_complete(), "{:?}", survey.cuts());
        let names: Vec<&Outcome> = survey.outcomes.keys().collect();
        assert!(matches!(names[..], [Outcome::AllHalted, Outcome::Faulted(_)]), "{names:?}");
    }
}

#[test]
fn a_handler_that_another_core_puts_in_place_is_there_or_not() {
    // Core 1 makes core 0's gate present; without it core 0 comes to a triple fault.
    let present = fencepost_tests::guest::IDT + VECTOR as u64 * 16 + 5;
    let enters = |a: &mut CodeAssembler| {
        handler(a, &[VECTOR as u8], |a| a.hlt())?;
        load_idt(a)?;
        a.mov(byte_ptr(present), 0x0e)?;
        a.xchg(bx, bx)?;
        a.int(VECTOR)
    };
    let puts = |a: &mut CodeAssembler| {
        a.xchg(bx, bx)?;
        a.mov(byte_ptr(present), 0x8e_u32 as i32)
    };
    let survey = survey(&mut marked_cores(&[&enters, &puts]), TSO);
    assert!(survey.is_complete(), "{:?}", survey.cuts());
    let names: Vec<&Outcome> = survey.outcomes.keys().collect();
    assert!(matches!(names[..], [Outcome::AllHalted, Outcome::Faulted(_)]), "{names:?}");
}

/// Whether neither sees the other's store where core 0 does `between` between its store and its load.
fn both_miss_around(between: Code, model: MemoryModel) -> bool {
    let stores = |a: &mut CodeAssembler| {
        a.mov(word_ptr(IDT_POINTER), 0xfff)?;
        a.mov(rsp, STACK)?;
        // A register that a core has for itself: FS's base, with the value that it has.
        a.mov(ecx, 0xc000_0100u32)?;
        a.rdmsr()?;
        a.mov(rsi, cr3)?;
        a.mov(rdi, cr0)?;
        a.mov(rbp, cr4)?;
        a.xchg(bx, bx)?;
        a.mov(dword_ptr(X), 1)?;
        between(a)?;
        a.mov(ebx, dword_ptr(Y))?;
        judges(a)
    };
    both_miss(&survey(&mut marked_cores(&[&stores, &looks(Y, X)]), model))
}

#[test]
fn what_serialises_waits_for_the_buffer_and_changes_only_its_own_core() {
    let serialising: [Code; 14] = [
        &|a| a.cpuid(),
        &|a| a.wbinvd(),
        &|a| a.invd(),
        &|a| a.invlpg(byte_ptr(STACK)),
        &|a| a.mov(cr3, rsi),
        &|a| a.mov(cr0, rdi),
        &|a| a.mov(cr4, rbp),
        &|a| a.mov(cr2, rsi),
        &|a| a.mov(dr0, rsi),
        &|a| a.clts(),
        &|a| a.lidt(ptr(IDT_POINTER)),
        &|a| a.wrmsr(),
        &|a| {
            // IA32_APIC_BASE, as it is.
            a.mov(ecx, 0x1b)?;
            a.rdmsr()?;
            a.wrmsr()
        },
        &|a| {
            // IA32_MISC_ENABLE, in which no bit that can be written means anything here.
            a.mov(ecx, 0x1a0)?;
            a.rdmsr()?;
            a.xor(eax, 1)?;
            a.wrmsr()
        },
    ];
    for (number, code) in serialising.into_iter().enumerate() {
        assert!(!both_miss_around(code, TSO), "number {number}");
    }
}

#[test]
fn what_does_not_serialise_does_not_wait_for_the_buffer() {
    let others: [Code; 5] = [
        &|_| Ok(()),
        &|a| a.rdmsr(),
        &|a| {
            a.mov(ecx, 0x1b)?;
            a.rdmsr()
        },
        &|a| a.mov(rax, cr8),
        &|a| a.mov(cr8, rcx),
    ];
    for (number, code) in others.into_iter().enumerate().take(4) {
        assert!(both_miss_around(code, TSO), "number {number}");
        assert!(!both_miss_around(code, SC), "number {number}");
    }
}

#[test]
fn interrupts_wait_for_the_task_priority_that_mov_to_cr8_sets() {
    for priority in [0, 15] {
        let main = |a: &mut CodeAssembler| {
            handler(a, &[0x41], |a| {
                a.mov(dword_ptr(X), 1)?;
                store(a, apic::EOI, 0)?;
                a.iretq()
            })?;
            load_idt(a)?;
            store(a, apic::SVR, apic::ENABLED)?;
            a.xchg(bx, bx)?;
            a.mov(ecx, priority)?;
            a.mov(cr8, rcx)?;
            a.sti()?;
            let mut again = a.create_label();
            a.set_label(&mut again)?;
            a.cmp(dword_ptr(Y), 0)?;
            a.je(again)?;
            a.cli()?;
            a.mov(rcx, cr8)?;
            a.xor(ecx, priority)?;
            a.mov(eax, dword_ptr(X))?;
            a.or(eax, ecx)?;
            a.out(0xf4, al)
        };
        let calls = |a: &mut CodeAssembler| {
            a.mov(rax, apic::ICR_LOW)?;
            a.xchg(bx, bx)?;
            a.mov(dword_ptr(rax), (0x41 | apic::ASSERT | apic::TO_OTHERS) as i32)?;
            a.mov(dword_ptr(Y), 1)
        };
        let survey = survey(&mut marked_cores(&[&main, &calls]), TSO);
        assert!(survey.is_complete(), "{:?}", survey.cuts());
        let comes = survey.outcomes.contains_key(&Outcome::Exited(1));
        assert_eq!(comes, priority == 0, "{:?}", outcomes(&survey));
    }
}

/// Page tables of core 0 as it starts: maps the 2 MiB from 8 MiB on to the next ones, after it has read there.
fn maps_anew(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.mov(eax, dword_ptr(0x80_0000))?;
    a.mov(rax, cr3)?;
    for _ in 0..2 {
        a.mov(rax, qword_ptr(rax))?;
        a.and(rax, -0x1000)?;
    }
    a.add(qword_ptr(rax + 8 * 4), 0x20_0000)
}

#[test]
fn a_translation_that_tables_no_longer_say_is_not_lost_unnoticed() {
    let invalidates: [Code; 2] = [&|a| a.invlpg(byte_ptr(0x80_0000)), &|a| a.mov(cr3, rsi)];
    let others: [Code; 2] = [&|a| a.invlpg(byte_ptr(X)), &|a| a.mov(cr2, rsi)];
    let explored = |code: Code, maps: bool| {
        let stale = |a: &mut CodeAssembler| {
            if maps {
                maps_anew(a)?;
            }
            a.mov(rsi, cr3)?;
            a.xchg(bx, bx)?;
            code(a)
        };
        survey(&mut marked_cores(&[&stale, &|a| a.xchg(bx, bx)]), TSO)
    };
    for code in invalidates {
        assert_eq!(explored(code, true).cuts(), [Cut::Beyond(Beyond::ChangesTranslation)]);
        assert!(explored(code, false).is_complete());
    }
    for code in others {
        assert!(explored(code, true).is_complete(), "{:?}", explored(code, true).cuts());
    }
}

#[test]
fn what_is_not_followed_is_said_with_its_place() {
    let reasons: [(Beyond, &str, Code); 9] = [
        (Beyond::ReadsTime, "rdtsc", &|a| a.rdtsc()),
        (Beyond::ChangesTranslation, "mov cr3,rcx", &|a| a.mov(cr3, rcx)),
        (Beyond::ChangesTranslation, "mov cr4,rbp", &|a| {
            a.mov(rbp, cr4)?;
            a.xor(rbp, 1 << 7)?;
            a.mov(cr4, rbp)
        }),
        (Beyond::ChangesMemoryTypes, "wrmsr", &|a| wrmsr(a, 0x277, 0)),
        (Beyond::ChangesMemoryTypes, "wrmsr", &|a| wrmsr(a, 0x2ff, 0x806)),
        (Beyond::MovesApic, "wrmsr", &|a| wrmsr(a, 0x1b, 0xfee0_0000)),
        (Beyond::SetsClock, "wrmsr", &|a| wrmsr(a, 0x10, 0)),
        (Beyond::FarTransfer, "retfq", &|a| a.retf()),
        (Beyond::DebugException, "nop", &|a| {
            handler(a, &[1], |a| a.hlt())?;
            load_idt(a)?;
            a.pushfq()?;
            a.or(dword_ptr(rsp), 1 << 8)?;
            a.popfq()?;
            a.nop()
        }),
    ];
    for (reason, text, code) in reasons {
        let mut guest = cores(&[&|a| a.mov(dword_ptr(X), 1), &|a| {
            a.xor(ecx, ecx)?;
            a.mov(ecx, dword_ptr(X))?;
            code(a)
        }]);
        let survey = survey(&mut guest, TSO);
        assert_eq!(survey.cuts(), [Cut::Beyond(reason)], "{text}");
        let places = survey.cut_places();
        let told: Vec<_> = places.iter().map(|place| (place.reason, place.core.map(|core| core.0))).collect();
        assert_eq!(told, [(reason, Some(1))], "{text}");
        let instruction = places[0].pc.and_then(|pc| guest.instruction_text(pc));
        assert_eq!(instruction.as_deref(), Some(text));
    }
}

/// Writes `value` into a register that has 64 bits.
fn wrmsr(a: &mut CodeAssembler, register: i32, value: u32) -> Result<(), IcedError> {
    a.mov(ecx, register)?;
    a.mov(eax, value)?;
    a.xor(edx, edx)?;
    a.wrmsr()
}

#[test]
fn a_device_that_does_something_by_itself_is_named() {
    let starts = |a: &mut CodeAssembler| {
        store(a, apic::SVR, apic::ENABLED)?;
        store(a, apic::LVT_TIMER, 0x30)?;
        store(a, apic::TIMER_INITIAL, 1_000_000)?;
        a.xchg(bx, bx)?;
        a.mov(dword_ptr(X), 1)
    };
    let survey = survey(&mut marked_cores(&[&|a| a.xchg(bx, bx), &starts]), TSO);
    let places = survey.cut_places();
    assert_eq!(survey.cuts(), [Cut::Beyond(Beyond::RunsTimer)]);
    assert_eq!(places.len(), 1, "{places:?}");
    assert_eq!((places[0].pc, places[0].core.map(|core| core.0), places[0].device), (None, Some(1), Some("lapic")));
}

#[test]
fn the_story_of_an_exception_tells_where_its_handler_begins_and_ends() {
    let main = |a: &mut CodeAssembler| {
        handler(a, &[VECTOR as u8], |a| {
            a.mov(dword_ptr(X), 1)?;
            a.iretq()
        })?;
        load_idt(a)?;
        a.xchg(bx, bx)?;
        a.int(VECTOR)?;
        a.mov(eax, dword_ptr(X))?;
        a.out(0xf4, al)
    };
    let mut guest = marked_cores(&[&main, &|a| {
        a.xchg(bx, bx)?;
        a.mov(eax, dword_ptr(X))
    }]);
    let survey = survey(&mut guest, TSO);
    let told = guest.explain(&survey, &Outcome::Exited(1), None).expect("it is an outcome").0;
    let of_handler = |effect: &&Effect| matches!(effect, Effect::Enter { .. } | Effect::Return);
    let told: Vec<&Effect> = told.rows.iter().flat_map(|row| &row.effects).filter(of_handler).collect();
    let entry = Effect::Enter { handled: Fault::Interrupt { vector: VECTOR as u32, source: Source::Software } };
    assert_eq!(told, [&entry, &Effect::Return]);
}
