//! 10h, video: set the mode (00h, which clears the screen), set the cursor (02h), read it (03h), teletype (0eh), read the
//! mode (0fh). The only mode is 3, 80x25 text, and the only page is 0.

use super::{Ends, enter_data_segment, frame, on_function};
use iced_x86::IcedError;
use iced_x86::code_asm::*;

/// Offsets in the BIOS data area.
const MODE: u32 = 0x49;
const COLUMNS: u32 = 0x4a;
const CURSOR: u32 = 0x50;
const CURSOR_SHAPE: u32 = 0x60;

const WIDTH: u32 = 80;
const HEIGHT: u32 = 25;
const VIDEO_SEGMENT: u32 = 0xb800;
/// A blank, grey on black.
const BLANK: u32 = 0x0720;
/// Ports of the serial port: data and line status; its transmitter is empty.
const SERIAL: u32 = 0x3f8;
const SERIAL_STATUS: u32 = 0x3fd;
const TRANSMITTER_EMPTY: u32 = 1 << 5;
/// The CRT controller, and its registers for the cursor's place.
const CRT_CONTROLLER: u32 = 0x3d4;
const CURSOR_HIGH: u32 = 0x0e;
const CURSOR_LOW: u32 = 0x0f;

/// 10h.
pub(super) fn services(a: &mut CodeAssembler, ends: &Ends) -> Result<CodeLabel, IcedError> {
    let [show, scroll, move_cursor] = [send(a)?, scroll(a)?, move_cursor(a)?];
    let start = ends.enter(a)?;
    let [mut set_mode, mut set_cursor, mut cursor, mut teletype, mut mode] = [(); 5].map(|()| a.create_label());
    enter_data_segment(a)?;
    on_function(a, 0x0e, teletype)?;
    on_function(a, 0x00, set_mode)?;
    on_function(a, 0x02, set_cursor)?;
    on_function(a, 0x03, cursor)?;
    on_function(a, 0x0f, mode)?;
    a.jmp(ends.done)?;

    a.set_label(&mut set_mode)?;
    a.mov(ax, VIDEO_SEGMENT)?;
    a.mov(es, ax)?;
    a.xor(di, di)?;
    a.mov(ax, BLANK)?;
    a.mov(cx, WIDTH * HEIGHT)?;
    a.rep().stosw()?;
    a.xor(dx, dx)?;
    a.set_label(&mut set_cursor)?;
    a.call(move_cursor)?;
    a.jmp(ends.done)?;

    a.set_label(&mut cursor)?;
    a.mov(ax, word_ptr(CURSOR))?;
    a.mov(word_ptr(bp + frame::DX), ax)?;
    a.mov(ax, word_ptr(CURSOR_SHAPE))?;
    a.mov(word_ptr(bp + frame::CX), ax)?;
    a.jmp(ends.done)?;

    a.set_label(&mut mode)?;
    a.mov(al, byte_ptr(MODE))?;
    a.mov(ah, byte_ptr(COLUMNS))?;
    a.mov(word_ptr(bp + frame::AX), ax)?;
    a.mov(byte_ptr(bp + frame::BX + 1), 0)?;
    a.jmp(ends.done)?;

    a.set_label(&mut teletype)?;
    a.call(show)?;
    write(a, scroll, move_cursor)?;
    a.jmp(ends.done)?;
    Ok(start)
}

/// Sends AL to the serial port, and keeps it in BL.
fn send(a: &mut CodeAssembler) -> Result<CodeLabel, IcedError> {
    let (mut start, mut wait) = (a.create_label(), a.create_label());
    a.set_label(&mut start)?;
    a.mov(bl, al)?;
    a.mov(dx, SERIAL_STATUS)?;
    a.set_label(&mut wait)?;
    a.in_(al, dx)?;
    a.test(al, TRANSMITTER_EMPTY)?;
    a.jz(wait)?;
    a.mov(dx, SERIAL)?;
    a.mov(al, bl)?;
    a.out(dx, al)?;
    a.ret()?;
    Ok(start)
}

/// Writes the character in BL at the cursor, and moves it on.
fn write(a: &mut CodeAssembler, scroll: CodeLabel, move_cursor: CodeLabel) -> Result<(), IcedError> {
    let [mut next_row, mut back, mut ended] = [(); 3].map(|()| a.create_label());
    let mut carriage_return = a.create_label();
    a.mov(dx, word_ptr(CURSOR))?;
    for (control, label) in [(13, carriage_return), (10, next_row), (8, back), (7, ended)] {
        a.cmp(bl, control)?;
        a.je(label)?;
    }
    a.mov(al, WIDTH)?;
    a.mul(dh)?;
    a.add(al, dl)?;
    a.adc(ah, 0)?;
    a.add(ax, ax)?;
    a.mov(di, ax)?;
    a.mov(ax, VIDEO_SEGMENT)?;
    a.mov(es, ax)?;
    a.mov(ax, BLANK)?;
    a.mov(al, bl)?;
    a.stosw()?;
    a.inc(dl)?;
    a.cmp(dl, WIDTH)?;
    a.jb(ended)?;
    a.mov(dl, 0)?;
    a.jmp(next_row)?;

    a.set_label(&mut carriage_return)?;
    a.mov(dl, 0)?;
    a.jmp(ended)?;

    a.set_label(&mut back)?;
    // Not beyond the row's first column.
    a.sub(dl, 1)?;
    a.adc(dl, 0)?;
    a.jmp(ended)?;

    a.set_label(&mut next_row)?;
    a.inc(dh)?;
    a.cmp(dh, HEIGHT)?;
    a.jb(ended)?;
    a.dec(dh)?;
    a.call(scroll)?;
    a.set_label(&mut ended)?;
    a.call(move_cursor)
}

/// Moves all rows up by one.
fn scroll(a: &mut CodeAssembler) -> Result<CodeLabel, IcedError> {
    let mut start = a.create_label();
    a.set_label(&mut start)?;
    a.push(ds)?;
    a.mov(ax, VIDEO_SEGMENT)?;
    a.mov(ds, ax)?;
    a.mov(es, ax)?;
    a.mov(si, 2 * WIDTH)?;
    a.xor(di, di)?;
    a.mov(cx, WIDTH * (HEIGHT - 1))?;
    a.rep().movsw()?;
    a.mov(ax, BLANK)?;
    a.mov(cx, WIDTH)?;
    a.rep().stosw()?;
    a.pop(ds)?;
    a.ret()?;
    Ok(start)
}

/// Moves the cursor to row DH and column DL.
fn move_cursor(a: &mut CodeAssembler) -> Result<CodeLabel, IcedError> {
    let mut start = a.create_label();
    a.set_label(&mut start)?;
    a.mov(word_ptr(CURSOR), dx)?;
    a.mov(al, WIDTH)?;
    a.mul(dh)?;
    a.add(al, dl)?;
    a.adc(ah, 0)?;
    a.mov(bx, ax)?;
    a.mov(dx, CRT_CONTROLLER)?;
    for (register, byte) in [(CURSOR_HIGH, bh), (CURSOR_LOW, bl)] {
        a.mov(al, register)?;
        a.out(dx, al)?;
        a.inc(dx)?;
        a.mov(al, byte)?;
        a.out(dx, al)?;
        a.dec(dx)?;
    }
    a.ret()?;
    Ok(start)
}
