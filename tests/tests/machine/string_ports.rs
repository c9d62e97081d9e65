//! INS and OUTS: each element is read from its port, or written to it, exactly once, whatever comes between (SDM 2A, INS and
//! "REP"; SDM 3A 6.5: a fault leaves nothing, and its instruction can be tried again).

use super::page_tables::*;
use super::testbed::*;
use fencepost::choice::Choice;
use fencepost::core::CoreId;
use fencepost::memory_model::MemoryModel;
use fencepost::trace::Event;
use fencepost_tests::guest::{apic, handler, load_idt, store};
use iced_x86::IcedError;
use iced_x86::code_asm::*;

/// QEMU's fw_cfg: each read of its data port gives the next byte of "QEMU", and then zeros.
const DATA_PORT: u16 = 0x511;
/// The debug console.
const CONSOLE: u16 = 0xe9;
const NO_PORT: u16 = 0x2f8;
/// Where there is neither memory nor a device.
const NOTHING: u64 = 0xfd00_0000;
/// What a handler maps where a page was missing.
const NEW_FRAME: u64 = 0x1b_0000;
const VECTOR: u8 = 0x41;

/// The width of each read of `port`, in order.
fn reads(t: &mut Testbed, port: u16) -> Vec<u8> {
    let width = |event| match event {
        Event::PortRead { port: at, width, .. } if at == port => Some(width),
        _ => None,
    };
    t.events().into_iter().filter_map(width).collect()
}

/// `rep insb` of `count` bytes from [`DATA_PORT`] to `to`.
fn input(a: &mut CodeAssembler, to: u64, count: u32) -> Result<(), IcedError> {
    a.mov(edx, u32::from(DATA_PORT))?;
    a.mov(edi, to as u32)?;
    a.mov(ecx, count)?;
    a.rep().insb()
}

/// A handler of page faults that maps the missing page.
fn mapping(a: &mut CodeAssembler) -> Result<(), IcedError> {
    handler(a, &[14], |a| {
        a.add(rsp, 8)?;
        a.mov(dword_ptr(entry_of(MISSING)), NEW_FRAME as i32 | 3)?;
        a.inc(r15)?;
        a.iretq()
    })?;
    load_idt(a)
}

#[test]
fn each_element_is_read_once_however_the_core_is_stepped() {
    let ways: [fn(&mut Testbed); 4] = [
        |t| t.step(0),
        |t| t.access(0),
        |t| t.steps(0, 3),
        |t| {
            t.apply(Choice::Run { core: CoreId(0), steps: 1000, drained: true });
        },
    ];
    for model in MemoryModel::ALL {
        for way in ways {
            let mut t = Testbed::new(model, &[&|a| input(a, X, 4)]);
            while !t.core(0).is_halted() {
                way(&mut t);
            }
            t.drain_all(0);
            assert_eq!(t.memory(X).to_le_bytes(), *b"QEMU\0\0\0\0", "under {model}");
            assert_eq!(reads(&mut t, DATA_PORT), [1; 4], "under {model}");
            assert_eq!((t.gpr(0, 1), t.gpr(0, 7)), (0, X + 4));
        }
    }
}

#[test]
fn wider_elements_are_one_read_each() {
    let cases: [(Code, u8); 2] = [(&|a| a.rep().insw(), 2), (&|a| a.rep().insd(), 4)];
    for (instruction, width) in cases {
        let code = |a: &mut CodeAssembler| {
            a.mov(edx, u32::from(NO_PORT))?;
            a.mov(edi, X as u32)?;
            a.mov(ecx, 3)?;
            instruction(a)
        };
        let mut t = Testbed::new(TSO, &[&code]);
        t.finish(0);
        assert_eq!(reads(&mut t, NO_PORT), [width; 3]);
        assert_eq!(t.gpr(0, 7), X + 3 * u64::from(width));
    }
}

#[test]
fn a_page_fault_at_its_destination_loses_and_repeats_no_element() {
    let code = |a: &mut CodeAssembler| {
        mapping(a)?;
        input(a, MISSING - 2, 4)
    };
    for model in MemoryModel::ALL {
        let mut t = paged(model, &[&code]);
        t.finish(0);
        assert_eq!(t.gpr(0, 15), 1, "there was one fault, under {model}");
        assert_eq!(t.memory(SECOND_FRAME + 0xff8).to_le_bytes()[6..], *b"QE", "under {model}");
        assert_eq!(t.memory(NEW_FRAME).to_le_bytes()[..3], *b"MU\0", "under {model}");
        assert_eq!(reads(&mut t, DATA_PORT), [1; 4], "under {model}");
    }
}

#[test]
fn an_element_half_of_whose_destination_is_missing_is_read_only_when_it_can_be_stored() {
    let code = |a: &mut CodeAssembler| {
        mapping(a)?;
        a.mov(edx, u32::from(NO_PORT))?;
        a.mov(edi, MISSING as u32 - 1)?;
        a.insd()
    };
    for model in MemoryModel::ALL {
        let mut t = paged(model, &[&code]);
        t.finish(0);
        assert_eq!(t.gpr(0, 15), 1, "there was one fault, under {model}");
        assert_eq!(t.memory(SECOND_FRAME + 0xff8), 0xff << 56, "under {model}");
        assert_eq!(t.memory(NEW_FRAME), 0xff_ffff, "under {model}");
        assert_eq!(reads(&mut t, NO_PORT), [4], "under {model}");
    }
}

#[test]
fn what_was_in_memory_stays_there_until_the_store_of_an_element_drains() {
    // The two pages' frames lie apart.
    let code = |a: &mut CodeAssembler| {
        a.mov(dword_ptr(LAST), 0x0505_0505)?;
        a.mov(byte_ptr(LAST - 1), 5)?;
        a.mfence()?;
        a.mov(edx, u32::from(NO_PORT))?;
        a.mov(edi, LAST as u32 - 1)?;
        a.insd()
    };
    for model in [TSO, PSO] {
        let mut t = paged(model, &[&code]);
        t.run(0);
        assert_eq!(t.pending(0), [(FIRST_FRAME + 0xfff, 1, 0xff), (SECOND_FRAME, 3, 0xff_ffff)], "under {model}");
        assert_eq!((t.byte(FIRST_FRAME + 0xff8 + 7), t.memory(SECOND_FRAME)), (5, 0x0505_0505), "under {model}");
        assert_eq!(t.memory(FIRST_FRAME + 0x1000), 0, "the frame after the first is none of the two");
        t.drain_all(0);
        assert_eq!(t.memory(SECOND_FRAME), 0x05ff_ffff, "under {model}");
    }
}

#[test]
fn an_interrupt_between_two_elements_loses_and_repeats_none() {
    let code = |a: &mut CodeAssembler| {
        handler(a, &[VECTOR], |a| {
            a.push(rax)?;
            store(a, apic::EOI, 0)?;
            a.inc(r15)?;
            a.pop(rax)?;
            a.iretq()
        })?;
        load_idt(a)?;
        store(a, apic::SVR, apic::ENABLED)?;
        store(a, apic::ICR_LOW, u32::from(VECTOR) | apic::TO_SELF | apic::ASSERT)?;
        a.sti()?;
        input(a, X, 4)
    };
    for elements in 0..=4 {
        let mut t = Testbed::new(TSO, &[&code]);
        while t.gpr(0, 1) != 4 {
            t.step(0);
        }
        (0..elements).for_each(|_| t.step(0));
        assert_eq!(t.gpr(0, 1), 4 - elements, "so many are left");
        t.apply(Choice::Interrupt { core: CoreId(0) });
        assert_eq!(t.gpr(0, 1), 4 - elements);
        t.finish(0);
        assert_eq!((t.gpr(0, 15), t.memory(X).to_le_bytes()), (1, *b"QEMU\0\0\0\0"), "after {elements}");
        assert_eq!(reads(&mut t, DATA_PORT), [1; 4], "after {elements}");
    }
}

#[test]
fn an_element_for_a_device_is_one_write() {
    let code = |a: &mut CodeAssembler| {
        a.mov(rdi, NOTHING)?;
        a.mov(edx, u32::from(DATA_PORT))?;
        a.insb()
    };
    for model in MemoryModel::ALL {
        let mut t = Testbed::new(model, &[&code]);
        t.run(0);
        let posted: Vec<u64> = t
            .events()
            .into_iter()
            .filter_map(|event| match event {
                Event::Posted { address: NOTHING, value, .. } => Some(value),
                _ => None,
            })
            .collect();
        assert_eq!(posted, [u64::from(b'Q')], "under {model}");
    }
}

#[test]
fn an_element_stored_over_the_next_instruction_is_read_once_and_executed() {
    let code = |a: &mut CodeAssembler| {
        let mut patched = a.create_label();
        a.mov(edx, u32::from(DATA_PORT))?;
        a.lea(rdi, ptr(patched))?;
        a.mov(rbx, rsp)?;
        a.insb()?;
        a.set_label(&mut patched)?;
        // "Q" is PUSH RCX.
        a.nop()?;
        a.sub(rbx, rsp)
    };
    for model in MemoryModel::ALL {
        for steps in [1, 1000] {
            let mut t = Testbed::new(model, &[&code]);
            let before = t.core(0).clock;
            while !t.core(0).is_halted() {
                t.steps(0, steps);
            }
            assert_eq!(t.gpr(0, 3), 8, "under {model}");
            assert_eq!(t.core(0).clock - before, 7, "each instruction is a step, under {model}");
            assert_eq!(reads(&mut t, DATA_PORT), [1], "under {model}");
        }
    }
}

#[test]
fn a_page_fault_at_its_source_writes_no_element_twice() {
    let code = |a: &mut CodeAssembler| {
        mapping(a)?;
        a.mov(word_ptr(MISSING - 2), 0x6261)?;
        a.mov(word_ptr(NEW_FRAME), 0x6463)?;
        a.mov(edx, u32::from(CONSOLE))?;
        a.mov(esi, MISSING as u32 - 2)?;
        a.mov(ecx, 4)?;
        a.rep().outsb()
    };
    for model in MemoryModel::ALL {
        let mut t = paged(model, &[&code]);
        t.finish(0);
        let mut written = t.events();
        written.retain(|event| matches!(event, Event::DebugConsole { .. }));
        assert_eq!(written, b"abcd".map(|byte| Event::DebugConsole { byte }), "under {model}");
        assert_eq!(t.gpr(0, 15), 1);
    }
}
