//! Starting, the stubs of vectors without a service, the timer's interrupt (08h), equipment (11h), memory size (12h) and
//! the time of day in ticks (1ah).

use super::{DATA_SEGMENT, Ends, enter_data_segment, frame, on_function};
use iced_x86::IcedError;
use iced_x86::code_asm::*;

/// Ticks of 18.2 Hz in a day.
const TICKS_PER_DAY: u32 = 0x18_00b0;
/// Offsets in the BIOS data area.
const EQUIPMENT: u32 = 0x10;
const BASE_MEMORY: u32 = 0x13;
const TICKS_LOW: u32 = 0x6c;
const TICKS_HIGH: u32 = 0x6e;
const MIDNIGHT: u32 = 0x70;
/// Ports and the command of the interrupt controllers (8259A, "End of Interrupt").
const FIRST_PIC: u32 = 0x20;
const SECOND_PIC: u32 = 0xa0;
const END_OF_INTERRUPT: u32 = 0x20;

/// What a BIOS writes to which port before it starts anything.
///
/// Each interrupt controller: ICW1, ICW2 (its vectors), ICW3 (their connection), ICW4, then which lines are masked: all but
/// the timer on the first and the second's way into it. Then the timer: counter 0, low byte and high, a square wave of 65,536
/// cycles.
pub(crate) const PROGRAMMING: [(u16, u8); 13] = [
    (0x20, 0x11),
    (0x21, 0x08),
    (0x21, 0x04),
    (0x21, 0x01),
    (0x21, 0xfa),
    (0xa0, 0x11),
    (0xa1, 0x70),
    (0xa1, 0x02),
    (0xa1, 0x01),
    (0xa1, 0xff),
    (0x43, 0x36),
    (0x40, 0),
    (0x40, 0),
];

/// Programs interrupt controllers and timer, and jumps to the boot sector.
pub(super) fn entry(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.cli()?;
    a.xor(eax, eax)?;
    a.mov(ss, ax)?;
    a.mov(sp, 0x7c00)?;
    a.mov(ds, ax)?;
    a.mov(es, ax)?;
    for (port, byte) in PROGRAMMING {
        a.mov(al, u32::from(byte))?;
        a.out(u32::from(port), al)?;
    }
    a.mov(edx, 0x80)?;
    a.sti()?;
    // A far jump to 0000:7c00.
    a.db(&[0xea, 0x00, 0x7c, 0x00, 0x00])
}

/// What a vector without a service does: nothing, or what the interrupt controllers want to see.
pub(super) fn stubs(a: &mut CodeAssembler) -> Result<[CodeLabel; 3], IcedError> {
    let [mut nothing, mut first_irq, mut second_irq] = [a.create_label(), a.create_label(), a.create_label()];
    a.set_label(&mut nothing)?;
    a.iret()?;
    a.set_label(&mut first_irq)?;
    a.push(ax)?;
    end_interrupt(a)?;
    a.pop(ax)?;
    a.iret()?;
    a.set_label(&mut second_irq)?;
    a.push(ax)?;
    end_interrupt(a)?;
    a.out(SECOND_PIC, al)?;
    a.pop(ax)?;
    a.iret()?;
    Ok([nothing, first_irq, second_irq])
}

/// Ends the interrupt in service at the first controller.
pub(super) fn end_interrupt(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.mov(al, END_OF_INTERRUPT)?;
    a.out(FIRST_PIC, al)
}

/// 08h: another tick.
pub(super) fn timer(a: &mut CodeAssembler) -> Result<CodeLabel, IcedError> {
    let (mut start, mut same_day) = (a.create_label(), a.create_label());
    a.set_label(&mut start)?;
    a.push(ds)?;
    a.push(eax)?;
    enter_data_segment(a)?;
    a.inc(dword_ptr(TICKS_LOW))?;
    a.cmp(dword_ptr(TICKS_LOW), TICKS_PER_DAY)?;
    a.jb(same_day)?;
    a.mov(dword_ptr(TICKS_LOW), 0)?;
    a.mov(byte_ptr(MIDNIGHT), 1)?;
    a.set_label(&mut same_day)?;
    // What the guest wants done at every tick.
    a.int(0x1c)?;
    end_interrupt(a)?;
    a.pop(eax)?;
    a.pop(ds)?;
    a.iret()?;
    Ok(start)
}

/// 11h: the equipment word in AX.
pub(super) fn equipment(a: &mut CodeAssembler) -> Result<CodeLabel, IcedError> {
    data_word(a, EQUIPMENT)
}

/// 12h: KiB of base memory in AX.
pub(super) fn base_memory(a: &mut CodeAssembler) -> Result<CodeLabel, IcedError> {
    data_word(a, BASE_MEMORY)
}

fn data_word(a: &mut CodeAssembler, offset: u32) -> Result<CodeLabel, IcedError> {
    let mut start = a.create_label();
    a.set_label(&mut start)?;
    a.push(ds)?;
    a.mov(ax, DATA_SEGMENT)?;
    a.mov(ds, ax)?;
    a.mov(ax, word_ptr(offset))?;
    a.pop(ds)?;
    a.iret()?;
    Ok(start)
}

/// 18h and 19h, when there is nothing left to boot.
pub(super) fn halt(a: &mut CodeAssembler) -> Result<CodeLabel, IcedError> {
    let mut start = a.create_label();
    a.set_label(&mut start)?;
    a.cli()?;
    a.hlt()?;
    a.jmp(start)?;
    Ok(start)
}

/// 1ah: function 00h, ticks since midnight in CX:DX, and whether midnight has passed in AL.
pub(super) fn time(a: &mut CodeAssembler, ends: &Ends) -> Result<CodeLabel, IcedError> {
    let start = ends.enter(a)?;
    let mut ticks = a.create_label();
    on_function(a, 0, ticks)?;
    a.jmp(ends.failed)?;
    a.set_label(&mut ticks)?;
    enter_data_segment(a)?;
    a.mov(ax, word_ptr(TICKS_HIGH))?;
    a.mov(word_ptr(bp + frame::CX), ax)?;
    a.mov(ax, word_ptr(TICKS_LOW))?;
    a.mov(word_ptr(bp + frame::DX), ax)?;
    a.xor(al, al)?;
    a.xchg(byte_ptr(MIDNIGHT), al)?;
    a.mov(byte_ptr(bp + frame::AL), al)?;
    a.jmp(ends.succeeded)?;
    Ok(start)
}
