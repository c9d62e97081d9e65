//! Translations that a core has noted: used until it is told not to, whatever becomes of engines meanwhile.

use super::page_tables::*;
use super::testbed::*;
use fencepost::choice::Choice;
use fencepost::core::CoreId;
use fencepost::devices::{Framebuffer, PhysAddr};
use fencepost::machine::State;
use fencepost::memory::VGA_HOLE;
use fencepost::trace::{Event, Fault};
use fencepost_tests::guest::{apic, handler, load_idt, store};
use iced_x86::IcedError;
use iced_x86::code_asm::*;

const OLD: i32 = 3;
const NEW: i32 = 5;
const PRESENT_WRITABLE: u64 = 3;
const GLOBAL: u64 = 1 << 8;
const CR4_PGE: i32 = 1 << 7;
const VECTOR: u8 = 0x40;
/// How often a page is read: enough for the fast engine.
const TIMES: i32 = 200;
/// The table of the first GiB's 2 MiB regions.
const DIRECTORY: u64 = DATA + 0x2000;

/// Adds what lies at `page` to `sum`, [`TIMES`] times.
fn read_often(a: &mut CodeAssembler, page: u64, sum: AsmRegister64) -> Result<(), IcedError> {
    let mut again = a.create_label();
    a.xor(sum, sum)?;
    a.mov(ecx, TIMES)?;
    a.set_label(&mut again)?;
    a.add(sum, qword_ptr(page))?;
    a.dec(ecx)?;
    a.jnz(again)
}

fn map(a: &mut CodeAssembler, page: u64, entry: u64) -> Result<(), IcedError> {
    a.mov(rax, entry)?;
    a.mov(qword_ptr(entry_of(page)), rax)?;
    a.mfence()
}

/// The page is used, then moved from one frame to the other, with `between` before and `after` after it is used again:
/// what is read each time, into RBX, RSI, RDI.
fn moved(flags: u64, after: Code) -> impl Fn(&mut CodeAssembler) -> Result<(), IcedError> {
    move |a| {
        a.mov(qword_ptr(FIRST_FRAME), OLD)?;
        a.mov(qword_ptr(SECOND_FRAME), NEW)?;
        map(a, SCATTERED, FIRST_FRAME | PRESENT_WRITABLE | flags)?;
        read_often(a, SCATTERED, rbx)?;
        map(a, SCATTERED, SECOND_FRAME | PRESENT_WRITABLE | flags)?;
        read_often(a, SCATTERED, rsi)?;
        after(a)?;
        read_often(a, SCATTERED, rdi)
    }
}

/// What happens between two slices of a run.
#[derive(Clone, Copy, Debug)]
enum Between {
    Nothing,
    GoesBack,
    GoesOnElsewhere,
}

/// Runs `code` in slices of `steps`; the state at the end.
fn run(code: Code, steps: u64, between: Between) -> State {
    let mut t = paged(TSO, &[code]);
    while !t.core(0).is_halted() {
        t.apply(Choice::Run { core: CoreId(0), steps, drained: true });
        assert_eq!(t.machine.stop().filter(|_| !t.machine.outer_state().cores[0].is_halted()), None);
        match between {
            Between::Nothing => (),
            Between::GoesBack => {
                let snapshot = t.machine.snapshot();
                t.machine.restore(&snapshot);
            }
            Between::GoesOnElsewhere => {
                let snapshot = t.machine.snapshot();
                t = paged(TSO, &[code]);
                t.machine.restore(&snapshot);
            }
        }
    }
    t.state().clone()
}

/// What is read before the page is moved, after, and in the end, in every way of running.
fn check(code: Code, expected: [i32; 3]) {
    let whole = run(code, 1_000_000, Between::Nothing);
    let gpr = whole.cores[0].cpu.gpr;
    let sums = expected.map(|value| (value * TIMES) as u64);
    assert_eq!([gpr[3], gpr[6], gpr[7]], sums);
    for steps in [1, 7, 1000] {
        for between in [Between::Nothing, Between::GoesBack, Between::GoesOnElsewhere] {
            if steps == 1 && !matches!(between, Between::Nothing) {
                continue;
            }
            let sliced = run(code, steps, between);
            assert_eq!(sliced.cores, whole.cores, "{steps} steps, {between:?}");
            assert!(sliced == whole, "{steps} steps, {between:?}");
        }
    }
}

#[test]
fn a_stale_translation_is_used_until_invlpg() {
    check(&moved(0, &|a| a.invlpg(ptr(SCATTERED + 0x123))), [OLD, OLD, NEW]);
}

#[test]
fn invlpg_of_another_page_forgets_nothing() {
    check(&moved(0, &|a| a.invlpg(ptr(ALIAS))), [OLD, OLD, OLD]);
}

fn reload_cr3(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.mov(rax, cr3)?;
    a.mov(cr3, rax)
}

fn change_cr4(a: &mut CodeAssembler, bits: i32) -> Result<(), IcedError> {
    a.mov(rax, cr4)?;
    a.xor(rax, bits)?;
    a.mov(cr4, rax)
}

#[test]
fn loading_cr3_forgets_all_but_global_pages() {
    check(&moved(0, &reload_cr3), [OLD, OLD, NEW]);
    let with_global_pages = |a: &mut CodeAssembler| {
        change_cr4(a, CR4_PGE)?;
        moved(GLOBAL, &reload_cr3)(a)
    };
    check(&with_global_pages, [OLD, OLD, OLD]);
}

#[test]
fn pages_are_global_only_while_cr4_says_so() {
    check(&moved(GLOBAL, &reload_cr3), [OLD, OLD, NEW]);
    let with_global_pages = |a: &mut CodeAssembler| {
        change_cr4(a, CR4_PGE)?;
        moved(GLOBAL, &|a| change_cr4(a, CR4_PGE))(a)
    };
    check(&with_global_pages, [OLD, OLD, NEW]);
}

#[test]
fn an_access_that_a_translation_does_not_allow_looks_it_up_anew() {
    let code = |a: &mut CodeAssembler| {
        a.mov(rax, qword_ptr(READ_ONLY))?;
        map(a, READ_ONLY, SECOND_FRAME | PRESENT_WRITABLE)?;
        a.mov(qword_ptr(READ_ONLY), NEW)?;
        read_often(a, READ_ONLY, rdi)?;
        read_often(a, SECOND_FRAME, rbx)?;
        a.mov(rsi, rbx)
    };
    check(&code, [NEW, NEW, NEW]);
}

/// Uses `count` other pages whose translations are kept in the same set.
fn crowd(a: &mut CodeAssembler, count: u64) -> Result<(), IcedError> {
    let set = SCATTERED % (128 << 12);
    let pages = (1..4).flat_map(|region| (0..4).map(move |index| region << 21 | index << 19 | set));
    for page in pages.take(count as usize) {
        a.mov(al, byte_ptr(page))?;
    }
    Ok(())
}

#[test]
fn in_a_full_set_the_oldest_translation_goes() {
    let crowded = |count: u64| {
        move |a: &mut CodeAssembler| {
            for region in 1..4 {
                a.mov(rax, qword_ptr(DIRECTORY))?;
                a.mov(qword_ptr(DIRECTORY + 8 * region), rax)?;
            }
            moved(0, &|a| crowd(a, count))(a)
        }
    };
    check(&crowded(7), [OLD, OLD, OLD]);
    check(&crowded(8), [OLD, OLD, NEW]);
}

#[test]
fn each_core_has_translations_of_its_own() {
    let user = |a: &mut CodeAssembler| {
        read_often(a, SCATTERED, rbx)?;
        a.hlt()?;
        read_often(a, SCATTERED, rsi)
    };
    let owner = |a: &mut CodeAssembler| {
        a.mov(qword_ptr(SECOND_FRAME), NEW)?;
        map(a, SCATTERED, SECOND_FRAME | PRESENT_WRITABLE)?;
        a.invlpg(ptr(SCATTERED))?;
        read_often(a, SCATTERED, rsi)
    };
    let mut t = paged(TSO, &[&user, &owner]);
    t.steps(0, 3 + 3 * TIMES as u64 - 1);
    t.finish(1);
    let before = t.core(0).tlb.clone();
    assert_eq!(t.gpr(1, 6), (NEW * TIMES) as u64);
    let snapshot = t.machine.snapshot();
    t.machine.restore(&snapshot);
    assert!(t.core(0).tlb == before, "another core's INVLPG is not this one's");
}

#[test]
fn code_is_fetched_from_where_it_was_until_invlpg() {
    // A page of code is called, moved to a frame with other code, and called again.
    let write = |a: &mut CodeAssembler, frame: u64, value: u8| {
        for (at, byte) in [0xb0, value, 0xc3].into_iter().enumerate() {
            a.mov(byte_ptr(frame + at as u64), i32::from(byte as i8))?;
        }
        Ok::<(), IcedError>(())
    };
    let code = |a: &mut CodeAssembler| {
        write(a, FIRST_FRAME, OLD as u8)?;
        write(a, SECOND_FRAME, NEW as u8)?;
        a.mov(rsp, X)?;
        a.mov(r8, SCATTERED)?;
        for (sum, entry) in [(rbx, SECOND_FRAME), (rsi, 0), (rdi, 0)] {
            let mut again = a.create_label();
            a.xor(sum, sum)?;
            a.mov(ecx, TIMES)?;
            a.set_label(&mut again)?;
            a.xor(eax, eax)?;
            a.call(r8)?;
            a.add(sum, rax)?;
            a.dec(ecx)?;
            a.jnz(again)?;
            if entry != 0 {
                map(a, SCATTERED, entry | PRESENT_WRITABLE)?;
            } else {
                a.invlpg(ptr(SCATTERED))?;
            }
        }
        Ok(())
    };
    check(&code, [OLD, OLD, NEW]);
}

/// Calls the code at `page`, which returns a number in EAX, [`TIMES`] times, and sums up what it returns.
fn call_often(a: &mut CodeAssembler, page: u64, sum: AsmRegister64) -> Result<(), IcedError> {
    let mut again = a.create_label();
    a.xor(sum, sum)?;
    a.mov(ecx, TIMES)?;
    a.set_label(&mut again)?;
    a.call(page)?;
    a.add(sum, rax)?;
    a.dec(ecx)?;
    a.jnz(again)
}

#[test]
fn code_at_one_address_is_that_of_the_frame_that_it_is_mapped_to() {
    // As far from the beginning of the framebuffer as the other is from that of RAM above the hole for VGA.
    let frames = [FIRST_FRAME, Framebuffer::PIXELS.0 + FIRST_FRAME - VGA_HOLE.end];
    let move_to = |a: &mut CodeAssembler, frame: u64| {
        map(a, SCATTERED, frame | PRESENT_WRITABLE)?;
        a.invlpg(ptr(SCATTERED))
    };
    let code = |a: &mut CodeAssembler| {
        for (frame, value) in frames.into_iter().zip([OLD, NEW]) {
            move_to(a, frame)?;
            // MOV EAX, value; RET.
            a.mov(byte_ptr(SCATTERED), 0xb8)?;
            a.mov(dword_ptr(SCATTERED + 1), value)?;
            a.mov(byte_ptr(SCATTERED + 5), 0xc3)?;
        }
        for (frame, sum) in [(frames[0], rbx), (frames[1], rsi), (frames[0], rdi)] {
            move_to(a, frame)?;
            call_often(a, SCATTERED, sum)?;
        }
        Ok(())
    };
    check(&code, [OLD, NEW, OLD]);
}

#[test]
fn a_page_table_in_a_page_that_has_held_code_is_marked_and_used_like_any_other() {
    const BEYOND: u64 = 0x20_0000;
    const ACCESSED_DIRTY: u64 = 0x60;
    let code = |a: &mut CodeAssembler| {
        let (mut again, mut often) = (a.create_label(), a.create_label());
        // RET, so often that the fast engine knows the page as one of code.
        a.mov(byte_ptr(FIRST_FRAME), 0xc3)?;
        a.mfence()?;
        a.mov(ecx, TIMES)?;
        a.set_label(&mut again)?;
        a.call(FIRST_FRAME)?;
        a.dec(ecx)?;
        a.jnz(again)?;
        for (at, entry) in [(FIRST_FRAME, SECOND_FRAME), (DIRECTORY + 8, FIRST_FRAME)] {
            a.mov(rax, entry | PRESENT_WRITABLE)?;
            a.mov(qword_ptr(at), rax)?;
        }
        a.mfence()?;
        a.mov(ecx, TIMES)?;
        a.set_label(&mut often)?;
        a.dec(ecx)?;
        a.jnz(often)?;
        a.mov(rsi, qword_ptr(BEYOND))?;
        a.mov(qword_ptr(BEYOND), NEW)?;
        a.mov(qword_ptr(BEYOND + 8), OLD)?;
        read_often(a, BEYOND, rdi)
    };
    let whole = run(&code, 1_000_000, Between::Nothing);
    let word = |at: u64| whole.memory.read_u64(PhysAddr(at));
    assert_eq!([word(SECOND_FRAME), word(SECOND_FRAME + 8)], [Some(NEW as u64), Some(OLD as u64)]);
    assert_eq!(word(FIRST_FRAME), Some(SECOND_FRAME | PRESENT_WRITABLE | ACCESSED_DIRTY));
    for steps in [1, 7, 1000] {
        assert!(run(&code, steps, Between::Nothing) == whole, "{steps} steps");
    }
}

#[test]
fn an_interrupt_forgets_no_translation_on_a_machine_that_has_executed_nothing_before() {
    let code = |a: &mut CodeAssembler| {
        let mut forever = a.create_label();
        handler(a, &[VECTOR], |a| a.hlt())?;
        load_idt(a)?;
        store(a, apic::SVR, apic::ENABLED)?;
        read_often(a, SCATTERED, rbx)?;
        store(a, apic::ICR_LOW, apic::TO_SELF | apic::ASSERT | u32::from(VECTOR))?;
        a.sti()?;
        a.set_label(&mut forever)?;
        a.jmp(forever)
    };
    let interrupt = Choice::Interrupt { core: CoreId(0) };
    let mut warm = paged(TSO, &[&code]);
    warm.apply(Choice::Run { core: CoreId(0), steps: 2000, drained: true });
    let snapshot = warm.machine.snapshot();
    let mut cold = paged(TSO, &[&code]);
    cold.machine.restore(&snapshot);
    for t in [&mut warm, &mut cold] {
        t.apply(interrupt);
        t.run(0);
    }
    assert_eq!(cold.state().cores, warm.state().cores);
    assert!(cold.state() == warm.state());
}

#[test]
fn a_table_outside_of_memory_maps_nothing_and_no_device_is_asked() {
    const BEYOND: u64 = 0x20_0000;
    const LOCAL_APIC: u64 = 0xfee0_0000;
    let accesses: [(u32, Code); 2] = [(0, &|a| a.mov(rax, qword_ptr(BEYOND))), (2, &|a| a.mov(qword_ptr(BEYOND), 1))];
    for (error_code, access) in accesses {
        let code = |a: &mut CodeAssembler| {
            a.mov(rax, LOCAL_APIC | PRESENT_WRITABLE)?;
            a.mov(qword_ptr(DIRECTORY + 8), rax)?;
            access(a)
        };
        for steps in [1, 1000] {
            let mut t = paged(TSO, &[&code]);
            while t.machine.stop().is_none() {
                t.apply(Choice::Run { core: CoreId(0), steps, drained: true });
            }
            let fault = Fault::Exception { vector: 14, error_code, address: BEYOND };
            assert_eq!(t.fault().1, fault);
            assert!(!t.events().iter().any(|event| matches!(event, Event::DeviceRead { .. })));
        }
    }
}
