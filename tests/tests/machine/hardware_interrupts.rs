//! Interrupts from outside a core: who asks, when they may come, and what they do.

use super::testbed::*;
use fencepost::choice::Choice;
use fencepost::core::CoreId;
use fencepost::core::interruption::Source;
use fencepost::machine::Stop;
use fencepost::trace::Event;
use fencepost_tests::guest::{IDT, INTERRUPT_GATE, apic, gate_at, handler, load_idt};
use iced_x86::IcedError;
use iced_x86::code_asm::*;

/// How often the handler has run.
const COUNT: u64 = 0x18_4000;

/// The vector that the guests here use.
const VECTOR: i32 = 0x41;
fn interrupt(core: u8) -> Choice {
    Choice::Interrupt { core: CoreId(core) }
}

fn store(a: &mut CodeAssembler, address: u64, value: i32) -> Result<(), IcedError> {
    fencepost_tests::guest::store(a, address, value as u32)
}

/// Enters `body` with a handler for `vectors` that counts and ends the interrupt, with the local APIC enabled.
fn guest(
    vectors: &'static [u8],
    body: impl Fn(&mut CodeAssembler) -> Result<(), IcedError>,
) -> impl Fn(&mut CodeAssembler) -> Result<(), IcedError> {
    move |a| {
        handler(a, vectors, |a| {
            a.push(rax)?;
            a.inc(qword_ptr(COUNT))?;
            store(a, apic::EOI, 0)?;
            a.pop(rax)?;
            a.iretq()
        })?;
        load_idt(a)?;
        store(a, apic::SVR, apic::ENABLED as i32)?;
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
    let code = guest(&[VECTOR as u8], |a| {
        store(a, apic::ICR_LOW, VECTOR | apic::TO_SELF as i32 | apic::ASSERT as i32)?;
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
    let code = guest(&[VECTOR as u8], |a| {
        store(a, apic::ICR_LOW, VECTOR | apic::TO_SELF as i32 | apic::ASSERT as i32)?;
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
    let sender = guest(&[VECTOR as u8], |a| {
        for _ in 0..100 {
            a.nop()?;
        }
        store(a, apic::ICR_LOW, VECTOR | apic::TO_OTHERS as i32 | apic::ASSERT as i32)
    });
    let sleeper = guest(&[VECTOR as u8], |a| {
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
    let code = guest(&[VECTOR as u8], |a| {
        store(a, apic::TIMER_DIVIDE, 0b1011)?;
        store(a, apic::LVT_TIMER, VECTOR)?;
        store(a, apic::TIMER_INITIAL, 5000)?;
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
    let code = guest(&[VECTOR as u8], |a| {
        store(a, apic::TIMER_DIVIDE, 0b1011)?;
        store(a, apic::LVT_TIMER, VECTOR)?;
        store(a, apic::TIMER_INITIAL, 700)?;
        let mut again = a.create_label();
        a.set_label(&mut again)?;
        a.mov(rax, apic::IRR + 0x20)?;
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
                store(a, apic::TPR, class << 4)
            } else {
                a.mov(eax, class)?;
                a.mov(cr8, rax)
            }
        };
        let code = guest(&[VECTOR as u8], move |a| {
            set(a, 4)?;
            store(a, apic::ICR_LOW, VECTOR | apic::TO_SELF as i32 | apic::ASSERT as i32)?;
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
        store(a, apic::ICR_HIGH, 0)?;
        store(a, apic::ICR_LOW, apic::NMI as i32 | apic::ASSERT as i32)?;
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

/// How often the handler is entered of a core that sends itself so many NMIs at once, and so many more in its first handler.
fn nmis_taken(sent: usize, sent_by_handler: usize) -> u64 {
    let send = |a: &mut CodeAssembler, times: usize| {
        (0..times).try_for_each(|_| store(a, apic::ICR_LOW, (apic::NMI | apic::ASSERT) as i32))
    };
    let code = |a: &mut CodeAssembler| {
        let mut is_later = a.create_label();
        store(a, apic::ICR_HIGH, 0)?;
        handler(a, &[2], |a| {
            a.inc(ebx)?;
            a.cmp(ebx, 1)?;
            a.jne(is_later)?;
            send(a, sent_by_handler)?;
            a.nop()?;
            a.set_label(&mut is_later)?;
            a.iretq()
        })?;
        load_idt(a)?;
        send(a, sent)?;
        a.nop()?;
        a.nop()
    };
    let mut t = Testbed::new(TSO, &[&code]);
    step_to(&mut t, iced_x86::Mnemonic::Nop);
    while !t.core(0).is_halted() || t.machine.choices().contains(&interrupt(0)) {
        if t.machine.choices().contains(&interrupt(0)) {
            t.apply(interrupt(0));
        } else {
            t.step(0);
        }
    }
    t.gpr(0, 3)
}

#[test]
fn while_an_nmi_is_handled_one_more_waits_and_before_it_is_taken_two() {
    for (sent, sent_by_handler, taken) in [(1, 0, 1), (2, 0, 2), (3, 0, 2), (1, 1, 2), (1, 3, 2), (2, 3, 2)] {
        assert_eq!(nmis_taken(sent, sent_by_handler), taken, "{sent}, and {sent_by_handler} by the handler");
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
    let boss = guest(&[VECTOR as u8], move |a| {
        for (offset, byte) in (0u64..).zip(stub) {
            a.mov(byte_ptr(0x8000 + offset), i32::from(byte))?;
        }
        store(a, apic::ICR_LOW, 5 << 8 | apic::TO_OTHERS as i32 | apic::ASSERT as i32)?;
        store(a, apic::ICR_LOW, 6 << 8 | 8 | apic::TO_OTHERS as i32 | apic::ASSERT as i32)?;
        store(a, apic::ICR_LOW, 6 << 8 | 9 | apic::TO_OTHERS as i32 | apic::ASSERT as i32)
    });
    let sleeper = |a: &mut CodeAssembler| {
        a.mov(eax, 77)?;
        a.cvtsi2sd(xmm3, eax)?;
        a.mov(ecx, 0xc000_0082u32)?;
        a.xor(edx, edx)?;
        a.wrmsr()
    };
    let mut t = Testbed::new(TSO, &[&boss, &sleeper]);
    t.finish(1);
    let before = t.core(1).cpu.clone();
    assert_eq!((before.lstar, f64::from_bits(before.xmm[3][0])), (77, 77.0));
    t.finish(0);
    let after = &t.core(1).cpu;
    assert_eq!((after.lstar, after.xmm, after.pat), (before.lstar, before.xmm, before.pat), "INIT leaves them");
    assert_eq!((after.efer, after.cr4, after.gpr[0]), (0, 0, 0), "but not these");
    assert_eq!(t.pc(1), 0x8000);
    assert_eq!(t.core(1).cpu.cr0 & 1, 0, "real mode");
    t.finish(1);
    assert_eq!(t.memory(0x8100) & 0xffff, 0x1234);
    assert_eq!(t.machine.stop(), Some(&Stop::AllHalted));
}

#[test]
fn an_nmi_that_is_blocked_does_not_keep_a_core_from_going_on() {
    // The handler of the first one sends a second one, turns interrupts on, and works on.
    let code = |a: &mut CodeAssembler| {
        handler(a, &[2], |a| {
            store(a, apic::ICR_LOW, (apic::NMI | apic::ASSERT) as i32)?;
            a.sti()?;
            for _ in 0..10 {
                a.inc(ebx)?;
            }
            a.hlt()
        })?;
        load_idt(a)?;
        store(a, apic::ICR_HIGH, 0)?;
        store(a, apic::ICR_LOW, (apic::NMI | apic::ASSERT) as i32)?;
        a.nop()
    };
    for drained in [false, true] {
        let mut t = Testbed::new(TSO, &[&code]);
        step_to(&mut t, iced_x86::Mnemonic::Nop);
        t.apply(interrupt(0));
        t.machine.run_to_pause(CoreId(0), 100, drained);
        assert_eq!((t.core(0).is_halted(), t.gpr(0, 3)), (true, 10));
        assert!(!t.machine.choices().contains(&interrupt(0)), "it waits until IRET");
    }
}

#[test]
fn an_interrupt_that_comes_within_an_instruction_waits_for_its_end() {
    let code = guest(&[VECTOR as u8], |a| {
        store(a, apic::ICR_LOW, VECTOR | (apic::TO_SELF | apic::ASSERT) as i32)?;
        a.sti()?;
        a.nop()?;
        a.add(qword_ptr(X), 1)
    });
    let mut t = Testbed::new(TSO, &[&code]);
    step_to(&mut t, iced_x86::Mnemonic::Add);
    t.access(0);
    assert!(!t.machine.choices().contains(&interrupt(0)));
    t.machine.run_to_pause(CoreId(0), 100, false);
    assert!(t.machine.choices().contains(&interrupt(0)), "it was run to its end, and not beyond");
    assert_eq!(t.pending_addresses(0), [X]);
}

#[test]
fn a_device_hears_the_same_time_however_a_turn_is_cut() {
    // The 8254 counts from when its counter is written, and is read by a latch, each after some work.
    let code = |a: &mut CodeAssembler| {
        let work = |a: &mut CodeAssembler, rounds: u32| {
            let mut again = a.create_label();
            a.mov(ecx, rounds)?;
            a.set_label(&mut again)?;
            a.dec(ecx)?;
            a.jnz(again)
        };
        for (port, value) in [(0x43, 0x34u32), (0x40, 0xff), (0x40, 0xff)] {
            work(a, 900)?;
            a.mov(eax, value)?;
            a.out(port, al)?;
        }
        work(a, 3000)?;
        a.mov(eax, 0)?;
        a.out(0x43, al)?;
        a.in_(al, 0x40)?;
        a.mov(bl, al)?;
        a.in_(al, 0x40)
    };
    let counts = [(1, false), (7, false), (100_000, false), (100_000, true)].map(|(steps, drained)| {
        let mut t = Testbed::new(TSO, &[&code]);
        while !t.core(0).is_halted() {
            t.apply(Choice::Run { core: CoreId(0), steps, drained });
        }
        (t.gpr(0, 0) & 0xff) << 8 | t.gpr(0, 3) & 0xff
    });
    assert!(counts.iter().all(|count| *count == counts[0]), "{counts:x?}");
}

#[test]
fn mov_ss_holds_interrupts_of_both_kinds_off_for_one_instruction() {
    let nexts: [Code; 3] = [&|a| a.inc(ebp), &|a| a.cpuid(), &|a| a.mov(ss, ecx)];
    for kind in [apic::TO_SELF | VECTOR as u32, apic::NMI] {
        for next in nexts {
            let code = guest(&[VECTOR as u8, 2], move |a| {
                store(a, apic::ICR_HIGH, 0)?;
                store(a, apic::ICR_LOW, (kind | apic::ASSERT) as i32)?;
                a.mov(ecx, ss)?;
                a.sti()?;
                a.pause()?;
                a.mov(ss, ecx)?;
                next(a)?;
                a.mov(dword_ptr(X), 1)?;
                a.cli()
            });
            let mut t = Testbed::new(TSO, &[&code]);
            step_to(&mut t, iced_x86::Mnemonic::Pause);
            t.step(0);
            assert!(t.machine.choices().contains(&interrupt(0)), "it could be taken before");
            t.step(0);
            assert!(!t.machine.choices().contains(&interrupt(0)), "the shadow of MOV SS");
            t.step(0);
            // Of several loads of SS in a row only the first is sure to have a shadow (SDM 3A 6.8.3).
            assert!(t.machine.choices().contains(&interrupt(0)), "one instruction, and no more");
            t.apply(interrupt(0));
            t.finish(0);
            assert_eq!((t.memory(COUNT), t.memory(X)), (1, 1));
        }
    }
}

#[test]
fn pop_ss_holds_interrupts_off_for_one_instruction() {
    let image = fencepost_tests::guest::assembled(32, |a| {
        handler(a, &[VECTOR as u8], |a| a.iretd())?;
        load_idt(a)?;
        store(a, apic::SVR, apic::ENABLED as i32)?;
        store(a, apic::ICR_LOW, VECTOR | (apic::TO_SELF | apic::ASSERT) as i32)?;
        a.push(ss)?;
        a.sti()?;
        a.pause()?;
        a.pop(ss)?;
        a.nop()?;
        a.hlt()
    });
    let machine = fencepost::machine::Machine::new(&image.expect("the guest assembles"), settings(TSO, 1));
    let mut t = Testbed { machine: machine.expect("it fits") };
    step_to(&mut t, iced_x86::Mnemonic::Pause);
    t.step(0);
    assert!(t.machine.choices().contains(&interrupt(0)), "it could be taken before");
    t.step(0);
    assert!(!t.machine.choices().contains(&interrupt(0)), "the shadow of POP SS");
    t.step(0);
    assert!(t.machine.choices().contains(&interrupt(0)), "one instruction, and no more");
}

#[test]
fn the_shadow_of_sti_ends_with_a_software_interrupt() {
    const CALL: u8 = 0x80;
    let code = guest(&[VECTOR as u8], |a| {
        let (mut called, mut past) = (a.create_label(), a.create_label());
        a.lea(rax, ptr(called))?;
        // A trap gate, which leaves IF alone.
        gate_at(a, IDT, CALL, INTERRUPT_GATE | 0x100)?;
        store(a, apic::ICR_LOW, VECTOR | (apic::TO_SELF | apic::ASSERT) as i32)?;
        a.jmp(past)?;
        a.set_label(&mut called)?;
        a.cli()?;
        a.hlt()?;
        a.set_label(&mut past)?;
        a.sti()?;
        a.int(u32::from(CALL))
    });
    let mut t = Testbed::new(TSO, &[&code]);
    step_to(&mut t, iced_x86::Mnemonic::Int);
    assert!(!t.machine.choices().contains(&interrupt(0)), "the shadow of STI");
    t.step(0);
    assert!(t.machine.choices().contains(&interrupt(0)), "the handler is about to execute its first instruction");
}
