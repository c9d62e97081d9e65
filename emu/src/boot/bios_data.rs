//! The BIOS data area at 0x400 (IBM PS/2 and PC BIOS Interface Technical Reference, "Data Areas").
//!
//! Left out: fields that only a BIOS with diskettes, printers or an RTC alarm uses; they are zero.

use super::memory_map::{EXTENDED_BIOS_DATA, lower_kib};
use crate::loader::Image;
use std::ops::Range;

/// Where it is.
pub(super) const RANGE: Range<u64> = 0x400..0x500;

/// Offsets of its fields.
pub(super) const SERIAL_PORTS: usize = 0x00;
const EXTENDED_DATA_SEGMENT: usize = 0x0e;
const EQUIPMENT: usize = 0x10;
const BASE_MEMORY_KIB: usize = 0x13;
const KEYBOARD_HEAD: usize = 0x1a;
const KEYBOARD_TAIL: usize = 0x1c;
const VIDEO_MODE: usize = 0x49;
const COLUMNS: usize = 0x4a;
const VIDEO_PAGE_BYTES: usize = 0x4c;
const CURSOR_SHAPE: usize = 0x60;
const CRT_CONTROLLER: usize = 0x63;
const HARD_DISKS: usize = 0x75;
const KEYBOARD_START: usize = 0x80;
const KEYBOARD_END: usize = 0x82;
const LAST_ROW: usize = 0x84;
const CHARACTER_HEIGHT: usize = 0x85;
const KEYBOARD_KIND: usize = 0x96;

/// The keyboard buffer, as offsets from 0x400.
const KEYBOARD_BUFFER: Range<u16> = 0x1e..0x3e;
/// A coprocessor, a PS/2 mouse, 80x25 colour text, one serial port.
const EQUIPPED: u16 = 1 << 1 | 1 << 2 | 2 << 4 | 1 << 9;

/// The area's content.
pub(super) fn bios_data(image: &Image) -> [u8; 0x100] {
    let mut area = [0; 0x100];
    let mut word = |offset: usize, value: u16| area[offset..offset + 2].copy_from_slice(&value.to_le_bytes());
    word(SERIAL_PORTS, 0x3f8);
    word(EXTENDED_DATA_SEGMENT, (EXTENDED_BIOS_DATA.start >> 4) as u16);
    word(EQUIPMENT, EQUIPPED);
    word(BASE_MEMORY_KIB, lower_kib() as u16);
    for (pointer, start) in [(KEYBOARD_HEAD, 0), (KEYBOARD_TAIL, 0), (KEYBOARD_START, 0), (KEYBOARD_END, 0x20)] {
        word(pointer, KEYBOARD_BUFFER.start + start);
    }
    word(COLUMNS, 80);
    word(VIDEO_PAGE_BYTES, 0x1000);
    word(CURSOR_SHAPE, 0x0d0e);
    word(CRT_CONTROLLER, 0x3d4);
    for (offset, byte) in [
        (VIDEO_MODE, 3),
        (HARD_DISKS, image.disks().len() as u8),
        (LAST_ROW, 24),
        (CHARACTER_HEIGHT, 16),
        // An enhanced keyboard is there.
        (KEYBOARD_KIND, 1 << 4),
    ] {
        area[offset] = byte;
    }
    area
}
