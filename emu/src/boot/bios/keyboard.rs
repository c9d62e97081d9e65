//! 16h, keyboard: read a key (00h, 10h), look for one (01h, 11h), shift keys (02h); and the keyboard's interrupt (09h),
//! which a guest has to unmask. Without it the services ask the keyboard controller themselves.
//!
//! Scan code set 1, US layout, shift, control and caps lock. Left out: alternate, num lock, key pad digits.

use super::{
    Ends, KEYS as KEYS_OFFSET, SHIFTED_KEYS as SHIFTED_OFFSET, ZERO, enter_data_segment, frame, on_function, system,
};
use iced_x86::IcedError;
use iced_x86::code_asm::*;

/// What the keys write, by scan code.
pub(super) const KEYS: &[u8; 0x3a] = b"\0\x1b1234567890-=\x08\tqwertyuiop[]\r\0asdfghjkl;'`\0\\zxcvbnm,./\0*\0 ";
/// What they write with a shift key.
pub(super) const SHIFTED_KEYS: &[u8; 0x3a] =
    b"\0\x1b!@#$%^&*()_+\x08\tQWERTYUIOP{}\r\0ASDFGHJKL:\"~\0|ZXCVBNM<>?\0*\0 ";
/// The last scan code of a key: F12.
const LAST_KEY: u32 = 0x58;

/// Offsets in the BIOS data area.
const SHIFT_FLAGS: u32 = 0x17;
const HEAD: u32 = 0x1a;
const TAIL: u32 = 0x1c;
const BUFFER_START: u32 = 0x80;
const BUFFER_END: u32 = 0x82;

/// In the shift flags.
const RIGHT_SHIFT: u32 = 1 << 0;
const LEFT_SHIFT: u32 = 1 << 1;
const CONTROL: u32 = 1 << 2;
const CAPS_LOCK: u32 = 1 << 6;

/// Ports of the controller; in its status: a byte is there, and it is the mouse's.
const CONTROLLER_DATA: u32 = 0x60;
const CONTROLLER_STATUS: u32 = 0x64;
const OUTPUT_FULL: u32 = 1 << 0;
const IS_MOUSE: u32 = 1 << 5;

/// A subroutine that takes a byte from the controller, if there is one, and puts the key it ends into the buffer.
///
/// DS is the BIOS data area; every other register may change.
pub(super) fn poll(a: &mut CodeAssembler) -> Result<CodeLabel, IcedError> {
    let [mut start, mut nothing] = [a.create_label(), a.create_label()];
    a.set_label(&mut start)?;
    a.in_(al, CONTROLLER_STATUS)?;
    // A machine without a controller reads as all ones.
    a.cmp(al, 0xff)?;
    a.je(nothing)?;
    a.test(al, OUTPUT_FULL)?;
    a.jz(nothing)?;
    a.mov(ah, al)?;
    a.in_(al, CONTROLLER_DATA)?;
    a.test(ah, IS_MOUSE)?;
    a.jnz(nothing)?;
    note_shift_keys(a, nothing)?;
    a.cmp(al, LAST_KEY)?;
    a.ja(nothing)?;
    character(a)?;
    append(a, nothing)?;
    a.set_label(&mut nothing)?;
    a.ret()?;
    Ok(start)
}

/// Keeps the shift flags; jumps to `taken` if scan code AL is one of theirs.
fn note_shift_keys(a: &mut CodeAssembler, taken: CodeLabel) -> Result<(), IcedError> {
    for (code, flag) in [(0x2a, LEFT_SHIFT), (0x36, RIGHT_SHIFT), (0x1d, CONTROL)] {
        let [mut not_down, mut not_up] = [a.create_label(), a.create_label()];
        a.cmp(al, code)?;
        a.jne(not_down)?;
        a.or(byte_ptr(SHIFT_FLAGS), flag)?;
        a.jmp(taken)?;
        a.set_label(&mut not_down)?;
        a.cmp(al, code | 0x80)?;
        a.jne(not_up)?;
        a.and(byte_ptr(SHIFT_FLAGS), !flag & 0xff)?;
        a.jmp(taken)?;
        a.set_label(&mut not_up)?;
        a.nop()?;
    }
    let mut not_caps = a.create_label();
    a.cmp(al, 0x3a)?;
    a.jne(not_caps)?;
    a.xor(byte_ptr(SHIFT_FLAGS), CAPS_LOCK)?;
    a.jmp(taken)?;
    a.set_label(&mut not_caps)?;
    a.nop()
}

/// The character of scan code AL in AL, and the scan code in AH; 0 for a key that writes nothing.
fn character(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let [mut no_character, mut unshifted, mut no_caps, mut no_control] = [(); 4].map(|()| a.create_label());
    a.movzx(bx, al)?;
    a.mov(ah, al)?;
    a.mov(al, 0)?;
    a.cmp(bl, KEYS.len() as u32)?;
    a.jae(no_character)?;
    a.mov(al, byte_ptr(bx + KEYS_OFFSET).cs())?;
    a.test(byte_ptr(SHIFT_FLAGS), LEFT_SHIFT | RIGHT_SHIFT)?;
    a.jz(unshifted)?;
    a.mov(al, byte_ptr(bx + SHIFTED_OFFSET).cs())?;
    a.set_label(&mut unshifted)?;
    a.test(byte_ptr(SHIFT_FLAGS), CAPS_LOCK)?;
    a.jz(no_caps)?;
    // Letters change their case: without bit 5 they are 41h to 5ah.
    a.mov(cl, al)?;
    a.and(cl, 0xdf)?;
    a.sub(cl, 0x41)?;
    a.cmp(cl, 26)?;
    a.jae(no_caps)?;
    a.xor(al, 0x20)?;
    a.set_label(&mut no_caps)?;
    a.test(byte_ptr(SHIFT_FLAGS), CONTROL)?;
    a.jz(no_control)?;
    a.cmp(al, 0x40)?;
    a.jb(no_control)?;
    a.and(al, 0x1f)?;
    a.set_label(&mut no_control)?;
    a.nop()?;
    a.set_label(&mut no_character)?;
    a.nop()
}

/// Puts AX at the buffer's end; jumps to `full` if there is no room.
fn append(a: &mut CodeAssembler, full: CodeLabel) -> Result<(), IcedError> {
    let mut inside = a.create_label();
    a.mov(di, word_ptr(TAIL))?;
    a.mov(si, di)?;
    next_place(a, &mut inside)?;
    a.cmp(si, word_ptr(HEAD))?;
    a.je(full)?;
    a.mov(word_ptr(di), ax)?;
    a.mov(word_ptr(TAIL), si)
}

/// Moves SI on to the next place in the buffer, which is a ring.
fn next_place(a: &mut CodeAssembler, inside: &mut CodeLabel) -> Result<(), IcedError> {
    a.add(si, 2)?;
    a.cmp(si, word_ptr(BUFFER_END))?;
    a.jb(*inside)?;
    a.mov(si, word_ptr(BUFFER_START))?;
    a.set_label(inside)?;
    a.nop()
}

/// 09h.
pub(super) fn interrupt(a: &mut CodeAssembler, poll: CodeLabel) -> Result<CodeLabel, IcedError> {
    let mut start = a.create_label();
    a.set_label(&mut start)?;
    a.push(ds)?;
    a.pushad()?;
    enter_data_segment(a)?;
    a.call(poll)?;
    system::end_interrupt(a)?;
    a.popad()?;
    a.pop(ds)?;
    a.iret()?;
    Ok(start)
}

/// 16h.
pub(super) fn services(a: &mut CodeAssembler, ends: &Ends, poll: CodeLabel) -> Result<CodeLabel, IcedError> {
    let start = ends.enter(a)?;
    let [mut read, mut look, mut shifts] = [(); 3].map(|()| a.create_label());
    enter_data_segment(a)?;
    for (function, label) in [(0x00, read), (0x10, read), (0x01, look), (0x11, look), (0x02, shifts)] {
        on_function(a, function, label)?;
    }
    a.jmp(ends.done)?;

    a.set_label(&mut shifts)?;
    a.mov(al, byte_ptr(SHIFT_FLAGS))?;
    a.mov(byte_ptr(bp + frame::AL), al)?;
    a.jmp(ends.done)?;

    let mut nothing = a.create_label();
    a.set_label(&mut look)?;
    a.call(poll)?;
    first_key(a, nothing)?;
    a.and(byte_ptr(bp + frame::FLAGS), !ZERO & 0xff)?;
    a.jmp(ends.done)?;
    a.set_label(&mut nothing)?;
    a.or(byte_ptr(bp + frame::FLAGS), ZERO)?;
    a.jmp(ends.done)?;

    let [mut again, mut inside] = [a.create_label(), a.create_label()];
    a.set_label(&mut again)?;
    // Others have time while nobody types: interrupts, and other cores.
    a.sti()?;
    a.pause()?;
    a.cli()?;
    a.set_label(&mut read)?;
    a.call(poll)?;
    first_key(a, again)?;
    next_place(a, &mut inside)?;
    a.mov(word_ptr(HEAD), si)?;
    a.jmp(ends.done)?;
    Ok(start)
}

/// Gives the caller the buffer's first key in AX; SI is its place. Jumps to `nothing` if there is none.
fn first_key(a: &mut CodeAssembler, nothing: CodeLabel) -> Result<(), IcedError> {
    a.mov(si, word_ptr(HEAD))?;
    a.cmp(si, word_ptr(TAIL))?;
    a.je(nothing)?;
    a.mov(ax, word_ptr(si))?;
    a.mov(word_ptr(bp + frame::AX), ax)
}
