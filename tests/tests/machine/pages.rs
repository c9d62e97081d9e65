//! Accesses that cross from one page into another, wherever the pages' frames are.

use super::page_tables::*;
use super::testbed::*;
use fencepost::memory_model::MemoryModel;
use iced_x86::IcedError;
use iced_x86::code_asm::*;

const VALUE: u64 = 0x8877_6655_4433_2211;

/// Stores 8 bytes of which the last 3 lie on the second page.
fn store_across(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.mov(rax, VALUE)?;
    a.mov(qword_ptr(LAST - 5), rax)
}

#[test]
fn a_store_across_neighbouring_frames_is_two_entries() {
    let code = |a: &mut CodeAssembler| {
        a.mov(rax, VALUE)?;
        a.mov(qword_ptr(X + 0xffb), rax)
    };
    let mut t = Testbed::new(TSO, &[&code]);
    t.run(0);
    assert_eq!(t.pending(0), [(X + 0xffb, 5, 0x55_4433_2211), (X + 0x1000, 3, 0x88_7766)]);
}

#[test]
fn a_store_across_scattered_frames_is_two_entries_and_may_tear() {
    let mut t = paged(PSO, &[&store_across]);
    t.run(0);
    assert_eq!(t.pending(0), [(FIRST_FRAME + 0xffb, 5, 0x55_4433_2211), (SECOND_FRAME, 3, 0x88_7766)]);
    t.drain(0, 1);
    assert_eq!((t.memory(FIRST_FRAME + 0xff8), t.memory(SECOND_FRAME)), (0, 0x88_7766));
    t.drain(0, 0);
    assert_eq!(t.memory(FIRST_FRAME + 0xff8), VALUE << 24);
    assert_eq!(t.memory(FIRST_FRAME + 0x1000), 0, "the frame after the first is not touched");
}

#[test]
fn a_store_across_scattered_frames_is_two_accesses_under_every_model() {
    for model in MemoryModel::ALL {
        let mut t = paged(model, &[&store_across]);
        t.step(0);
        t.access(0);
        t.drain_all(0);
        assert_eq!((t.memory(FIRST_FRAME + 0xff8), t.memory(SECOND_FRAME)), (VALUE << 24, 0), "under {model}");
        t.access(0);
        t.drain_all(0);
        assert_eq!(t.memory(SECOND_FRAME), VALUE >> 40, "under {model}");
        assert_eq!(t.memory(FIRST_FRAME + 0x1000), 0);
    }
}

#[test]
fn a_load_across_scattered_frames_sees_the_cores_own_stores_on_both() {
    let code = |a: &mut CodeAssembler| {
        store_across(a)?;
        a.mov(rbx, qword_ptr(LAST - 5))
    };
    let mut t = paged(TSO, &[&code]);
    t.run(0);
    assert_eq!((t.gpr(0, 3), t.pending(0).len()), (VALUE, 2), "each half is forwarded");
}

#[test]
fn a_load_across_scattered_frames_waits_for_a_partial_overlap_on_the_second() {
    let code = |a: &mut CodeAssembler| {
        a.mov(byte_ptr(LAST + 1), 1)?;
        a.mov(byte_ptr(X), 2)?;
        a.mov(rbx, qword_ptr(LAST - 5))
    };
    let mut t = paged(PSO, &[&code]);
    t.run(0);
    assert_eq!((t.gpr(0, 3), t.pending_addresses(0)), (1 << 48, vec![X]));
}

#[test]
fn a_load_across_scattered_frames_may_tear() {
    let load = |a: &mut CodeAssembler| a.mov(rax, qword_ptr(LAST - 4));
    let other = |a: &mut CodeAssembler| a.mov(qword_ptr(LAST - 4), -1);
    let mut t = paged(SC, &[&load, &other]);
    t.access(0);
    t.step(1);
    t.access(0);
    assert_eq!(t.rax(0), 0xffff_ffff_0000_0000);
}

#[test]
fn read_modify_writes_work_across_scattered_frames() {
    for add in [&|a: &mut CodeAssembler| a.add(qword_ptr(LAST - 5), rax), &|a: &mut CodeAssembler| {
        a.lock().add(qword_ptr(LAST - 5), rax)
    }] as [Code; 2]
    {
        for model in MemoryModel::ALL {
            let code = |a: &mut CodeAssembler| {
                store_across(a)?;
                add(a)
            };
            let mut t = paged(model, &[&code]);
            t.steps(0, 2);
            t.access(0);
            t.finish(0);
            let (low, high) = (t.memory(FIRST_FRAME + 0xff8) >> 24, t.memory(SECOND_FRAME));
            assert_eq!(high << 40 | low, VALUE.wrapping_mul(2), "under {model}");
        }
    }
}

#[test]
fn sixteen_byte_stores_work_across_scattered_frames_at_every_offset() {
    for offset in 1..16 {
        let code = |a: &mut CodeAssembler| {
            a.pcmpeqb(xmm0, xmm0)?;
            a.mov(ebx, (LAST - offset) as u32)?;
            a.movups(xmmword_ptr(rbx), xmm0)
        };
        let mut t = paged(TSO, &[&code]);
        t.run(0);
        let pending = t.pending(0);
        let bytes_on = |frame: u64| -> u64 {
            let entries = pending.iter().filter(|(address, ..)| address & !0xfff == frame);
            entries.map(|&(_, length, _)| u64::from(length)).sum()
        };
        assert_eq!((bytes_on(FIRST_FRAME), bytes_on(SECOND_FRAME)), (offset, 16 - offset), "{pending:x?}");
    }
}

#[test]
fn implicit_stack_stores_work_across_scattered_frames() {
    let code = |a: &mut CodeAssembler| {
        a.mov(rax, VALUE)?;
        a.mov(esp, LAST as u32 + 3)?;
        a.push(rax)?;
        a.pop(rbx)
    };
    let mut t = paged(TSO, &[&code]);
    t.run(0);
    assert_eq!(t.pending(0), [(FIRST_FRAME + 0xffb, 5, 0x55_4433_2211), (SECOND_FRAME, 3, 0x88_7766)]);
    assert_eq!(t.gpr(0, 3), VALUE);
}

#[test]
fn string_instructions_work_across_scattered_frames() {
    let code = |a: &mut CodeAssembler| {
        a.mov(rax, VALUE)?;
        a.mov(edi, (LAST - 13) as u32)?;
        a.mov(ecx, 3)?;
        a.rep().stosq()?;
        a.mov(esi, (LAST - 13) as u32)?;
        a.mov(edi, X as u32)?;
        a.mov(ecx, 3)?;
        a.rep().movsq()
    };
    let mut t = paged(TSO, &[&code]);
    t.finish(0);
    assert_eq!([t.memory(X), t.memory(X + 8), t.memory(X + 16)], [VALUE; 3]);
    assert_eq!(t.memory(SECOND_FRAME), VALUE.rotate_left(24));
}

#[test]
fn two_addresses_of_one_frame_forward_to_each_other() {
    let code = |a: &mut CodeAssembler| {
        a.mov(qword_ptr(ALIAS), 7)?;
        a.mov(rax, qword_ptr(SCATTERED))
    };
    let mut t = paged(TSO, &[&code]);
    t.run(0);
    assert_eq!((t.rax(0), t.pending(0)), (7, vec![(FIRST_FRAME, 8, 7)]));
}

/// Maps READ_ONLY's page to SECOND_FRAME and loads from it.
fn remap_and_load(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.mov(qword_ptr(LAST), 5)?;
    a.mov(dword_ptr(entry_of(READ_ONLY)), SECOND_FRAME as u32 | 3)?;
    a.mov(rax, qword_ptr(READ_ONLY))
}

#[test]
fn a_cores_page_walker_sees_its_own_buffered_stores_only() {
    let other = |a: &mut CodeAssembler| a.mov(rax, qword_ptr(READ_ONLY));
    let mut t = paged(TSO, &[&remap_and_load, &other]);
    t.run(0);
    t.run(1);
    assert_eq!((t.rax(0), t.rax(1)), (5, 0));
    assert_eq!(t.pending(0).len(), 2);
}

#[test]
fn what_the_page_walker_notes_in_a_buffered_entry_is_kept() {
    const ACCESSED: u64 = 0x20;
    let mut t = paged(TSO, &[&remap_and_load]);
    t.finish(0);
    assert_eq!(t.memory(entry_of(READ_ONLY)) & ACCESSED, ACCESSED);
}

#[test]
fn an_old_translation_lasts_until_it_is_invalidated() {
    let code = |a: &mut CodeAssembler| {
        a.mov(rbx, qword_ptr(READ_ONLY))?;
        remap_and_load(a)?;
        a.invlpg(byte_ptr(READ_ONLY))?;
        a.mov(rcx, qword_ptr(READ_ONLY))
    };
    let mut t = paged(TSO, &[&code]);
    t.run(0);
    assert_eq!((t.gpr(0, 1), t.gpr(0, 3)), (5, 0));
}

#[test]
fn in_a_fast_run_an_old_translation_is_gone_once_it_is_invalidated() {
    fn load_again_and_again(a: &mut CodeAssembler, target: AsmRegister64) -> Result<(), IcedError> {
        let mut again = a.create_label();
        a.mov(r15d, 40)?;
        a.set_label(&mut again)?;
        a.mov(target, qword_ptr(READ_ONLY))?;
        a.dec(r15d)?;
        a.jnz(again)
    }
    let code = |a: &mut CodeAssembler| {
        load_again_and_again(a, rbx)?;
        remap_and_load(a)?;
        a.invlpg(byte_ptr(READ_ONLY))?;
        load_again_and_again(a, rcx)
    };
    for steps in [1000, 60, 1] {
        let mut t = paged(TSO, &[&code]);
        while !t.core(0).is_halted() {
            t.apply(fencepost::choice::Choice::Run { core: fencepost::core::CoreId(0), steps, drained: true });
        }
        assert_eq!((t.gpr(0, 3), t.gpr(0, 1)), (0, 5), "in slices of {steps}");
    }
}
