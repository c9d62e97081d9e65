//! In which order buffered stores become visible, under each model.

use super::testbed::*;
use fencepost::choice::Choice;
use fencepost::core::CoreId;
use fencepost::machine::Settings;
use fencepost::memory_model::MemoryModel;
use iced_x86::IcedError;
use iced_x86::code_asm::*;

fn store_x_y_z(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.mov(qword_ptr(X), 1)?;
    a.mov(qword_ptr(Y), 2)?;
    a.mov(qword_ptr(Z), 3)
}

/// Which stores of `code` may drain first, after all of it has executed on one core.
fn drainable_after(model: MemoryModel, code: Code) -> Vec<u64> {
    let mut t = Testbed::new(model, &[code]);
    t.run(0);
    t.drainable(0)
}

#[test]
fn under_sc_a_store_is_visible_at_once() {
    let mut t = Testbed::new(SC, &[&store_x_y_z]);
    t.step(0);
    assert_eq!((t.memory(X), t.pending(0)), (1, vec![]));
}

#[test]
fn under_tso_a_store_waits_in_the_buffer() {
    let mut t = Testbed::new(TSO, &[&store_x_y_z]);
    t.step(0);
    assert_eq!((t.memory(X), t.pending(0)), (0, vec![(X, 8, 1)]));
    t.drain(0, 0);
    assert_eq!((t.memory(X), t.pending(0)), (1, vec![]));
}

#[test]
fn under_tso_ordinary_stores_drain_first_in_first_out() {
    assert_eq!(drainable_after(TSO, &store_x_y_z), [X]);
}

#[test]
fn under_pso_ordinary_stores_drain_in_any_order() {
    assert_eq!(drainable_after(PSO, &store_x_y_z), [X, Y, Z]);
}

#[test]
fn under_pso_stores_that_share_a_byte_keep_their_order() {
    let code = |a: &mut CodeAssembler| {
        a.mov(qword_ptr(X), 1)?;
        a.mov(byte_ptr(X + 7), 2)?;
        a.mov(byte_ptr(X + 8), 3)
    };
    assert_eq!(drainable_after(PSO, &code), [X, X + 8]);
}

#[test]
fn stores_to_write_combining_memory_drain_in_any_order() {
    let code = |a: &mut CodeAssembler| {
        a.mov(rbx, PIXELS)?;
        a.mov(qword_ptr(X), 1)?;
        a.mov(dword_ptr(rbx), 2)?;
        a.mov(qword_ptr(Y), 3)?;
        a.mov(dword_ptr(rbx + 4), 4)?;
        a.mov(byte_ptr(rbx), 5)
    };
    // Y waits for X, and the second store to the first pixel for the first.
    assert_eq!(drainable_after(TSO, &code), [X, PIXELS, PIXELS + 4]);
    assert_eq!(drainable_after(PSO, &code), [X, PIXELS, Y, PIXELS + 4]);
}

#[test]
fn non_temporal_stores_to_ordinary_memory_drain_in_any_order() {
    let code = |a: &mut CodeAssembler| {
        a.mov(rbx, X)?;
        a.movnti(qword_ptr(rbx), rax)?;
        a.movntps(xmmword_ptr(rbx + 0x40), xmm0)?;
        a.movntdq(xmmword_ptr(rbx + 0x80), xmm0)?;
        a.mov(qword_ptr(rbx + 0xc0), 1)?;
        a.mov(qword_ptr(rbx + 0x100), 1)
    };
    assert_eq!(drainable_after(TSO, &code), [X, Y, Y + 8, Z, Z + 8, Z + 0x40]);
}

#[test]
fn a_masked_non_temporal_store_stores_only_the_chosen_bytes_in_any_order() {
    let code = |a: &mut CodeAssembler| {
        a.mov(qword_ptr(Y), 1)?;
        a.mov(rax, 0x0000_8080_0000_0080u64)?;
        a.movq(xmm1, rax)?;
        a.pcmpeqb(xmm0, xmm0)?;
        a.mov(rdi, X)?;
        a.maskmovdqu(xmm0, xmm1)
    };
    let mut t = Testbed::new(TSO, &[&code]);
    t.run(0);
    assert!(t.drainable(0).contains(&X), "{:x?}", t.pending(0));
    t.drain_all(0);
    assert_eq!(t.memory(X), 0x0000_ffff_0000_00ff);
}

#[test]
fn under_sc_write_combining_stores_are_visible_at_once() {
    let code = |a: &mut CodeAssembler| {
        a.mov(rbx, PIXELS)?;
        a.mov(dword_ptr(rbx), 7)?;
        a.movnti(dword_ptr(rbx + 4), esi)
    };
    let mut t = Testbed::new(SC, &[&code]);
    t.run(0);
    assert_eq!((t.memory(PIXELS), t.pending(0)), (1 << 32 | 7, vec![]));
}

#[test]
fn sfence_orders_earlier_stores_of_any_kind_before_later_ones() {
    let code = |a: &mut CodeAssembler| {
        a.mov(rbx, PIXELS)?;
        a.mov(dword_ptr(rbx), 1)?;
        a.mov(qword_ptr(X), 2)?;
        a.sfence()?;
        a.mov(dword_ptr(rbx + 4), 3)?;
        a.mov(qword_ptr(Y), 4)
    };
    for model in [TSO, PSO] {
        let mut t = Testbed::new(model, &[&code]);
        t.run(0);
        assert_eq!(t.drainable(0), [PIXELS, X]);
        t.drain(0, 1);
        assert_eq!(t.drainable(0), [PIXELS], "under {model}");
        t.drain(0, 0);
        assert_eq!(t.drainable(0), [PIXELS + 4, Y], "under {model}");
    }
}

#[test]
fn sfence_waits_for_nothing_and_survives_its_first_later_store() {
    let code = |a: &mut CodeAssembler| {
        a.mov(qword_ptr(X), 1)?;
        a.sfence()?;
        a.mov(qword_ptr(Y), 2)?;
        a.sfence()?;
        a.mov(qword_ptr(Z), 3)
    };
    let mut t = Testbed::new(PSO, &[&code]);
    t.run(0);
    assert_eq!(t.pending_addresses(0), [X, Y, Z]);
    assert_eq!(t.drainable(0), [X]);
    t.drain(0, 0);
    assert_eq!(t.drainable(0), [Y]);
}

#[test]
fn lfence_does_nothing_to_the_buffer() {
    let code = |a: &mut CodeAssembler| {
        a.mov(qword_ptr(X), 1)?;
        a.lfence()?;
        a.mov(qword_ptr(Y), 2)
    };
    assert_eq!(drainable_after(PSO, &code), [X, Y]);
}

#[test]
fn store_buffering_shows_both_loads_missing_under_tso_even_with_lfence() {
    fn side(mine: u64, other: u64) -> impl Fn(&mut CodeAssembler) -> Result<(), IcedError> {
        move |a| {
            a.mov(qword_ptr(mine), 1)?;
            a.lfence()?;
            a.mov(rax, qword_ptr(other))
        }
    }
    let mut t = Testbed::new(TSO, &[&side(X, Y), &side(Y, X)]);
    t.run(0);
    t.run(1);
    assert_eq!((t.rax(0), t.rax(1)), (0, 0));
}

/// The state of the buffer and of X after `code` on one core whose buffer holds two stores of each kind.
fn with_two_entries(model: MemoryModel, code: Code) -> Testbed {
    let settings = Settings { depth: 2, wc_depth: 2, ..settings(model, 1) };
    let mut t = Testbed::with_settings(settings, &[code]);
    t.run(0);
    t
}

#[test]
fn a_store_into_a_full_buffer_drains_the_oldest_first() {
    let mut t = with_two_entries(TSO, &store_x_y_z);
    assert_eq!((t.pending_addresses(0), t.memory(X)), (vec![Y, Z], 1));
}

#[test]
fn the_two_kinds_of_store_have_room_of_their_own() {
    let code = |a: &mut CodeAssembler| {
        a.mov(rbx, PIXELS)?;
        store_x_y_z(a)?;
        a.mov(dword_ptr(rbx), 4)?;
        a.mov(dword_ptr(rbx + 4), 5)?;
        a.mov(dword_ptr(rbx + 8), 6)
    };
    let mut t = with_two_entries(TSO, &code);
    assert_eq!(t.pending_addresses(0), [Y, Z, PIXELS + 4, PIXELS + 8]);
}

#[test]
fn making_room_behind_a_fence_drains_what_the_fence_holds_first() {
    let code = |a: &mut CodeAssembler| {
        a.mov(rbx, PIXELS)?;
        a.mov(dword_ptr(rbx), 1)?;
        a.sfence()?;
        store_x_y_z(a)
    };
    let mut t = with_two_entries(TSO, &code);
    assert_eq!((t.pending_addresses(0), t.byte(PIXELS)), (vec![Y, Z], 1));
}

#[test]
fn an_entry_drains_by_its_place_in_the_buffer() {
    let mut t = Testbed::new(PSO, &[&store_x_y_z]);
    t.run(0);
    t.drain(0, 1);
    assert_eq!((t.memory(X), t.memory(Y), t.memory(Z)), (0, 2, 0));
    assert_eq!(t.pending_addresses(0), [X, Z]);
    let late = Choice::Drain { core: CoreId(0), entry: 2 };
    assert!(t.machine.apply(late).is_err());
}
