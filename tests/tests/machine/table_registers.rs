//! GDTR, IDTR, LDTR and the task register: bases that are no addresses are refused.
//!
//! The SDM names only the address of the operand; what is loaded is checked as well (APM 3, LGDT, LIDT, LLDT, LTR: for a
//! descriptor, the error code is the selector).

use super::control_registers::refused;
use super::testbed::*;
use fencepost::processor::Processor;
use iced_x86::IcedError;
use iced_x86::code_asm::*;

/// A pseudo-descriptor, and a GDT.
const POINTER: u64 = 0x18_5000;
const GDT: u64 = 0x18_6000;
const SELECTOR: u32 = 0x18;
/// Neither half of the addresses that there are.
const NOT_CANONICAL: [u64; 3] = [1 << 47, 0xffff_7fff_ffff_f000, 1 << 63];
/// The second doubleword of descriptors.
const TSS: u64 = 0x8900;
const LDT: u64 = 0x8200;

fn put(a: &mut CodeAssembler, address: u64, value: u64) -> Result<(), IcedError> {
    a.mov(rax, value)?;
    a.mov(qword_ptr(address), rax)
}

fn pointer(a: &mut CodeAssembler, base: u64) -> Result<(), IcedError> {
    a.mov(word_ptr(POINTER), 0xfff)?;
    put(a, POINTER + 2, base)
}

/// A GDT with the descriptor of a system segment of `kind` at `base` after those of code and data.
fn table(a: &mut CodeAssembler, kind: u64, base: u64) -> Result<(), IcedError> {
    put(a, GDT + 8, 0x00af_9b00_0000_ffff)?;
    put(a, GDT + 16, 0x00cf_9300_0000_ffff)?;
    put(a, GDT + 24, 0x67 | (base & 0xff_ffff) << 16 | kind << 32 | (base >> 24 & 0xff) << 56)?;
    put(a, GDT + 32, base >> 32)?;
    pointer(a, GDT)?;
    a.lgdt(ptr(POINTER))?;
    a.mov(eax, SELECTOR)?;
    a.mov(word_ptr(Z), SELECTOR as i32)
}

#[test]
fn a_table_register_holds_only_an_address_that_there_is() {
    for base in NOT_CANONICAL {
        refused("LGDT", 0, &|a| pointer(a, base), &|a| a.lgdt(ptr(POINTER)));
        refused("LIDT", 0, &|a| pointer(a, base), &|a| a.lidt(ptr(POINTER)));
    }
    for base in [(1 << 47) - 8, 0xffff_8000_0000_0000] {
        let mut t = Testbed::new(
            SC,
            &[&|a| {
                pointer(a, base)?;
                a.lgdt(ptr(POINTER))?;
                a.lidt(ptr(POINTER))
            }],
        );
        t.run(0);
        let cpu = &t.core(0).cpu;
        assert_eq!([cpu.gdt, cpu.idt].map(|table| (table.base, table.limit)), [(base, 0xfff); 2]);
    }
}

#[test]
fn a_refused_table_is_refused_access_by_access_too() {
    // The limit is an access of its own; the base crosses an aligned 8 bytes.
    for (processor, accesses) in [(Processor::INTEL, 2), (Processor::ANY, 3)] {
        let code = |a: &mut CodeAssembler| {
            pointer(a, 1 << 47)?;
            a.lgdt(ptr(POINTER))
        };
        let mut t = Testbed::on(processor, SC, &[&code]);
        t.steps(0, 3);
        let before = t.core(0).cpu.clone();
        for _ in 1..accesses {
            t.access(0);
            assert_eq!(t.machine.stop(), None, "on {processor}");
        }
        t.access(0);
        assert_eq!(t.fault().1, fencepost::trace::Fault::Exception { vector: 13, error_code: 0, address: 0 });
        assert_eq!(t.core(0).cpu, before);
    }
}

#[test]
fn a_descriptor_with_a_base_that_is_no_address_is_not_loaded() {
    let loads: [(&str, u64, Code); 4] = [
        ("LTR", TSS, &|a| a.ltr(ax)),
        ("LTR from memory", TSS, &|a| a.ltr(word_ptr(Z))),
        ("LLDT", LDT, &|a| a.lldt(ax)),
        ("LLDT from memory", LDT, &|a| a.lldt(word_ptr(Z))),
    ];
    for (name, kind, load) in loads {
        for base in NOT_CANONICAL {
            refused(name, u64::from(SELECTOR), &|a| table(a, kind, base), load);
        }
        for base in [(1 << 47) - 8, 0xffff_8000_0000_0000] {
            let mut t = Testbed::new(
                SC,
                &[&|a| {
                    table(a, kind, base)?;
                    load(a)
                }],
            );
            t.run(0);
            let cpu = &t.core(0).cpu;
            let loaded = if kind == TSS { cpu.tr } else { cpu.ldt };
            assert_eq!((loaded.selector, loaded.base), (SELECTOR, base), "{name}");
        }
    }
}

#[test]
fn there_is_no_task_of_the_null_selector() {
    refused("LTR of null", 0, &|a| a.mov(eax, 3), &|a| a.ltr(ax));
    refused("LTR of null from memory", 0, &|a| a.mov(word_ptr(Z), 3), &|a| a.ltr(word_ptr(Z)));
    let mut t = Testbed::new(
        SC,
        &[&|a| {
            a.xor(eax, eax)?;
            a.lldt(ax)
        }],
    );
    t.run(0);
    assert!(t.core(0).is_halted(), "but there may be no local table: {:?}", t.machine.stop());
}

#[test]
fn a_task_whose_segment_is_refused_does_not_become_busy() {
    let mut t = Testbed::new(
        TSO,
        &[&|a| {
            table(a, TSS, 1 << 47)?;
            a.ltr(ax)
        }],
    );
    t.finish(0);
    assert_eq!(t.fault().1, fencepost::trace::Fault::Exception { vector: 13, error_code: SELECTOR, address: 0 });
    assert_eq!(t.memory(GDT + 24) >> 40 & 0xff, TSS >> 8);
}
