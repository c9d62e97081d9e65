//! 13h, disks: reset (00h), read by cylinder, head and sector (02h), geometry (08h), type (15h), and the extensions (41h),
//! read (42h) and parameters (48h) of EDD.
//!
//! Disks 80h and 81h are the primary ATA channel's, read a sector at a time by polling, with interrupts of the channel off.
//! Their geometry is 16 heads of 63 sectors, the ATA device's own, whatever the disk was made for.

use super::{DISKS, Ends, frame, on_function};
use crate::loader::Image;
use fencepost_devices::SECTOR_BYTES;
use iced_x86::IcedError;
use iced_x86::code_asm::*;

const HEADS: u32 = 16;
const SECTORS_PER_TRACK: u32 = 63;
/// What a CHS address can say.
const MOST_CYLINDERS: u64 = 1024;

/// Bytes of a disk's geometry in the BIOS's data: sectors, cylinders, and CX as function 08h gives it.
const GEOMETRY_BYTES: u32 = 12;
const CYLINDERS: u32 = DISKS + 4;
const LAST_CX: u32 = DISKS + 8;

/// Ports of the channel (ATA/ATAPI-6, chapter 7).
const DATA: u32 = 0x1f0;
const SECTOR_COUNT: u32 = 0x1f2;
const DEVICE: u32 = 0x1f6;
const STATUS_COMMAND: u32 = 0x1f7;
const DEVICE_CONTROL: u32 = 0x3f6;
/// Interrupts off.
const NIEN: u32 = 2;
const READ_SECTORS: u32 = 0x20;
/// In the status.
const BUSY: u32 = 1 << 7;
const DATA_REQUEST: u32 = 1 << 3;
const DEVICE_FAULT_OR_ERROR: u32 = 1 << 5 | 1 << 0;
/// In the device register: addresses are LBA.
const LBA: u32 = 0xe0;

/// In AH: what went wrong.
const INVALID: u32 = 0x01;
const NOT_FOUND: u32 = 0x04;
/// In AH for function 41h: EDD 1.1. In CX: reading and parameters.
const EDD: u32 = 0x21;
const EDD_DISK_ACCESS: u32 = 1;
/// Bytes of the parameters of function 48h; in their flags: the geometry is valid.
const PARAMETERS: u32 = 26;
const GEOMETRY_VALID: u32 = 2;

/// What the code reads about the disks.
pub(super) fn geometries(image: &Image) -> Vec<u8> {
    let geometry = |disk: &std::sync::Arc<[u8]>| {
        let sectors = disk.len().div_ceil(SECTOR_BYTES) as u64;
        // Whole ones, as the drive itself counts; the sectors behind them can be read all the same.
        let cylinders = (sectors / u64::from(HEADS * SECTORS_PER_TRACK)).max(1);
        let last = (cylinders.min(MOST_CYLINDERS) - 1) as u32;
        let last_cx = (last & 0xff) << 8 | (last >> 8) << 6 | SECTORS_PER_TRACK;
        [sectors as u32, cylinders as u32, last_cx].map(u32::to_le_bytes).concat()
    };
    image.disks().iter().flat_map(geometry).collect()
}

/// 13h.
pub(super) fn services(a: &mut CodeAssembler, ends: &Ends, image: &Image) -> Result<CodeLabel, IcedError> {
    let read = read_sectors(a)?;
    let start = ends.enter(a)?;
    let [mut read_chs, mut geometry, mut kind, mut extensions, mut read_lba, mut parameters] =
        [(); 6].map(|()| a.create_label());
    let [mut worked, mut invalid, mut not_found] = [(); 3].map(|()| a.create_label());
    let disks = image.disks().len() as u32;
    a.sti()?;
    a.cmp(dl, 0x80)?;
    a.jb(invalid)?;
    a.cmp(dl, 0x80 + disks)?;
    a.jae(invalid)?;
    for (function, label) in [
        // There is nothing to reset.
        (0x00, worked),
        (0x02, read_chs),
        (0x08, geometry),
        (0x15, kind),
        (0x41, extensions),
        (0x42, read_lba),
        (0x48, parameters),
    ] {
        on_function(a, function, label)?;
    }
    a.set_label(&mut invalid)?;
    a.mov(byte_ptr(bp + frame::AH), INVALID)?;
    a.jmp(ends.failed)?;
    a.set_label(&mut not_found)?;
    a.mov(byte_ptr(bp + frame::AH), NOT_FOUND)?;
    a.jmp(ends.failed)?;

    a.set_label(&mut read_chs)?;
    lba_of_chs(a, invalid)?;
    a.movzx(ecx, byte_ptr(bp + frame::AL))?;
    a.mov(bx, word_ptr(bp + frame::BX))?;
    a.call(read)?;
    a.jc(not_found)?;
    a.jmp(worked)?;

    a.set_label(&mut read_lba)?;
    a.cmp(dword_ptr(si + 12), 0)?;
    a.jne(not_found)?;
    a.movzx(ecx, word_ptr(si + 2))?;
    a.mov(eax, dword_ptr(si + 8))?;
    a.mov(bx, word_ptr(si + 4))?;
    a.mov(es, word_ptr(si + 6))?;
    a.call(read)?;
    a.jc(not_found)?;
    a.jmp(worked)?;

    a.set_label(&mut geometry)?;
    geometry_offset(a)?;
    a.mov(ax, word_ptr(bx + LAST_CX).cs())?;
    a.mov(word_ptr(bp + frame::CX), ax)?;
    a.mov(byte_ptr(bp + frame::DH), HEADS - 1)?;
    a.mov(byte_ptr(bp + frame::DL), disks)?;
    a.jmp(worked)?;

    a.set_label(&mut kind)?;
    geometry_offset(a)?;
    a.mov(eax, dword_ptr(bx + DISKS).cs())?;
    a.mov(word_ptr(bp + frame::DX), ax)?;
    a.shr(eax, 16)?;
    a.mov(word_ptr(bp + frame::CX), ax)?;
    // A fixed disk.
    a.mov(byte_ptr(bp + frame::AH), 3)?;
    a.jmp(ends.succeeded)?;

    a.set_label(&mut extensions)?;
    a.cmp(bx, 0x55aa)?;
    a.jne(invalid)?;
    a.mov(word_ptr(bp + frame::BX), 0xaa55)?;
    a.mov(word_ptr(bp + frame::CX), EDD_DISK_ACCESS)?;
    a.mov(byte_ptr(bp + frame::AH), EDD)?;
    a.jmp(ends.succeeded)?;

    a.set_label(&mut parameters)?;
    a.cmp(word_ptr(si), PARAMETERS)?;
    a.jb(invalid)?;
    geometry_offset(a)?;
    a.mov(word_ptr(si), PARAMETERS)?;
    a.mov(word_ptr(si + 2), GEOMETRY_VALID)?;
    a.mov(eax, dword_ptr(bx + CYLINDERS).cs())?;
    a.mov(dword_ptr(si + 4), eax)?;
    a.mov(dword_ptr(si + 8), HEADS)?;
    a.mov(dword_ptr(si + 12), SECTORS_PER_TRACK)?;
    a.mov(eax, dword_ptr(bx + DISKS).cs())?;
    a.mov(dword_ptr(si + 16), eax)?;
    a.mov(dword_ptr(si + 20), 0)?;
    a.mov(word_ptr(si + 24), SECTOR_BYTES as u32)?;
    a.jmp(worked)?;

    a.set_label(&mut worked)?;
    a.mov(byte_ptr(bp + frame::AH), 0)?;
    a.jmp(ends.succeeded)?;
    Ok(start)
}

/// The offset of the geometry of disk DL in BX.
fn geometry_offset(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.movzx(bx, dl)?;
    a.and(bx, 1)?;
    a.imul_3(bx, bx, GEOMETRY_BYTES)
}

/// The sector of the caller's CH, CL and DH in EAX; jumps to `invalid` if CL names none.
fn lba_of_chs(a: &mut CodeAssembler, invalid: CodeLabel) -> Result<(), IcedError> {
    a.movzx(eax, byte_ptr(bp + frame::CH))?;
    a.movzx(ebx, byte_ptr(bp + frame::CL))?;
    // Bits 6 and 7 of CL are the cylinder's bits 8 and 9.
    a.mov(ecx, ebx)?;
    a.and(ecx, 0xc0)?;
    a.shl(ecx, 2)?;
    a.or(eax, ecx)?;
    a.imul_3(eax, eax, HEADS)?;
    a.movzx(ecx, byte_ptr(bp + frame::DH))?;
    a.add(eax, ecx)?;
    a.imul_3(eax, eax, SECTORS_PER_TRACK)?;
    a.and(ebx, 0x3f)?;
    a.jz(invalid)?;
    a.add(eax, ebx)?;
    a.dec(eax)
}

/// A subroutine that reads ECX sectors from sector EAX on to ES:BX; carry says that it failed.
fn read_sectors(a: &mut CodeAssembler) -> Result<CodeLabel, IcedError> {
    let wait = wait_while_busy(a)?;
    let [mut start, mut next, mut end, mut failed] = [(); 4].map(|()| a.create_label());
    a.set_label(&mut start)?;
    // The buffer as a segment and less than a paragraph, so that no offset overflows.
    a.mov(di, bx)?;
    a.and(di, 0x0f)?;
    a.shr(bx, 4)?;
    a.mov(dx, es)?;
    a.add(dx, bx)?;
    a.mov(es, dx)?;
    a.mov(ebx, eax)?;
    set_device_control(a, NIEN)?;
    a.set_label(&mut next)?;
    a.test(ecx, ecx)?;
    a.jz(end)?;
    command(a)?;
    a.call(wait)?;
    a.test(al, DEVICE_FAULT_OR_ERROR)?;
    a.jnz(failed)?;
    a.test(al, DATA_REQUEST)?;
    a.jz(failed)?;
    a.push(ecx)?;
    a.push(di)?;
    a.mov(cx, SECTOR_BYTES as u32 / 2)?;
    a.mov(dx, DATA)?;
    a.rep().insw()?;
    a.pop(di)?;
    a.pop(ecx)?;
    a.mov(dx, es)?;
    a.add(dx, SECTOR_BYTES as u32 / 16)?;
    a.mov(es, dx)?;
    a.inc(ebx)?;
    a.dec(ecx)?;
    a.jmp(next)?;
    a.set_label(&mut failed)?;
    set_device_control(a, 0)?;
    a.stc()?;
    a.ret()?;
    a.set_label(&mut end)?;
    set_device_control(a, 0)?;
    a.clc()?;
    a.ret()?;
    Ok(start)
}

/// Commands disk DL of the frame to read sector EBX.
fn command(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.mov(eax, ebx)?;
    a.shr(eax, 24)?;
    a.and(al, 0x0f)?;
    a.or(al, LBA)?;
    a.mov(ah, byte_ptr(bp + frame::DL))?;
    a.and(ah, 1)?;
    a.shl(ah, 4)?;
    a.or(al, ah)?;
    a.mov(dx, DEVICE)?;
    a.out(dx, al)?;
    a.mov(dx, SECTOR_COUNT)?;
    a.mov(al, 1)?;
    a.out(dx, al)?;
    a.mov(eax, ebx)?;
    for _ in 0..3 {
        a.inc(dx)?;
        a.out(dx, al)?;
        a.shr(eax, 8)?;
    }
    a.mov(dx, STATUS_COMMAND)?;
    a.mov(al, READ_SECTORS)?;
    a.out(dx, al)
}

fn set_device_control(a: &mut CodeAssembler, bits: u32) -> Result<(), IcedError> {
    a.mov(dx, DEVICE_CONTROL)?;
    a.mov(al, bits)?;
    a.out(dx, al)
}

/// A subroutine that waits until the channel is not busy; its status is in AL. No channel reads as all ones: an error.
fn wait_while_busy(a: &mut CodeAssembler) -> Result<CodeLabel, IcedError> {
    let [mut start, mut absent] = [a.create_label(), a.create_label()];
    a.set_label(&mut start)?;
    a.mov(dx, STATUS_COMMAND)?;
    a.in_(al, dx)?;
    a.cmp(al, 0xff)?;
    a.je(absent)?;
    a.test(al, BUSY)?;
    a.jnz(start)?;
    a.set_label(&mut absent)?;
    a.ret()?;
    Ok(start)
}
