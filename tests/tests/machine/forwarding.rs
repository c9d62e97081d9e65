//! What a load sees while stores are pending.

use super::testbed::*;
use fencepost::memory_model::MemoryModel;
use fencepost::processor::Processor;
use iced_x86::IcedError;
use iced_x86::code_asm::*;

#[test]
fn a_load_sees_the_cores_own_newest_bytes_and_nobody_else_does() {
    let core0 = |a: &mut CodeAssembler| {
        a.mov(qword_ptr(X), 1)?;
        a.mov(qword_ptr(X), 2)?;
        a.mov(rax, qword_ptr(X))
    };
    let core1 = |a: &mut CodeAssembler| a.mov(rax, qword_ptr(X));
    for model in [TSO, PSO] {
        let mut t = Testbed::new(model, &[&core0, &core1]);
        t.run(0);
        t.run(1);
        assert_eq!((t.rax(0), t.rax(1)), (2, 0));
        assert_eq!(t.pending(0), [(X, 8, 1), (X, 8, 2)], "forwarding drains nothing");
    }
}

#[test]
fn a_load_inside_a_wider_store_is_forwarded() {
    let code = |a: &mut CodeAssembler| {
        a.mov(rbx, 0x1122_3344_5566_7788u64)?;
        a.mov(qword_ptr(X), rbx)?;
        a.movzx(eax, word_ptr(X + 3))
    };
    let mut t = Testbed::new(TSO, &[&code]);
    t.run(0);
    assert_eq!((t.rax(0), t.pending(0).len()), (0x4455, 1));
}

#[test]
fn a_load_covered_by_the_newest_overlapping_store_does_not_wait_for_older_ones() {
    let code = |a: &mut CodeAssembler| {
        a.mov(byte_ptr(X + 1), 1)?;
        a.mov(qword_ptr(X), 2)?;
        a.mov(eax, dword_ptr(X))
    };
    let mut t = Testbed::new(TSO, &[&code]);
    t.run(0);
    assert_eq!((t.rax(0), t.pending(0).len()), (2, 2));
}

/// Stores before, into, after and again into the qword at X; then loads it.
fn partly_overlapped(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.mov(qword_ptr(Y), 1)?;
    a.mov(dword_ptr(X), 2)?;
    a.mov(qword_ptr(Z), 3)?;
    a.mov(byte_ptr(X + 6), 4)?;
    a.mov(qword_ptr(Z + 0x40), 5)?;
    a.mov(rax, qword_ptr(X))
}

#[test]
fn a_partly_overlapped_load_waits_for_exactly_the_overlapping_stores() {
    let mut t = Testbed::new(PSO, &[&partly_overlapped]);
    t.run(0);
    assert_eq!(t.rax(0), 4 << 48 | 2);
    assert_eq!(t.pending_addresses(0), [Y, Z, Z + 0x40]);
    assert_eq!(t.memory(X), 4 << 48 | 2);
}

#[test]
fn under_tso_older_ordinary_stores_drain_before_the_ones_waited_for() {
    let mut t = Testbed::new(TSO, &[&partly_overlapped]);
    t.run(0);
    assert_eq!(t.rax(0), 4 << 48 | 2);
    assert_eq!(t.pending_addresses(0), [Z + 0x40]);
    assert_eq!((t.memory(Y), t.memory(Z)), (1, 3));
}

#[test]
fn under_tso_older_write_combining_stores_stay_when_a_load_waits() {
    let code = |a: &mut CodeAssembler| {
        a.mov(rbx, PIXELS)?;
        a.mov(dword_ptr(rbx), 1)?;
        a.mov(byte_ptr(X), 2)?;
        a.mov(eax, dword_ptr(X))
    };
    let mut t = Testbed::new(TSO, &[&code]);
    t.run(0);
    assert_eq!(t.pending_addresses(0), [PIXELS]);
}

/// Stores the two halves of the word at X and loads it.
fn joined(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.mov(byte_ptr(X), 1)?;
    a.mov(byte_ptr(X + 1), 2)?;
    a.movzx(eax, word_ptr(X))
}

#[test]
fn stores_next_to_one_another_are_forwarded_together_or_waited_for() {
    for processor in [Processor::ANY, Processor::AMD] {
        let mut taken = Testbed::on(processor, TSO, &[&joined]);
        taken.run(0);
        assert_eq!((taken.rax(0), taken.pending(0).len()), (0x201, 2), "on {processor}");
        let mut waited = Testbed::on(processor, TSO, &[&joined]);
        waited.steps(0, 2);
        waited.drain(0, 0);
        waited.run(0);
        assert_eq!((waited.rax(0), waited.pending(0).len()), (0x201, 0), "on {processor}");
    }
}

#[test]
fn on_intels_a_load_waits_for_stores_that_only_together_cover_it() {
    let mut t = Testbed::on(Processor::INTEL, TSO, &[&joined]);
    t.run(0);
    assert_eq!((t.rax(0), t.pending(0).len()), (0x201, 0));
}

#[test]
fn a_read_modify_write_waits_like_a_load() {
    let code = |a: &mut CodeAssembler| {
        a.mov(byte_ptr(X), 1)?;
        a.mov(qword_ptr(Y), 2)?;
        a.add(qword_ptr(X), 1)
    };
    let mut t = Testbed::new(PSO, &[&code]);
    t.run(0);
    assert_eq!((t.pending(0), t.memory(X)), (vec![(Y, 8, 2), (X, 8, 2)], 1));
}

/// Each core stores one half of a qword and loads all of it.
fn half(mine: u64) -> impl Fn(&mut CodeAssembler) -> Result<(), IcedError> {
    move |a| {
        a.mov(dword_ptr(mine), 1)?;
        a.mov(rax, qword_ptr(X))
    }
}

/// Both cores' loads, for every order of their steps.
fn mixed_size_outcomes(model: MemoryModel) -> Vec<(u64, u64)> {
    let (low, high) = (half(X), half(X + 4));
    let orders = [[0, 0, 1, 1], [0, 1, 0, 1], [0, 1, 1, 0], [1, 0, 0, 1], [1, 0, 1, 0], [1, 1, 0, 0]];
    let outcomes = orders.map(|order| {
        let mut t = Testbed::new(model, &[&low, &high]);
        for core in order {
            t.step(core);
        }
        (t.rax(0), t.rax(1))
    });
    outcomes.to_vec()
}

#[test]
fn mixed_size_store_buffering_never_shows_both_halves_missing() {
    for model in MemoryModel::ALL {
        for outcome in mixed_size_outcomes(model) {
            assert_ne!(outcome, (1, 1 << 32), "under {model}");
        }
    }
}

#[test]
fn mixed_size_store_buffering_can_show_one_half_missing() {
    assert!(mixed_size_outcomes(TSO).contains(&(1, 1 << 32 | 1)));
    assert!(mixed_size_outcomes(TSO).contains(&(1 << 32 | 1, 1 << 32)));
}

#[test]
fn a_line_crossing_load_takes_each_line_on_its_own() {
    // The load's low byte lies in the pending store, its high byte on the other line: each part is covered or free.
    let code = |a: &mut CodeAssembler| {
        a.mov(byte_ptr(LINE_END), 5)?;
        a.movzx(eax, word_ptr(LINE_END))
    };
    let mut t = Testbed::new(TSO, &[&code]);
    t.run(0);
    assert_eq!((t.rax(0), t.pending(0).len()), (5, 1));
}
