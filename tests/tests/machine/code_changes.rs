//! Code that changes while it runs: by its own core, by another core, by going back to a snapshot.

use super::testbed::*;
use fencepost::choice::Choice;
use fencepost::core::CoreId;
use fencepost::memory_model::MemoryModel;
use iced_x86::IcedError;
use iced_x86::code_asm::*;

/// `mov eax, 1`, whose operand is at `target` + 1.
fn patchable(a: &mut CodeAssembler, target: &mut CodeLabel) -> Result<(), IcedError> {
    a.set_label(target)?;
    a.mov(eax, 1)
}

/// Patches the next instruction of the same block.
fn patch_same_block(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let mut target = a.create_label();
    a.lea(rbx, qword_ptr(target))?;
    a.mov(byte_ptr(rbx + 1), 2)?;
    patchable(a, &mut target)
}

/// Executes an instruction, patches it and executes it again, 40 times, each time adding what it loads to R8.
fn patch_next_block(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let (mut target, mut again) = (a.create_label(), a.create_label());
    a.lea(rbx, qword_ptr(target))?;
    a.xor(ecx, ecx)?;
    a.set_label(&mut again)?;
    a.jmp(target)?;
    patchable(a, &mut target)?;
    a.add(r8d, eax)?;
    a.inc(ecx)?;
    a.mov(byte_ptr(rbx + 1), cl)?;
    a.cmp(ecx, 40)?;
    a.jne(again)
}

/// Runs core 0 to its end in slices of `steps`.
fn run_in_slices(model: MemoryModel, code: Code, steps: u64, drained: bool) -> Testbed {
    let mut t = Testbed::new(model, &[code]);
    while !t.core(0).is_halted() {
        t.apply(Choice::Run { core: CoreId(0), steps, drained });
    }
    t
}

#[test]
fn a_core_sees_its_own_change_of_the_next_instruction() {
    for model in MemoryModel::ALL {
        for (steps, drained) in [(1, false), (1, true), (100, false), (100, true)] {
            let mut t = run_in_slices(model, &patch_same_block, steps, drained);
            assert_eq!(t.rax(0), 2, "under {model} in slices of {steps}, drained: {drained}");
        }
    }
}

#[test]
fn a_core_sees_its_own_changes_of_a_block_it_has_executed() {
    for model in MemoryModel::ALL {
        for (steps, drained) in [(1, false), (1, true), (7, false), (29, true), (1000, false), (1000, true)] {
            let mut t = run_in_slices(model, &patch_next_block, steps, drained);
            let sum = 1 + (1..40).sum::<u64>();
            assert_eq!(t.gpr(0, 8), sum, "under {model} in slices of {steps}, drained: {drained}");
        }
    }
}

#[test]
fn a_changed_class_of_instruction_is_noticed() {
    // NOP, MFENCE's first bytes aside, becomes `mfence` after it has executed as a long NOP.
    let code = |a: &mut CodeAssembler| {
        let (mut target, mut again) = (a.create_label(), a.create_label());
        a.lea(rbx, qword_ptr(target))?;
        a.mov(ecx, 2)?;
        a.set_label(&mut again)?;
        a.mov(qword_ptr(X), rcx)?;
        a.set_label(&mut target)?;
        a.db(&[0x0f, 0x1f, 0xf0])?;
        a.nop()?;
        a.mov(byte_ptr(rbx + 1), 0xae)?;
        a.dec(ecx)?;
        a.jnz(again)
    };
    let mut t = Testbed::new(TSO, &[&code]);
    t.steps(0, 4);
    assert_eq!(t.pending(0).len(), 1, "a NOP drains nothing");
    t.steps(0, 5);
    assert!(t.pending(0).len() > 1);
    t.step(0);
    assert_eq!(t.pending(0), [], "it is MFENCE now");
}

/// Where the loop stands that is patched: the image's data is executable.
const LOOP: u64 = DATA;

/// Core `spinner` executes `mov eax, 1` over and over; the other one is about to patch the 1 into a 2.
fn patcher_and_spinner(model: MemoryModel, spinner: u8) -> Testbed {
    let patch = |a: &mut CodeAssembler| a.mov(byte_ptr(LOOP + 1), 2);
    let spin = |a: &mut CodeAssembler| {
        a.mov(ecx, LOOP as u32)?;
        a.jmp(rcx)
    };
    let programs: [Code; 2] = if spinner == 1 { [&patch, &spin] } else { [&spin, &patch] };
    // MOV EAX, 1; JMP back.
    Testbed::with_data(model, &programs, &[0xb8, 1, 0, 0, 0, 0xeb, 0xf9])
}

#[test]
fn a_core_sees_anothers_change_of_its_code_once_it_has_drained() {
    for model in MemoryModel::ALL {
        for spinner in [0, 1] {
            for (steps, drained) in [(10, false), (100, true)] {
                let patcher = 1 - spinner;
                let spin = Choice::Run { core: CoreId(spinner), steps, drained };
                let mut t = patcher_and_spinner(model, spinner);
                t.apply(spin);
                assert_eq!(t.rax(spinner), 1);
                t.step(patcher);
                t.apply(spin);
                assert_eq!(t.rax(spinner), if model == SC { 2 } else { 1 }, "under {model}, before the drain");
                t.drain_all(patcher);
                t.apply(spin);
                assert_eq!(t.rax(spinner), 2, "under {model}, after the drain");
            }
        }
    }
}

#[test]
fn a_core_that_patches_in_a_long_drained_run_is_seen_by_the_others() {
    let patch = |a: &mut CodeAssembler| {
        let mut again = a.create_label();
        a.mov(ecx, 50)?;
        a.set_label(&mut again)?;
        a.mov(byte_ptr(LOOP + 1), cl)?;
        a.dec(ecx)?;
        a.jnz(again)
    };
    let spin = |a: &mut CodeAssembler| {
        a.mov(ecx, LOOP as u32)?;
        a.jmp(rcx)
    };
    let mut t = Testbed::with_data(TSO, &[&patch, &spin], &[0xb8, 99, 0, 0, 0, 0xeb, 0xf9]);
    for expected in [99, 1] {
        for drained in [true, false] {
            t.apply(Choice::Run { core: CoreId(1), steps: 100, drained });
            assert_eq!(t.rax(1), expected);
        }
        if expected == 99 {
            t.apply(Choice::Run { core: CoreId(0), steps: 1000, drained: true });
        }
    }
}

#[test]
fn code_goes_back_with_a_snapshot() {
    for (steps, drained) in [(10, false), (100, true)] {
        let spin = Choice::Run { core: CoreId(1), steps, drained };
        let mut t = patcher_and_spinner(TSO, 1);
        t.apply(spin);
        let before = t.machine.snapshot();
        t.finish(0);
        t.apply(spin);
        assert_eq!(t.rax(1), 2);
        let after = t.machine.snapshot();
        t.machine.restore(&before);
        t.apply(spin);
        assert_eq!(t.rax(1), 1);
        t.machine.restore(&after);
        t.apply(spin);
        assert_eq!(t.rax(1), 2);
    }
}

#[test]
fn code_goes_back_and_forth_with_a_store_to_it_that_is_still_pending() {
    // Core 0 patches the loop's MOV EAX, 1 once, and not at all after core 1 has said so.
    let patcher = |a: &mut CodeAssembler| {
        let (mut again, mut past) = (a.create_label(), a.create_label());
        a.xor(edx, edx)?;
        a.lea(rsi, ptr(again))?;
        a.mov(ecx, LOOP as u32)?;
        a.set_label(&mut again)?;
        a.cmp(byte_ptr(X), 0)?;
        a.jne(past)?;
        a.test(edx, edx)?;
        a.jnz(past)?;
        a.inc(edx)?;
        a.mov(byte_ptr(LOOP + 1), 2)?;
        a.set_label(&mut past)?;
        a.jmp(rcx)
    };
    let stopper = |a: &mut CodeAssembler| a.mov(byte_ptr(X), 1);
    // MOV EAX, 1; JMP RSI.
    let mut t = Testbed::with_data(TSO, &[&patcher, &stopper], &[0xb8, 1, 0, 0, 0, 0xff, 0xe6]);
    let go_round = |t: &mut Testbed| (0..6).for_each(|_| t.steps(0, 20));
    let before = t.machine.snapshot();
    go_round(&mut t);
    assert_eq!((t.rax(0), t.pending_addresses(0)), (2, vec![LOOP + 1]));
    let patched = t.machine.snapshot();
    t.machine.restore(&before);
    t.finish(1);
    go_round(&mut t);
    assert_eq!((t.rax(0), t.pending_addresses(0)), (1, vec![]));
    t.machine.restore(&patched);
    go_round(&mut t);
    assert_eq!(t.rax(0), 2);
}

/// Core 0 goes round a long NOP with a store pending; core 1 is about to turn the NOP into MFENCE.
fn fence_maker_and_spinner() -> Testbed {
    let spin = |a: &mut CodeAssembler| {
        a.mov(ecx, LOOP as u32)?;
        a.mov(qword_ptr(X), 1)?;
        a.jmp(rcx)
    };
    let patch = |a: &mut CodeAssembler| a.mov(byte_ptr(LOOP + 1), 0xaeu32);
    // NOP EAX; JMP back.
    let mut t = Testbed::with_data(TSO, &[&spin, &patch], &[0x0f, 0x1f, 0xf0, 0xeb, 0xfb]);
    t.steps(0, 10);
    assert_eq!(t.pending_addresses(0), [X]);
    t
}

#[test]
fn a_class_of_instruction_that_another_core_has_changed_is_noticed() {
    for steps in [1, 2, 10] {
        let mut t = fence_maker_and_spinner();
        t.step(1);
        t.steps(0, 10);
        assert_eq!(t.pending_addresses(0), [X], "the change is still pending");
        t.drain_all(1);
        for _ in 0..2 {
            t.steps(0, steps);
        }
        assert_eq!(t.pending(0), [], "it is MFENCE now");
    }
}

#[test]
fn classes_of_instructions_go_back_with_a_snapshot() {
    let mut t = fence_maker_and_spinner();
    let before = t.machine.snapshot();
    t.finish(1);
    t.steps(0, 10);
    assert_eq!(t.pending(0), []);
    let after = t.machine.snapshot();
    t.machine.restore(&before);
    t.steps(0, 10);
    assert_eq!(t.pending_addresses(0), [X], "it is a NOP again");
    t.machine.restore(&after);
    t.steps(0, 10);
    assert_eq!(t.pending(0), []);
}

/// Goes round by a jump of which only the last two bytes lie on the second page, and no other code: to EAX = 1, or EAX = 2
/// once the first byte of that page is 1.
fn jump_across_pages() -> Vec<u8> {
    let mut code = vec![0; 0x1_3000];
    let mut put = |at: usize, bytes: &[u8]| code[at..at + bytes.len()].copy_from_slice(bytes);
    let back_from = |at: u32| [&[0xe9][..], &(0xff0u32.wrapping_sub(at + 10)).to_le_bytes()].concat();
    put(0xff0, &[0x90; 13]);
    put(0xffd, &[0xe9, 0xfe, 0x10, 0, 0]);
    for (at, value) in [(0x2100u32, 1), (0x1_2100, 2)] {
        put(at as usize, &[0xb8, value, 0, 0, 0]);
        put(at as usize + 5, &back_from(at));
    }
    code
}

#[test]
fn a_change_of_the_part_of_an_instruction_that_lies_on_another_page_is_noticed() {
    let jump = |a: &mut CodeAssembler| {
        a.mov(ecx, (DATA + 0xff0) as u32)?;
        a.jmp(rcx)
    };
    let patch = |a: &mut CodeAssembler| a.mov(byte_ptr(DATA + 0x1000), 1);
    for (steps, drained) in [(1, false), (50, false), (200, true)] {
        let mut t = Testbed::with_data(TSO, &[&jump, &patch], &jump_across_pages());
        let go_round = |t: &mut Testbed| {
            for _ in 0..50 {
                t.apply(Choice::Run { core: CoreId(0), steps, drained });
            }
        };
        go_round(&mut t);
        assert_eq!(t.rax(0), 1);
        t.finish(1);
        go_round(&mut t);
        assert_eq!(t.rax(0), 2, "in slices of {steps}, drained: {drained}");
    }
}

#[test]
fn a_store_to_code_that_is_taken_back_by_a_fault_leaves_the_code() {
    // An 8-byte store whose second half faults would have patched the loop's last bytes: nothing of it is executed.
    use super::page_tables::{MISSING, SECOND_FRAME, paged};
    let code = MISSING - 7;
    let setup = |a: &mut CodeAssembler| {
        // MOV EAX, 1; JMP back, at the end of the page.
        a.mov(dword_ptr(code), 0x0000_01b8)?;
        a.mov(word_ptr(code + 4), 0xeb00u32 as i32)?;
        a.mov(byte_ptr(code + 6), 0xf9u32)?;
        a.mov(ecx, code as u32)?;
        a.jmp(rcx)
    };
    let other = |a: &mut CodeAssembler| {
        a.mov(rax, -1i64)?;
        a.mov(qword_ptr(code + 1), rax)
    };
    let mut t = paged(SC, &[&setup, &other]);
    t.steps(0, 20);
    t.steps(1, 2);
    t.fault();
    assert_eq!(t.memory(SECOND_FRAME + 0xff8) >> 8, 0x00f9_eb00_0000_01b8);
}

#[test]
fn a_change_of_code_that_an_engine_has_only_looked_ahead_at_is_noticed() {
    const SECOND_PAGE: u64 = DATA + 0x1000;
    // NOP, the last byte of its page; on the next MOV EAX, 1 and a jump back.
    let mut code = vec![0x90; 0x1000];
    code.extend([0xb8, 1, 0, 0, 0, 0xe9, 0xf5, 0xff, 0xff, 0xff]);
    let jump = |a: &mut CodeAssembler| {
        a.mov(ecx, (SECOND_PAGE - 1) as u32)?;
        a.jmp(rcx)
    };
    let patch = |a: &mut CodeAssembler| a.mov(byte_ptr(SECOND_PAGE + 1), 2);
    for drained in [false, true] {
        let mut t = Testbed::with_data(TSO, &[&jump, &patch], &code);
        while t.pc(0) != SECOND_PAGE {
            t.apply(Choice::Run { core: CoreId(0), steps: 1, drained });
        }
        t.finish(1);
        t.apply(Choice::Run { core: CoreId(0), steps: 4, drained });
        assert_eq!((t.pc(0), t.rax(0)), (SECOND_PAGE + 5, 2), "drained: {drained}");
    }
}

#[test]
fn an_addition_that_reaches_into_a_page_with_code_is_done_once() {
    const CODE: u64 = DATA + 0x1000;
    const TIMES: i32 = 300;
    let code = |a: &mut CodeAssembler| {
        let mut again = a.create_label();
        a.mov(ecx, TIMES)?;
        a.set_label(&mut again)?;
        a.call(CODE + 8)?;
        // Its lower half lies before the page with code.
        a.add(qword_ptr(CODE - 4), 0x4000_0001)?;
        a.dec(ecx)?;
        a.jnz(again)
    };
    let mut data = vec![0; 0x1000];
    // 8 bytes, and RET.
    data.extend([0, 0, 0, 0, 0, 0, 0, 0, 0xc3]);
    for (steps, drained) in [(1, false), (50, false), (10_000, true)] {
        let mut t = Testbed::with_data(TSO, &[&code], &data);
        while !t.core(0).is_halted() {
            t.apply(Choice::Run { core: CoreId(0), steps, drained });
        }
        t.drain_all(0);
        assert_eq!(t.memory(CODE - 4), 0x4000_0001 * TIMES as u64, "in slices of {steps}, drained: {drained}");
    }
}
