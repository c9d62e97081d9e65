//! 15h, system services: the memory map (e820h), memory sizes (e801h, 88h), address line 20 (24h, always on), and a wait
//! that is over at once (86h). Everything else is refused with AH = 86h.

use super::{Ends, MEMORY_MAP, frame, on_function};
use crate::boot::memory_map::{memory_map, upper_kib};
use crate::machine::Settings;
use iced_x86::IcedError;
use iced_x86::code_asm::*;

/// "SMAP", by which caller and BIOS know each other.
const SIGNATURE: u32 = 0x534d_4150;
/// Bytes of an entry of the map.
const ENTRY: u32 = 20;
/// KiB from 1 MiB to 16 MiB.
const BELOW_16_MIB: u32 = 0x3c00;
/// The most that function 88h tells, in KiB.
const MOST_88: u32 = 0xfc00;
/// In AH: there is no such function.
const UNSUPPORTED: u32 = 0x86;

/// The map as function e820h gives it.
pub(super) fn map(settings: &Settings) -> Vec<u8> {
    let entries = memory_map(settings).into_iter().map(|entry| {
        let (base, bytes, kind) = entry.fields();
        [&base.to_le_bytes()[..], &bytes.to_le_bytes(), &kind.to_le_bytes()].concat()
    });
    entries.collect::<Vec<_>>().concat()
}

/// 15h.
pub(super) fn services(a: &mut CodeAssembler, ends: &Ends, settings: &Settings) -> Result<CodeLabel, IcedError> {
    let start = ends.enter(a)?;
    let [mut map, mut sizes, mut size, mut a20, mut wait] = [(); 5].map(|()| a.create_label());
    a.cmp(ax, 0xe820)?;
    a.je(map)?;
    a.cmp(ax, 0xe801)?;
    a.je(sizes)?;
    on_function(a, 0x88, size)?;
    on_function(a, 0x24, a20)?;
    on_function(a, 0x86, wait)?;
    let mut unsupported = a.create_label();
    a.set_label(&mut unsupported)?;
    a.mov(byte_ptr(bp + frame::AH), UNSUPPORTED)?;
    a.jmp(ends.failed)?;

    a.set_label(&mut map)?;
    map_entry(a, ends, memory_map(settings).len() as u32, unsupported)?;

    a.set_label(&mut sizes)?;
    let below = upper_kib(settings).min(BELOW_16_MIB);
    let above = (upper_kib(settings) - below) / 64;
    for (register, value) in [(frame::AX, below), (frame::CX, below), (frame::BX, above), (frame::DX, above)] {
        a.mov(word_ptr(bp + register), value)?;
    }
    a.jmp(ends.succeeded)?;

    a.set_label(&mut size)?;
    a.mov(word_ptr(bp + frame::AX), upper_kib(settings).min(MOST_88))?;
    a.jmp(ends.succeeded)?;

    a.set_label(&mut a20)?;
    address_line_20(a, ends, unsupported)?;

    a.set_label(&mut wait)?;
    a.jmp(ends.succeeded)?;
    Ok(start)
}

/// Copies the entry that EBX asks for to ES:DI.
fn map_entry(a: &mut CodeAssembler, ends: &Ends, entries: u32, unsupported: CodeLabel) -> Result<(), IcedError> {
    let mut has_next = a.create_label();
    a.cmp(edx, SIGNATURE)?;
    a.jne(unsupported)?;
    a.cmp(ecx, ENTRY)?;
    a.jb(unsupported)?;
    a.cmp(ebx, entries)?;
    a.jae(unsupported)?;
    a.imul_3(si, bx, ENTRY)?;
    a.add(si, MEMORY_MAP)?;
    a.push(cs)?;
    a.pop(ds)?;
    a.mov(cx, ENTRY / 4)?;
    a.rep().movsd()?;
    a.inc(bx)?;
    a.cmp(bx, entries)?;
    a.jb(has_next)?;
    a.xor(ebx, ebx)?;
    a.set_label(&mut has_next)?;
    a.mov(dword_ptr(bp + frame::EBX), ebx)?;
    a.mov(dword_ptr(bp + frame::EAX), SIGNATURE)?;
    a.mov(dword_ptr(bp + frame::ECX), ENTRY)?;
    a.jmp(ends.succeeded)
}

/// 2401h: turn it on; 2402h: it is on; 2403h: by keyboard controller or port 92h. It cannot be turned off.
fn address_line_20(a: &mut CodeAssembler, ends: &Ends, unsupported: CodeLabel) -> Result<(), IcedError> {
    let [mut on, mut status, mut support] = [(); 3].map(|()| a.create_label());
    for (function, label) in [(1, on), (2, status), (3, support)] {
        a.cmp(al, function)?;
        a.je(label)?;
    }
    a.jmp(unsupported)?;
    a.set_label(&mut status)?;
    a.mov(byte_ptr(bp + frame::AL), 1)?;
    a.jmp(on)?;
    a.set_label(&mut support)?;
    a.mov(word_ptr(bp + frame::BX), 3)?;
    a.set_label(&mut on)?;
    a.mov(byte_ptr(bp + frame::AH), 0)?;
    a.jmp(ends.succeeded)
}
