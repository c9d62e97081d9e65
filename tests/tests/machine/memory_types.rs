//! Memory types: what page tables and range registers make of stores to RAM.

use super::page_tables::*;
use super::testbed::*;
use fencepost::choice::Choice;
use fencepost::core::CoreId;
use fencepost::machine::Stop;
use iced_x86::IcedError;
use iced_x86::code_asm::*;

const PRESENT_WRITABLE: u64 = 3;
/// Bits of a page table entry: the first choose entry 1 of IA32_PAT, all three entry 7.
const PWT: u64 = 1 << 3;
const PCD: u64 = 1 << 4;

const UNCACHED: u64 = 0;
const COMBINING: u64 = 1;
const WRITE_BACK: u64 = 6;
const PAT: u32 = 0x277;
const BASE_2: u32 = 0x204;
const MASK_2: u32 = 0x205;
const DEFAULT_TYPE: u32 = 0x2ff;

pub(crate) fn wrmsr(a: &mut CodeAssembler, number: u32, value: u64) -> Result<(), IcedError> {
    a.mov(ecx, number)?;
    a.mov(eax, value as u32)?;
    a.mov(edx, (value >> 32) as u32)?;
    a.wrmsr()
}

/// Makes [`SCATTERED`] of the type `kind` by entry 1 of IA32_PAT.
fn by_page(a: &mut CodeAssembler, kind: u64) -> Result<(), IcedError> {
    wrmsr(a, PAT, 0x0007_0406_0007_0006 | kind << 8)?;
    a.mov(eax, (FIRST_FRAME | PRESENT_WRITABLE | PWT) as u32)?;
    a.mov(qword_ptr(entry_of(SCATTERED)), rax)?;
    a.invlpg(ptr(SCATTERED))
}

/// Makes [`SCATTERED`] of the type `kind` by a variable range of 4 KiB.
fn by_range(a: &mut CodeAssembler, kind: u64) -> Result<(), IcedError> {
    wrmsr(a, BASE_2, FIRST_FRAME | kind)?;
    wrmsr(a, MASK_2, 0xff_ffff_f800)
}

/// Which of data at [`SCATTERED`] and a flag at [`Y`] may become visible first, when they are stored in this order with
/// `between` between them.
fn first_visible(make: Code, between: Code) -> Vec<u64> {
    let code = |a: &mut CodeAssembler| {
        make(a)?;
        a.mov(dword_ptr(SCATTERED), 1)?;
        between(a)?;
        a.mov(dword_ptr(Y), 1)
    };
    let mut t = paged(TSO, &[&code]);
    t.run(0);
    t.drainable(0)
}

fn nothing(_: &mut CodeAssembler) -> Result<(), IcedError> {
    Ok(())
}

#[test]
fn stores_to_write_combining_ram_are_not_ordered_before_ordinary_ones() {
    for make in [by_page, by_range] {
        assert_eq!(first_visible(&|a| make(a, COMBINING), &nothing), [FIRST_FRAME, Y]);
        assert_eq!(first_visible(&|a| make(a, WRITE_BACK), &nothing), [FIRST_FRAME]);
        assert_eq!(first_visible(&|a| make(a, COMBINING), &|a| a.sfence()), [FIRST_FRAME]);
    }
}

#[test]
fn an_uncached_store_does_not_wait_in_the_buffer_and_an_uncached_load_drains_it() {
    for make in [by_page, by_range] {
        assert_eq!(first_visible(&|a| make(a, UNCACHED), &nothing), [Y]);
        let load = |a: &mut CodeAssembler| {
            make(a, UNCACHED)?;
            a.mov(dword_ptr(Y), 1)?;
            a.mov(eax, dword_ptr(SCATTERED))
        };
        let mut t = paged(TSO, &[&load]);
        t.run(0);
        assert_eq!(t.pending(0), []);
    }
}

#[test]
fn the_type_is_that_of_the_page_through_which_the_access_is_made() {
    // The same frame twice: write-combining through one page, and as the MTRRs say through the other.
    let code = |a: &mut CodeAssembler| {
        by_page(a, COMBINING)?;
        a.mov(dword_ptr(SCATTERED), 1)?;
        a.mov(dword_ptr(Y), 1)?;
        a.mov(dword_ptr(ALIAS + 64), 1)
    };
    let mut t = paged(TSO, &[&code]);
    t.run(0);
    assert_eq!(t.drainable(0), [FIRST_FRAME, Y]);
    t.drain(0, 1);
    assert_eq!(t.drainable(0), [FIRST_FRAME, FIRST_FRAME + 64]);
}

#[test]
fn the_kinds_of_pages_and_ranges_combine() {
    // By the range, by the page; what may drain first.
    let cases: [(u64, u64, &[u64]); 8] = [
        (UNCACHED, WRITE_BACK, &[Y]),
        (UNCACHED, 7, &[Y]),
        (UNCACHED, COMBINING, &[FIRST_FRAME, Y]),
        (COMBINING, WRITE_BACK, &[FIRST_FRAME, Y]),
        (COMBINING, 7, &[FIRST_FRAME, Y]),
        (COMBINING, UNCACHED, &[Y]),
        (WRITE_BACK, 7, &[Y]),
        (4, 5, &[FIRST_FRAME]),
    ];
    for (range, page, expected) in cases {
        let make = |a: &mut CodeAssembler| {
            by_range(a, range)?;
            by_page(a, page)
        };
        assert_eq!(first_visible(&make, &nothing), expected, "range {range}, page {page}");
    }
}

#[test]
fn without_mtrrs_all_memory_is_uncached_and_code_runs_on() {
    let code = |a: &mut CodeAssembler| {
        wrmsr(a, DEFAULT_TYPE, WRITE_BACK)?;
        let mut again = a.create_label();
        a.mov(ecx, 200)?;
        a.set_label(&mut again)?;
        a.inc(dword_ptr(X))?;
        a.dec(ecx)?;
        a.jnz(again)
    };
    for drained in [false, true] {
        let mut t = paged(TSO, &[&code]);
        t.apply(Choice::Run { core: CoreId(0), steps: 1000, drained });
        assert_eq!((t.memory(X), t.machine.stop()), (200, Some(&Stop::AllHalted)));
    }
}

#[test]
fn the_framebuffer_s_pixels_are_write_combining_and_a_page_can_make_them_uncached() {
    let code = |a: &mut CodeAssembler| {
        a.mov(eax, PIXELS as u32)?;
        a.mov(dword_ptr(rax), 1)?;
        a.mov(dword_ptr(Y), 1)
    };
    let mut t = paged(TSO, &[&code]);
    t.run(0);
    assert_eq!(t.drainable(0), [PIXELS, Y]);
    let code = |a: &mut CodeAssembler| {
        // The directory of the fourth GiB, its entry for the pixels' 2 MiB.
        let entry = DATA + 0x4000 + 8 * (PIXELS >> 21 & 511);
        a.or(qword_ptr(entry), (PWT | PCD) as i32)?;
        a.mov(eax, PIXELS as u32)?;
        a.invlpg(ptr(rax))?;
        a.mov(dword_ptr(rax), 1)?;
        a.mov(dword_ptr(Y), 1)
    };
    let mut t = paged(TSO, &[&code]);
    t.run(0);
    assert_eq!(t.drainable(0), [Y]);
}

/// What WRMSR makes of `value`, or that it does not take it.
fn written(number: u32, value: u64) -> Option<u64> {
    let code = |a: &mut CodeAssembler| {
        wrmsr(a, number, value)?;
        a.xor(eax, eax)?;
        a.xor(edx, edx)?;
        a.rdmsr()
    };
    let mut t = paged(TSO, &[&code]);
    t.run(0);
    let is_fault = matches!(t.machine.stop(), Some(Stop::Faulted { .. }));
    (!is_fault).then(|| t.gpr(0, 2) << 32 | t.rax(0))
}

#[test]
fn range_registers_take_types_that_there_are_and_no_reserved_bits() {
    for (number, value) in
        [(0x200, 0xff_ffff_f006), (0x20f, 0xff_ffff_f800), (0x26f, 0x0605_0401_0006_0504), (DEFAULT_TYPE, 0xc01)]
    {
        assert_eq!(written(number, value), Some(value), "{number:#x}");
    }
    let refused = [
        (0xfe, 0x508),
        (0x200, 2),
        (0x200, 0x100),
        (0x200, 7),
        (0x201, 0x400),
        (0x201, 1 << 40),
        (0x210, 0),
        (0x250, 7),
        (0x251, 0),
        (DEFAULT_TYPE, 0x103),
        (DEFAULT_TYPE, 0x2),
        (DEFAULT_TYPE, 0x1000),
    ];
    for (number, value) in refused {
        assert_eq!(written(number, value), None, "{value:#x} in {number:#x}");
    }
}

#[test]
fn types_are_part_of_the_state() {
    let code = |a: &mut CodeAssembler| {
        by_page(a, COMBINING)?;
        by_range(a, UNCACHED)?;
        a.mov(eax, dword_ptr(SCATTERED))?;
        a.mov(dword_ptr(SCATTERED), 1)?;
        a.mov(dword_ptr(Y), 1)
    };
    let mut t = paged(TSO, &[&code]);
    while t.pc(0) != 0 && !t.core(0).is_halted() {
        t.step(0);
        let snapshot = t.machine.snapshot();
        t = paged(TSO, &[&code]);
        t.machine.restore(&snapshot);
    }
    assert_eq!(t.drainable(0), [FIRST_FRAME, Y]);
}
