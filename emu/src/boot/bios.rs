//! A small BIOS: the services that a boot sector calls in real mode (IBM PS/2 and PC BIOS Interface Technical Reference;
//! Phoenix, "BIOS Enhanced Disk Drive Specification" 1.1; ACPI 6.5, 15.1).
//!
//! It is guest code in segment f000 that drives the machine's own devices by their ports, one interrupt a file:
//! screen and serial port (10h), disks (13h), memory and A20 (15h), keyboard (16h), and the small ones (08h, 09h, 11h, 12h,
//! 1ah). Every other vector returns at once, those of IRQs after an end of interrupt.
//!
//! At its entry it programs what a PC's BIOS programs: interrupts at vectors 08h and 70h, all masked but the timer, and the
//! timer at 18.2 Hz; everything else is left as the devices are made.
//! Exceptions return to the instruction that caused them, as they do with a real BIOS, which is an endless loop.
//!
//! Left out: diskettes, graphics, writing to disks, protected-mode services, and a menu for anything.
//! False on hardware: characters go to the serial port too, so that a run can be read as text.

mod disk;
mod keyboard;
mod memory;
mod screen;
mod system;

pub(crate) use system::PROGRAMMING;

use super::firmware::MP_TABLES;
use super::memory_map::FIRMWARE;
use crate::loader::Image;
use crate::machine::Settings;
use iced_x86::code_asm::*;
use iced_x86::{BlockEncoderOptions, IcedError};

/// The segment of its code.
pub(super) const SEGMENT: u16 = 0xf000;
/// The segment of the BIOS data area.
const DATA_SEGMENT: u32 = 0x40;
/// Where a BIOS has its last jump, date and model.
const RESET_VECTOR: u64 = 0xf_fff0;
/// A PC AT.
const MODEL: u8 = 0xfc;

/// Offsets into the segment of what the code reads; the code lies below.
const DATA: u64 = 0x5000;
const MEMORY_MAP: u32 = 0x5000;
const DISKS: u32 = 0x5200;
const KEYS: u32 = 0x5300;
const SHIFTED_KEYS: u32 = 0x5380;

/// The offset of its first instruction.
pub(super) const ENTRY: u16 = 0;

/// The BIOS of a machine that starts `image`: what goes where, code, data and interrupt vectors.
pub(super) fn parts(image: &Image, settings: &Settings) -> Vec<(u64, Vec<u8>)> {
    let (code, vectors) = assemble(image, settings).expect("the BIOS assembles whatever the settings are");
    assert!(code.len() as u64 <= DATA, "the BIOS's code ends before its data");
    let segment = FIRMWARE.start;
    assert!(segment + u64::from(SHIFTED_KEYS) + 0x80 <= MP_TABLES.start, "its data ends before the MP tables");
    let at = |offset: u32| segment + u64::from(offset);
    vec![
        (segment, code),
        (at(MEMORY_MAP), memory::map(settings)),
        (at(DISKS), disk::geometries(image)),
        (at(KEYS), keyboard::KEYS.to_vec()),
        (at(SHIFTED_KEYS), keyboard::SHIFTED_KEYS.to_vec()),
        (RESET_VECTOR, reset_vector(ENTRY)),
        (0, vectors),
    ]
}

/// A jump to the entry, the BIOS's date, and the kind of machine.
fn reset_vector(entry: u16) -> Vec<u8> {
    let [low, high] = entry.to_le_bytes();
    [&[0xea, low, high, 0x00, 0xf0][..], b"01/01/26", &[0, MODEL, 0]].concat()
}

/// The code, which begins with its entry, and the interrupt vector table.
fn assemble(image: &Image, settings: &Settings) -> Result<(Vec<u8>, Vec<u8>), IcedError> {
    let mut a = CodeAssembler::new(16)?;
    system::entry(&mut a)?;
    let ends = Ends::new(&mut a)?;
    let [nothing, first_irq, second_irq] = system::stubs(&mut a)?;
    let mut vectors = [nothing; 256];
    vectors[0x08..0x10].fill(first_irq);
    vectors[0x70..0x78].fill(second_irq);
    let poll = keyboard::poll(&mut a)?;
    vectors[0x08] = system::timer(&mut a)?;
    vectors[0x09] = keyboard::interrupt(&mut a, poll)?;
    vectors[0x10] = screen::services(&mut a, &ends)?;
    vectors[0x11] = system::equipment(&mut a)?;
    vectors[0x12] = system::base_memory(&mut a)?;
    vectors[0x13] = disk::services(&mut a, &ends, image)?;
    vectors[0x15] = memory::services(&mut a, &ends, settings)?;
    vectors[0x16] = keyboard::services(&mut a, &ends, poll)?;
    let halt = system::halt(&mut a)?;
    vectors[0x18..0x1a].fill(halt);
    vectors[0x1a] = system::time(&mut a, &ends)?;
    let result = a.assemble_options(0, BlockEncoderOptions::RETURN_NEW_INSTRUCTION_OFFSETS)?;
    let mut table = Vec::new();
    for vector in &vectors {
        table.extend((result.label_ip(vector)? as u16).to_le_bytes());
        table.extend(SEGMENT.to_le_bytes());
    }
    Ok((result.inner.code_buffer, table))
}

/// The caller's registers as a service finds them on the stack, at BP: [`Ends::enter`] pushes them.
mod frame {
    pub(super) const EBX: i32 = 16;
    pub(super) const BX: i32 = EBX;
    pub(super) const EDX: i32 = 20;
    pub(super) const DX: i32 = EDX;
    pub(super) const DL: i32 = EDX;
    pub(super) const DH: i32 = EDX + 1;
    pub(super) const ECX: i32 = 24;
    pub(super) const CX: i32 = ECX;
    pub(super) const CL: i32 = ECX;
    pub(super) const CH: i32 = ECX + 1;
    pub(super) const EAX: i32 = 28;
    pub(super) const AX: i32 = EAX;
    pub(super) const AL: i32 = EAX;
    pub(super) const AH: i32 = EAX + 1;
    pub(super) const FLAGS: i32 = 40;
}

/// In the flags.
const CARRY: u32 = 1;
const ZERO: u32 = 1 << 6;

/// How services end: with the frame's registers back in their places.
struct Ends {
    /// The flags are as the frame says.
    done: CodeLabel,
    /// Carry is clear: it worked.
    succeeded: CodeLabel,
    /// Carry is set: it did not.
    failed: CodeLabel,
}

impl Ends {
    fn new(a: &mut CodeAssembler) -> Result<Ends, IcedError> {
        let mut ends = Ends { done: a.create_label(), succeeded: a.create_label(), failed: a.create_label() };
        a.set_label(&mut ends.failed)?;
        a.or(byte_ptr(bp + frame::FLAGS), CARRY)?;
        a.jmp(ends.done)?;
        a.set_label(&mut ends.succeeded)?;
        a.and(byte_ptr(bp + frame::FLAGS), !CARRY & 0xff)?;
        a.set_label(&mut ends.done)?;
        a.popad()?;
        a.pop(es)?;
        a.pop(ds)?;
        a.iret()?;
        Ok(ends)
    }

    /// Begins a service, which may change any register and ends at one of these.
    fn enter(&self, a: &mut CodeAssembler) -> Result<CodeLabel, IcedError> {
        let mut start = a.create_label();
        a.set_label(&mut start)?;
        a.push(ds)?;
        a.push(es)?;
        a.pushad()?;
        a.cld()?;
        a.mov(bp, sp)?;
        Ok(start)
    }
}

/// Makes DS the segment of the BIOS data area.
fn enter_data_segment(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.push(DATA_SEGMENT)?;
    a.pop(ds)
}

/// Jumps to `label` if AH is `function`.
fn on_function(a: &mut CodeAssembler, function: u32, label: CodeLabel) -> Result<(), IcedError> {
    a.cmp(ah, function)?;
    a.je(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_assembles_and_every_vector_points_into_its_code() {
        let image = Image::from_flat("disk", vec![0]).with_disk(vec![0; 1 << 20]);
        let parts = parts(&image, &Settings::default());
        let (code, vectors) = (&parts[0].1, &parts[6].1);
        for vector in vectors.chunks(4) {
            let offset = usize::from(u16::from_le_bytes([vector[0], vector[1]]));
            assert!(offset < code.len() && vector[2..] == [0x00, 0xf0], "{vector:x?} points into {} bytes", code.len());
        }
    }
}
