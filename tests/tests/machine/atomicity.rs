//! Instructions that make several accesses: where another core may step between them, and where it may not.

use super::testbed::*;
use fencepost::memory_model::MemoryModel;
use fencepost::processor::Processor;
use iced_x86::IcedError;
use iced_x86::code_asm::*;

/// Core 0 is about to execute `split`; core 1 stores 5 to Y. Both with what `data` puts at DATA.
fn with_observer(model: MemoryModel, split: Code) -> Testbed {
    let other = |a: &mut CodeAssembler| a.mov(qword_ptr(Y), 5);
    Testbed::new(model, &[split, &other])
}

/// The other core's store to Y happens and becomes visible.
fn other_core_stores(t: &mut Testbed) {
    t.step(1);
    t.drain_all(1);
}

/// Accesses until the instruction retires.
fn accesses(t: &mut Testbed, core: u8) -> u64 {
    let clock = t.core(core).clock;
    let mut count = 0;
    while t.core(core).clock == clock && t.machine.stop().is_none() {
        t.access(core);
        count += 1;
    }
    count
}

#[test]
fn a_single_access_instruction_retires_by_its_access() {
    let mut t = Testbed::new(TSO, &[&|a| a.mov(qword_ptr(X), 1)]);
    assert_eq!(accesses(&mut t, 0), 1);
    assert_eq!(t.pending(0), [(X, 8, 1)]);
}

#[test]
fn an_unlocked_read_modify_write_is_a_load_and_a_store() {
    for model in MemoryModel::ALL {
        let mut t = with_observer(model, &|a| a.add(qword_ptr(Y), 1));
        let pc = t.pc(0);
        t.access(0);
        assert_eq!((t.pc(0), t.core(0).partial.len()), (pc, 1));
        other_core_stores(&mut t);
        assert_eq!(t.memory(Y), 5);
        t.access(0);
        t.drain_all(0);
        assert_eq!((t.memory(Y), t.core(0).partial.len()), (1, 0), "the other store is lost under {model}");
    }
}

#[test]
fn a_step_completes_an_instruction_begun_by_an_access() {
    let mut t = with_observer(TSO, &|a| a.add(qword_ptr(Y), 1));
    t.access(0);
    other_core_stores(&mut t);
    t.finish(0);
    assert_eq!(t.memory(Y), 1);
}

/// Y after two cores have added 1 to it by `add`, core 0 being stopped after its first access if it has another.
fn sum_of_two(model: MemoryModel, add: Code) -> u64 {
    let mut t = Testbed::new(model, &[add, add]);
    t.access(0);
    t.finish(1);
    t.finish(0);
    t.memory(Y)
}

#[test]
fn an_unlocked_add_loses_an_update() {
    for model in MemoryModel::ALL {
        assert_eq!(sum_of_two(model, &|a| a.add(qword_ptr(Y), 1)), 1, "under {model}");
        assert_eq!(sum_of_two(model, &|a| a.inc(dword_ptr(Y))), 1, "under {model}");
    }
}

#[test]
fn a_locked_add_never_loses_an_update() {
    for model in MemoryModel::ALL {
        assert_eq!(sum_of_two(model, &|a| a.lock().add(qword_ptr(Y), 1)), 2, "under {model}");
        assert_eq!(sum_of_two(model, &|a| a.lock().inc(dword_ptr(Y))), 2, "under {model}");
        let exchange_and_add = |a: &mut CodeAssembler| {
            a.mov(eax, 1)?;
            a.lock().xadd(dword_ptr(Y), eax)
        };
        let mut t = Testbed::new(model, &[&exchange_and_add, &exchange_and_add]);
        t.step(0);
        t.step(1);
        assert_eq!(accesses(&mut t, 0), 1);
        t.finish(1);
        assert_eq!((t.memory(Y), t.rax(1)), (2, 1));
    }
}

#[test]
fn xchg_with_memory_is_one_step() {
    let mut t = with_observer(TSO, &|a| a.xchg(qword_ptr(Y), rax));
    assert_eq!(accesses(&mut t, 0), 1);
}

#[test]
fn cmpxchg16b_is_one_step_only_with_lock() {
    let compare = |a: &mut CodeAssembler| {
        a.xor(eax, eax)?;
        a.xor(edx, edx)?;
        a.mov(ebx, 0x1111)?;
        a.mov(ecx, 0x2222)?;
        Ok::<(), IcedError>(())
    };
    let locked = |a: &mut CodeAssembler| {
        compare(a)?;
        a.lock().cmpxchg16b(xmmword_ptr(Y))
    };
    let unlocked = |a: &mut CodeAssembler| {
        compare(a)?;
        a.cmpxchg16b(xmmword_ptr(Y))
    };
    for (code, count) in [(&locked as Code, 1), (&unlocked, 4)] {
        let mut t = with_observer(TSO, code);
        t.steps(0, 4);
        let made = accesses(&mut t, 0);
        t.drain_all(0);
        assert_eq!((t.memory(Y), t.memory(Y + 8)), (0x1111, 0x2222));
        assert_eq!(made, count);
    }
}

#[test]
fn an_unlocked_cmpxchg16b_can_succeed_on_halves_that_never_were_together() {
    let code = |a: &mut CodeAssembler| {
        a.xor(eax, eax)?;
        a.xor(edx, edx)?;
        a.cmpxchg16b(xmmword_ptr(Y))
    };
    let mut t = with_observer(SC, &code);
    t.steps(0, 2);
    t.access(0);
    other_core_stores(&mut t);
    t.step(0);
    assert_eq!(t.core(0).cpu.rflags & 0x40, 0x40, "it compared equal though Y is 5 by now");
}

#[test]
fn a_push_of_memory_is_a_load_and_a_store() {
    let mut t = with_observer(TSO, &|a| a.push(qword_ptr(Y)));
    let stack = t.gpr(0, 4);
    t.access(0);
    other_core_stores(&mut t);
    assert_eq!(t.gpr(0, 4), stack, "registers change when the instruction retires");
    t.access(0);
    assert_eq!(t.pending(0), [(stack - 8, 8, 0)]);
    assert_eq!(t.gpr(0, 4), stack - 8);
}

#[test]
fn a_call_through_memory_is_a_load_and_a_store() {
    let code = |a: &mut CodeAssembler| {
        let mut target = a.create_label();
        a.lea(rax, qword_ptr(target))?;
        a.mov(qword_ptr(X), rax)?;
        a.call(qword_ptr(X))?;
        a.set_label(&mut target)?;
        a.mov(ebx, 7)
    };
    let mut t = Testbed::new(TSO, &[&code]);
    t.steps(0, 2);
    let (pc, stack) = (t.pc(0), t.gpr(0, 4));
    t.access(0);
    assert_eq!((t.pc(0), t.pending(0).len()), (pc, 1));
    t.access(0);
    let target = t.pc(0);
    assert_eq!(t.pending(0)[1], (stack - 8, 8, target), "the return address is the next instruction's");
    t.step(0);
    assert_eq!(t.gpr(0, 3), 7);
}

#[test]
fn movs_is_a_load_and_a_store() {
    let code = |a: &mut CodeAssembler| {
        a.mov(rsi, Y)?;
        a.mov(rdi, X)?;
        a.movsq()
    };
    let mut t = with_observer(TSO, &code);
    t.steps(0, 2);
    t.access(0);
    other_core_stores(&mut t);
    t.access(0);
    assert_eq!(t.pending(0), [(X, 8, 0)]);
    assert_eq!((t.gpr(0, 6), t.gpr(0, 7)), (Y + 8, X + 8));
}

#[test]
fn cmps_is_two_loads() {
    let code = |a: &mut CodeAssembler| {
        a.mov(rsi, Y)?;
        a.mov(rdi, Y)?;
        a.cmpsq()
    };
    let mut t = with_observer(TSO, &code);
    t.steps(0, 2);
    t.access(0);
    other_core_stores(&mut t);
    t.access(0);
    assert_eq!(t.core(0).cpu.rflags & 0x40, 0, "Y differs from itself, for it has changed in between");
}

#[test]
fn a_16_byte_load_is_two() {
    for load in [&|a: &mut CodeAssembler| a.movups(xmm0, xmmword_ptr(Y - 8)), &|a: &mut CodeAssembler| {
        a.movaps(xmm0, xmmword_ptr(Y))
    }] as [Code; 2]
    {
        let other = |a: &mut CodeAssembler| {
            a.movq(xmm1, rsi)?;
            a.mov(qword_ptr(Y - 8), 1)?;
            a.mov(qword_ptr(Y), 2)?;
            a.mov(qword_ptr(Y + 8), 3)
        };
        let mut t = Testbed::new(SC, &[load, &other]);
        t.access(0);
        t.run(1);
        t.access(0);
        let [low, high] = t.core(0).cpu.xmm[0];
        assert!(low == 0 && high != 0, "it is torn: {low} {high}");
    }
}

#[test]
fn a_16_byte_store_is_two_entries_and_may_tear() {
    let store = |a: &mut CodeAssembler| {
        a.pcmpeqb(xmm0, xmm0)?;
        a.movaps(xmmword_ptr(X), xmm0)
    };
    for model in [TSO, PSO] {
        let mut t = Testbed::new(model, &[&store]);
        t.steps(0, 2);
        assert_eq!(t.pending(0), [(X, 8, u64::MAX), (X + 8, 8, u64::MAX)]);
        t.drain(0, 0);
        assert_eq!((t.memory(X), t.memory(X + 8)), (u64::MAX, 0));
    }
    let mut t = Testbed::new(SC, &[&store]);
    t.step(0);
    t.access(0);
    assert_eq!((t.memory(X), t.memory(X + 8)), (u64::MAX, 0), "under sc it tears between its accesses");
    t.access(0);
    assert_eq!(t.memory(X + 8), u64::MAX);
}

/// Processors that promise no more than that what lies in an aligned 8 bytes is one access.
const OF_8_BYTES: [Processor; 2] = [Processor::ANY, Processor::AMD];

/// Stores 8 bytes that begin 3 bytes before an aligned 8 bytes end, in the middle of a line.
fn unaligned_store(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.mov(rax, 0x8877_6655_4433_2211u64)?;
    a.mov(qword_ptr(X + 5), rax)
}

#[test]
fn on_intels_a_store_within_a_line_is_one_entry_however_unaligned() {
    let mut t = Testbed::on(Processor::INTEL, TSO, &[&unaligned_store]);
    t.step(0);
    assert_eq!(accesses(&mut t, 0), 1);
    assert_eq!(t.pending(0), [(X + 5, 8, 0x8877_6655_4433_2211)]);
}

#[test]
fn a_store_across_an_aligned_8_bytes_is_two_entries_and_may_tear() {
    for processor in OF_8_BYTES {
        let mut t = Testbed::on(processor, TSO, &[&unaligned_store]);
        t.steps(0, 2);
        assert_eq!(t.pending(0), [(X + 5, 3, 0x33_2211), (X + 8, 5, 0x88_7766_5544)], "on {processor}");
        t.drain(0, 0);
        assert_eq!(t.memory(X + 5), 0x33_2211);
        let mut t = Testbed::on(processor, SC, &[&unaligned_store]);
        t.step(0);
        assert_eq!(accesses(&mut t, 0), 2);
    }
}

#[test]
fn a_load_across_an_aligned_8_bytes_may_tear_but_on_intels() {
    let load = |a: &mut CodeAssembler| a.mov(rax, qword_ptr(X + 4));
    let other = |a: &mut CodeAssembler| {
        a.mov(dword_ptr(X + 4), -1)?;
        a.mov(dword_ptr(X + 8), -1)
    };
    for processor in OF_8_BYTES {
        let mut t = Testbed::on(processor, SC, &[&load, &other]);
        t.access(0);
        t.run(1);
        t.access(0);
        assert_eq!(t.rax(0), 0xffff_ffff_0000_0000, "on {processor}");
    }
    assert_eq!(accesses(&mut Testbed::on(Processor::INTEL, SC, &[&load, &other]), 0), 1);
}

#[test]
fn what_ends_with_an_aligned_8_bytes_is_one_access_on_every_processor() {
    for processor in Processor::ALL {
        let mut t = Testbed::on(processor, TSO, &[&|a| a.mov(dword_ptr(X + 4), 1)]);
        assert_eq!((accesses(&mut t, 0), t.pending(0)), (1, vec![(X + 4, 4, 1)]), "on {processor}");
    }
}

#[test]
fn sixteen_unaligned_bytes_are_cut_at_every_aligned_8_but_on_intels() {
    for (processor, pieces) in [(Processor::ANY, 4), (Processor::AMD, 4), (Processor::INTEL, 2)] {
        let mut t = Testbed::on(processor, TSO, &[&|a| a.movups(xmmword_ptr(X + 4), xmm0)]);
        assert_eq!((accesses(&mut t, 0), t.pending(0).len()), (pieces, pieces as usize), "on {processor}");
    }
}

#[test]
fn an_unaligned_locked_instruction_is_one_step_on_every_processor() {
    for processor in Processor::ALL {
        let mut t = Testbed::on(processor, TSO, &[&|a| a.lock().add(qword_ptr(X + 4), -1)]);
        assert_eq!((accesses(&mut t, 0), t.memory(X + 4)), (1, u64::MAX), "on {processor}");
    }
}

#[test]
fn a_line_crossing_store_is_two_entries_and_may_tear() {
    let code = |a: &mut CodeAssembler| {
        a.mov(rax, 0x8877_6655_4433_2211u64)?;
        a.mov(qword_ptr(LINE_END - 2), rax)
    };
    let mut t = Testbed::new(PSO, &[&code]);
    t.steps(0, 2);
    assert_eq!(t.pending(0), [(LINE_END - 2, 3, 0x33_2211), (LINE_END + 1, 5, 0x88_7766_5544)]);
    t.drain(0, 1);
    assert_eq!(t.memory(LINE_END - 2), 0x8877_6655_4400_0000);
    let mut t = Testbed::new(SC, &[&code]);
    t.step(0);
    t.access(0);
    assert_eq!(t.memory(LINE_END - 2), 0x33_2211);
    t.access(0);
    assert_eq!(t.memory(LINE_END - 2), 0x8877_6655_4433_2211);
}

#[test]
fn a_line_crossing_load_may_tear() {
    let load = |a: &mut CodeAssembler| a.mov(rax, qword_ptr(LINE_END - 3));
    let other = |a: &mut CodeAssembler| {
        a.mov(dword_ptr(LINE_END - 3), -1)?;
        a.mov(dword_ptr(LINE_END + 1), -1)
    };
    let mut t = Testbed::new(SC, &[&load, &other]);
    t.access(0);
    t.run(1);
    t.access(0);
    assert_eq!(t.rax(0), 0xffff_ffff_0000_0000);
}

#[test]
fn a_line_crossing_locked_instruction_is_one_step() {
    let code = |a: &mut CodeAssembler| a.lock().add(qword_ptr(LINE_END), -1);
    let mut t = Testbed::new(TSO, &[&code]);
    assert_eq!(accesses(&mut t, 0), 1);
    assert_eq!((t.memory(LINE_END), t.pending(0)), (u64::MAX, vec![]));
}

#[test]
fn a_line_crossing_read_modify_write_is_four_accesses() {
    let code = |a: &mut CodeAssembler| a.add(qword_ptr(LINE_END), -1);
    let mut t = Testbed::new(TSO, &[&code]);
    assert_eq!(accesses(&mut t, 0), 4);
    assert_eq!(t.pending(0), [(LINE_END, 1, 0xff), (LINE_END + 1, 7, u64::MAX >> 8)]);
}

#[test]
fn stores_of_a_long_instruction_tear_between_any_two() {
    let code = |a: &mut CodeAssembler| a.fxsave(byte_ptr(X));
    let mut t = Testbed::with_settings(fencepost::machine::Settings { depth: 100, ..settings(TSO, 1) }, &[&code]);
    let count = accesses(&mut t, 0);
    assert_eq!(t.pending(0).len() as u64, 55);
    assert!(count > 30, "FXSAVE stores 512 bytes in pieces of at most 8, and made {count} stores");
    assert_eq!(t.pending(0).len() as u64, count);
}

#[test]
fn enter_stores_its_frame_one_by_one() {
    let code = |a: &mut CodeAssembler| {
        a.mov(ebp, X as u32 + 0x100)?;
        a.enter(0x20, 3)
    };
    let mut t = Testbed::new(SC, &[&code]);
    let stack = t.gpr(0, 4);
    t.step(0);
    // The old frame pointer; two loads and two stores of outer frames; the new frame pointer.
    assert_eq!(accesses(&mut t, 0), 6);
    assert_eq!(t.memory(stack - 8), X + 0x100);
    assert_eq!(t.gpr(0, 5), stack - 8);
    assert_eq!(t.gpr(0, 4), stack - 8 - 3 * 8 - 0x20);
}

#[test]
fn a_cores_own_next_access_sees_its_earlier_ones() {
    // PUSH of the slot that it is about to overwrite, and a pop back into memory.
    let code = |a: &mut CodeAssembler| {
        a.mov(qword_ptr(rsp - 8), 9)?;
        a.push(qword_ptr(rsp - 8))?;
        a.pop(qword_ptr(X))
    };
    let mut t = Testbed::new(TSO, &[&code]);
    t.step(0);
    for _ in 0..2 {
        accesses(&mut t, 0);
    }
    t.finish(0);
    assert_eq!(t.memory(X), 9);
}

#[test]
fn a_store_between_the_accesses_of_a_begun_store_is_not_overwritten_when_it_is_presented_again() {
    // Core 0 has stored the first half; core 1 then overwrites it; the second half must not bring the first one back.
    let code = |a: &mut CodeAssembler| {
        a.pcmpeqb(xmm0, xmm0)?;
        a.movups(xmmword_ptr(Y), xmm0)
    };
    let mut t = with_observer(SC, &code);
    t.step(0);
    t.access(0);
    other_core_stores(&mut t);
    t.access(0);
    assert_eq!((t.memory(Y), t.memory(Y + 8)), (5, u64::MAX));
}

#[test]
fn a_buffered_first_half_drains_while_its_instruction_is_under_way() {
    let code = |a: &mut CodeAssembler| {
        a.pcmpeqb(xmm0, xmm0)?;
        a.movups(xmmword_ptr(Y), xmm0)
    };
    let mut t = with_observer(TSO, &code);
    t.step(0);
    t.access(0);
    t.drain(0, 0);
    assert_eq!(t.memory(Y), u64::MAX);
    other_core_stores(&mut t);
    t.finish(0);
    assert_eq!((t.memory(Y), t.memory(Y + 8)), (5, u64::MAX));
}
