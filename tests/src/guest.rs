//! What small guests in machine code have in common: an IDT, and the registers of the interrupt controllers.
//!
//! Guests are assembled for 64 or 32 bits by the same code. They start by the machine's own protocol (`programs/BOOT.md`), whose
//! GDT has 64-bit code at 0x08, data at 0x10 and 32-bit code at 0x18.

pub mod apic;

use fencepost::loader::{FLAT_BASE, Image};
use iced_x86::IcedError;
use iced_x86::code_asm::*;

/// Where these guests put their IDT, and its limit and base: plain RAM, below 2 MiB.
pub const IDT: u64 = 0x18_2000;
/// See [`IDT`].
pub const IDT_POINTER: u64 = 0x18_3000;
/// The limit of an IDT with all vectors, in 64-bit mode.
pub const IDT_LIMIT: u16 = 0xfff;

/// The code segment's selector in code of `bits` (64 or 32).
pub fn code_selector(bits: u32) -> u16 {
    if bits == 64 { 0x08 } else { 0x18 }
}

/// Type and attributes of a present interrupt gate for level 0 (SDM 3A 6.14.1), as the 16 bits at its offset 4.
pub const INTERRUPT_GATE: u16 = 0x8e00;

/// Puts `handler` here, jumped over, with interrupt gates of the [`IDT`] for `vectors`, and changes EAX.
///
/// # Errors
/// The instructions cannot be encoded.
pub fn handler(
    a: &mut CodeAssembler,
    vectors: &[u8],
    handler: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>,
) -> Result<(), IcedError> {
    let mut past = a.create_label();
    // The return address is the handler's.
    a.call(past)?;
    handler(a)?;
    a.set_label(&mut past)?;
    if a.bitness() == 64 {
        a.pop(rax)?
    } else {
        a.pop(eax)?
    }
    vectors.iter().try_for_each(|&vector| gate_at(a, IDT, vector, INTERRUPT_GATE))
}

/// Writes a gate for `vector` into the table at `idt`, with these 16 bits at its offset 4, to the address in EAX.
///
/// # Errors
/// The instructions cannot be encoded.
pub fn gate_at(a: &mut CodeAssembler, idt: u64, vector: u8, attributes: u16) -> Result<(), IcedError> {
    let at = idt + u64::from(vector) * u64::from(a.bitness() / 4);
    a.mov(word_ptr(at), ax)?;
    a.mov(word_ptr(at + 2), i32::from(code_selector(a.bitness())))?;
    a.mov(word_ptr(at + 4), i32::from(attributes as i16))?;
    a.ror(eax, 16)?;
    a.mov(word_ptr(at + 6), ax)?;
    a.ror(eax, 16)
}

/// Loads IDTR with the [`IDT`].
///
/// # Errors
/// The instructions cannot be encoded.
pub fn load_idt(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.mov(word_ptr(IDT_POINTER), i32::from(IDT_LIMIT))?;
    a.mov(dword_ptr(IDT_POINTER + 2), IDT as i32)?;
    a.lidt(ptr(IDT_POINTER))
}

/// Stores `value` at `address`, anywhere below 4 GiB, and changes EAX.
///
/// # Errors
/// The instructions cannot be encoded.
pub fn store(a: &mut CodeAssembler, address: u64, value: u32) -> Result<(), IcedError> {
    a.mov(eax, address as u32)?;
    a.mov(dword_ptr(eax), value as i32)
}

/// The guest whose code `write` writes, of `bits` (64 or 32).
///
/// # Errors
/// The instructions cannot be encoded.
///
/// # Panics
/// It does not fit a file.
pub fn assembled(
    bits: u32,
    write: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>,
) -> Result<Image, IcedError> {
    let mut a = CodeAssembler::new(bits)?;
    write(&mut a)?;
    Ok(if bits == 64 {
        Image::from_flat("guest", a.assemble(FLAT_BASE)?)
    } else {
        let code = a.assemble((BASE_32 + HEADERS).into())?;
        Image::from_elf("guest", elf_32(&code)).expect("the header is right")
    })
}

/// Where a file of [`elf_32`] is loaded, headers first.
const BASE_32: u32 = 0x10_0000;
/// Bytes of the headers of a file of [`elf_32`], which its code follows.
pub const HEADERS: u32 = 52 + 32;

/// An ELF32 executable of `code`, entered at its first byte.
pub fn elf_32(code: &[u8]) -> Vec<u8> {
    let mut file = b"\x7fELF\x01\x01\x01".to_vec();
    file.resize(16, 0);
    for half in [2u16, 3] {
        file.extend(half.to_le_bytes());
    }
    for word in [1, BASE_32 + HEADERS, 52, 0, 0] {
        file.extend(word.to_le_bytes());
    }
    for half in [52u16, 32, 1, 40, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    let size = HEADERS + code.len() as u32;
    for word in [1, 0, BASE_32, BASE_32, size, size, 7, 0x1000] {
        file.extend(word.to_le_bytes());
    }
    file.extend(code);
    file
}
