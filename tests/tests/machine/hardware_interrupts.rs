//! Interrupts from outside a core: who asks, when they may come, and what they do.

use super::testbed::*;
use fencepost::choice::Choice;
use fencepost::core::CoreId;
use fencepost::core::interruption::Source;
use fencepost::machine::Stop;
use fencepost::runner::{Ended, Policy, Runner, Slices};
use fencepost::trace::Event;
use iced_x86::IcedError;
use iced_x86::code_asm::*;

const IDT: u64 = 0x18_2000;
const IDT_POINTER: u64 = 0x18_3000;
/// How often the handler has run.
const COUNT: u64 = 0x18_4000;

const APIC: u64 = 0xfee0_0000;
const APIC_TPR: u64 = APIC + 0x80;
const APIC_EOI: u64 = APIC + 0xb0;
const APIC_SVR: u64 = APIC + 0xf0;
const APIC_ICR_LOW: u64 = APIC + 0x300;
const APIC_ICR_HIGH: u64 = APIC + 0x310;
const APIC_LVT_TIMER: u64 = APIC + 0x320;
const APIC_TIMER_INITIAL: u64 = APIC + 0x380;
const APIC_TIMER_DIVIDE: u64 = APIC + 0x3e0;

/// LVT timer: again and again.
const PERIODIC: i32 = 1 << 17;

/// The vector that the guests here use.
const VECTOR: i32 = 0x41;
/// ICR: assert, and the shorthands for oneself and for all others.
const ASSERT: i32 = 1 << 14;
const TO_SELF: i32 = 1 << 18;
const TO_OTHERS: i32 = 3 << 18;
const NMI: i32 = 4 << 8;

fn interrupt(core: u8) -> Choice {
    Choice::Interrupt { core: CoreId(core) }
}

/// A gate of the IDT for `vector`, to `handler`.
fn gate(a: &mut CodeAssembler, vector: i32, handler: CodeLabel) -> Result<(), IcedError> {
    let at = IDT + 16 * vector as u64;
    a.lea(rax, ptr(handler))?;
    a.mov(word_ptr(at), ax)?;
    a.mov(word_ptr(at + 2), 8)?;
    a.mov(word_ptr(at + 4), 0x8e00)?;
    a.shr(rax, 16)?;
    a.mov(word_ptr(at + 6), ax)
}

fn store(a: &mut CodeAssembler, address: u64, value: i32) -> Result<(), IcedError> {
    a.mov(rax, address)?;
    a.mov(dword_ptr(rax), value)
}

/// Enters `body` with a handler for `vectors` that counts and ends the interrupt, with the local APIC enabled.
fn guest(
    vectors: &'static [i32],
    body: impl Fn(&mut CodeAssembler) -> Result<(), IcedError>,
) -> impl Fn(&mut CodeAssembler) -> Result<(), IcedError> {
    move |a| {
        let (mut handler, mut start) = (a.create_label(), a.create_label());
        for &vector in vectors {
            gate(a, vector, handler)?;
        }
        a.mov(word_ptr(IDT_POINTER), 0xfff)?;
        a.mov(dword_ptr(IDT_POINTER + 2), IDT as i32)?;
        a.lidt(ptr(IDT_POINTER))?;
        store(a, APIC_SVR, 0x1ff)?;
        a.jmp(start)?;
        a.set_label(&mut handler)?;
        a.push(rax)?;
        a.inc(qword_ptr(COUNT))?;
        store(a, APIC_EOI, 0)?;
        a.pop(rax)?;
        a.iretq()?;
        a.set_label(&mut start)?;
        body(a)
    }
}

/// Steps core 0 until it is at an instruction that `is_there` accepts by its text.
fn step_to(t: &mut Testbed, mnemonic: iced_x86::Mnemonic) {
    for _ in 0..1000 {
        let pc = t.pc(0);
        if t.machine.instruction_at(CoreId(0), pc).is_some_and(|found| found.mnemonic() == mnemonic) {
            return;
        }
        t.step(0);
    }
    panic!("the guest never came to {mnemonic:?}");
}

#[test]
fn an_interrupt_waits_for_the_flag_and_one_instruction_more() {
    let code = guest(&[VECTOR], |a| {
        store(a, APIC_ICR_LOW, VECTOR | TO_SELF | ASSERT)?;
        a.sti()?;
        a.nop()?;
        a.cli()
    });
    for model in [SC, TSO, PSO] {
        let mut t = Testbed::new(model, &[&code]);
        step_to(&mut t, iced_x86::Mnemonic::Sti);
        assert!(!t.machine.choices().contains(&interrupt(0)), "interrupts are off");
        t.step(0);
        assert!(!t.machine.choices().contains(&interrupt(0)), "the shadow of STI");
        t.step(0);
        assert!(t.machine.choices().contains(&interrupt(0)));
        let before = t.machine.snapshot();
        t.events();
        assert_eq!(t.apply(interrupt(0)), 1, "entering is a step");
        let is_ours = |event: &Event| {
            matches!(event, Event::Interrupted { vector: 0x41, entered: 0x41, source: Source::Hardware, .. })
        };
        assert!(t.events().iter().any(is_ours));
        t.run(0);
        t.drain_all(0);
        assert_eq!(t.memory(COUNT), 1);
        t.machine.restore(&before);
        t.step(0);
        assert!(!t.machine.choices().contains(&interrupt(0)), "CLI came first");
        t.run(0);
        t.drain_all(0);
        assert_eq!((t.memory(COUNT), t.machine.stop()), (0, Some(&Stop::AllHalted)), "it was never taken");
    }
}

#[test]
fn the_store_buffer_drains_before_a_handler_is_entered() {
    let code = guest(&[VECTOR], |a| {
        store(a, APIC_ICR_LOW, VECTOR | TO_SELF | ASSERT)?;
        a.sti()?;
        a.mov(dword_ptr(X), 7)?;
        a.cli()
    });
    let mut t = Testbed::new(TSO, &[&code]);
    step_to(&mut t, iced_x86::Mnemonic::Cli);
    assert_eq!((t.memory(X), t.pending_addresses(0)), (0, vec![X]));
    t.apply(interrupt(0));
    assert_eq!(t.memory(X), 7);
    assert_eq!(t.pending(0).len(), 5, "the frame is pushed by ordinary stores");
}

#[test]
fn an_ipi_wakes_a_halted_core_and_its_clock_goes_on() {
    let sender = guest(&[VECTOR], |a| {
        for _ in 0..100 {
            a.nop()?;
        }
        store(a, APIC_ICR_LOW, VECTOR | TO_OTHERS | ASSERT)
    });
    let sleeper = guest(&[VECTOR], |a| {
        a.sti()?;
        a.hlt()?;
        a.mov(dword_ptr(Y), 1)?;
        a.cli()
    });
    let mut t = Testbed::new(TSO, &[&sender, &sleeper]);
    t.run(1);
    assert!(!t.machine.choices().contains(&interrupt(1)));
    t.run(0);
    let sent = t.core(0).clock;
    assert_eq!(t.machine.stop(), None, "an interrupt can wake a core");
    assert!(t.machine.choices().contains(&interrupt(1)));
    t.apply(interrupt(1));
    assert!(t.core(1).clock > sent, "it slept as long as the other worked");
    t.finish(1);
    assert_eq!((t.memory(Y), t.memory(COUNT)), (1, 1));
}

#[test]
fn a_timer_interrupts_when_its_time_has_come_and_time_passes_while_all_wait() {
    let code = guest(&[VECTOR], |a| {
        store(a, APIC_TIMER_DIVIDE, 0b1011)?;
        store(a, APIC_LVT_TIMER, VECTOR)?;
        store(a, APIC_TIMER_INITIAL, 5000)?;
        a.sti()?;
        a.hlt()?;
        a.cli()
    });
    let mut t = Testbed::new(TSO, &[&code]);
    t.run(0);
    let halted_at = t.core(0).clock;
    assert_eq!(t.machine.choices(), [Choice::Pass]);
    t.apply(Choice::Pass);
    let time = t.state().time.0;
    assert!((halted_at + 4900..halted_at + 5000).contains(&time), "{time} after {halted_at}");
    assert_eq!(t.machine.choices(), [interrupt(0)]);
    t.apply(interrupt(0));
    t.finish(0);
    assert_eq!(t.memory(COUNT), 1);
    assert_eq!(t.machine.stop(), Some(&Stop::AllHalted));
}

#[test]
fn a_timer_fires_in_the_middle_of_a_long_turn_at_the_same_step_however_the_turn_is_cut() {
    let code = guest(&[VECTOR], |a| {
        store(a, APIC_TIMER_DIVIDE, 0b1011)?;
        store(a, APIC_LVT_TIMER, VECTOR)?;
        store(a, APIC_TIMER_INITIAL, 700)?;
        let mut again = a.create_label();
        a.set_label(&mut again)?;
        a.mov(rax, APIC + 0x200 + 0x20)?;
        a.mov(ebx, dword_ptr(rax))?;
        a.inc(ecx)?;
        a.test(ebx, ebx)?;
        a.jz(again)
    });
    let counts = [1, 7, 1000].map(|steps| {
        let mut t = Testbed::new(TSO, &[&code]);
        while !t.core(0).is_halted() {
            t.apply(Choice::Run { core: CoreId(0), steps, drained: steps == 1000 });
        }
        t.gpr(0, 1)
    });
    assert!(counts[0] > 100 && counts.iter().all(|count| *count == counts[0]), "{counts:?}");
}

#[test]
fn the_task_priority_holds_interrupts_back_by_register_and_by_cr8() {
    for by_register in [true, false] {
        let set = move |a: &mut CodeAssembler, class: i32| {
            if by_register {
                store(a, APIC_TPR, class << 4)
            } else {
                a.mov(eax, class)?;
                a.mov(cr8, rax)
            }
        };
        let code = guest(&[VECTOR], move |a| {
            set(a, 4)?;
            store(a, APIC_ICR_LOW, VECTOR | TO_SELF | ASSERT)?;
            a.sti()?;
            a.nop()?;
            a.mov(rbx, cr8)?;
            set(a, 3)?;
            a.pause()?;
            a.cli()
        });
        let mut t = Testbed::new(TSO, &[&code]);
        step_to(&mut t, iced_x86::Mnemonic::Pause);
        assert_eq!(t.gpr(0, 3), 4);
        assert!(t.machine.choices().contains(&interrupt(0)), "class 4 is above 3");
        let mut t = Testbed::new(TSO, &[&code]);
        step_to(&mut t, iced_x86::Mnemonic::Nop);
        t.step(0);
        assert!(!t.machine.choices().contains(&interrupt(0)), "class 4 is not above 4");
    }
}

#[test]
fn an_nmi_comes_without_the_flag_and_no_second_one_before_iret() {
    let code = guest(&[2], |a| {
        store(a, APIC_ICR_HIGH, 0)?;
        store(a, APIC_ICR_LOW, NMI | ASSERT)?;
        a.nop()
    });
    let mut t = Testbed::new(TSO, &[&code]);
    step_to(&mut t, iced_x86::Mnemonic::Nop);
    assert!(t.machine.choices().contains(&interrupt(0)));
    t.apply(interrupt(0));
    t.drain_all(0);
    assert_eq!(t.core(0).cpu.nmi_blocked, 1);
    step_to(&mut t, iced_x86::Mnemonic::Iretq);
    t.step(0);
    assert_eq!(t.core(0).cpu.nmi_blocked, 0);
    t.finish(0);
    assert_eq!(t.memory(COUNT), 1);
}

/// A turn that ended before an interrupt that the core then does not take would begin again for ever.
#[test]
fn a_run_goes_on_while_an_nmi_waits_for_iret_and_while_an_instruction_is_half_done() {
    let blocked = guest(&[], |a| {
        let (mut handler, mut again) = (a.create_label(), a.create_label());
        gate(a, 2, handler)?;
        store(a, APIC_ICR_HIGH, 0)?;
        store(a, APIC_ICR_LOW, NMI | ASSERT)?;
        a.set_label(&mut again)?;
        a.jmp(again)?;
        a.set_label(&mut handler)?;
        store(a, APIC_ICR_LOW, NMI | ASSERT)?;
        a.sti()?;
        a.mov(ecx, 200)?;
        let mut around = a.create_label();
        a.set_label(&mut around)?;
        a.dec(ecx)?;
        a.jnz(around)?;
        a.cli()?;
        a.hlt()
    });
    let half_done = guest(&[VECTOR], |a| {
        store(a, APIC_TIMER_DIVIDE, 0b1011)?;
        store(a, APIC_LVT_TIMER, VECTOR | PERIODIC)?;
        store(a, APIC_TIMER_INITIAL, 41)?;
        a.sti()?;
        a.mov(ecx, 2000)?;
        let mut around = a.create_label();
        a.set_label(&mut around)?;
        a.add(qword_ptr(COUNT + 8), 1)?;
        a.dec(ecx)?;
        a.jnz(around)?;
        a.cli()
    });
    for seed in 0..20 {
        for code in [&blocked as &dyn Fn(&mut CodeAssembler) -> Result<(), IcedError>, &half_done] {
            let machine = Testbed::new(TSO, &[code]).machine;
            let mut runner = Runner::new(machine, Policy::new(seed, Slices::Around(5)));
            assert_eq!(runner.run(100_000, |_| false), Ended::Stopped, "seed {seed}");
            assert_eq!(runner.machine().stop(), Some(&Stop::AllHalted));
        }
    }
}

#[test]
fn the_timer_of_the_pc_comes_through_the_8259_to_lint0() {
    // ICW1 to ICW4 of the master with vectors from 0x40, all but line 0 masked; counter 0 in mode 2.
    let writes = [(0x20, 0x11), (0x21, 0x40), (0x21, 4), (0x21, 1), (0x21, 0xfe), (0x43, 0x34), (0x40, 200), (0x40, 0)];
    let code = guest(&[0x40], move |a| {
        for (port, value) in writes {
            a.mov(eax, value)?;
            a.out(port, al)?;
        }
        a.sti()?;
        for _ in 0..3 {
            a.hlt()?;
            a.mov(eax, 0x20)?;
            a.out(0x20, al)?;
        }
        a.cli()
    });
    let mut t = Testbed::new(TSO, &[&code]);
    let mut times = Vec::new();
    // The control word sets the output high, which is the first.
    for _ in 0..3 {
        t.run(0);
        while !t.machine.choices().contains(&interrupt(0)) {
            t.apply(Choice::Pass);
        }
        times.push(t.state().time.0);
        t.apply(interrupt(0));
    }
    t.finish(0);
    assert_eq!(t.memory(COUNT), 3);
    let period = times[2] - times[1];
    assert!((16_750..=16_780).contains(&period), "200 clocks of 1.193182 MHz are 16762 ticks, and it was {period}");
}

#[test]
fn init_and_start_up_bring_a_core_to_real_mode_at_the_page() {
    // At 0x8000: mov word [0x8100], 0x1234; hlt.
    let stub: [u8; 7] = [0xc7, 0x06, 0x00, 0x81, 0x34, 0x12, 0xf4];
    let boss = guest(&[VECTOR], move |a| {
        for (offset, byte) in (0u64..).zip(stub) {
            a.mov(byte_ptr(0x8000 + offset), i32::from(byte))?;
        }
        store(a, APIC_ICR_LOW, 5 << 8 | TO_OTHERS | ASSERT)?;
        store(a, APIC_ICR_LOW, 6 << 8 | 8 | TO_OTHERS | ASSERT)?;
        store(a, APIC_ICR_LOW, 6 << 8 | 9 | TO_OTHERS | ASSERT)
    });
    let mut t = Testbed::new(TSO, &[&boss, &|a| a.nop()]);
    t.finish(0);
    assert_eq!(t.pc(1), 0x8000);
    assert_eq!(t.core(1).cpu.cr0 & 1, 0, "real mode");
    t.finish(1);
    assert_eq!(t.memory(0x8100) & 0xffff, 0x1234);
    assert_eq!(t.machine.stop(), Some(&Stop::AllHalted));
}
