//! Guests of a few bytes.

/// Where the code lies and starts.
pub(super) const BASE: u64 = 0x10_0000;

/// Exits with 42.
pub(super) const EXIT_42: &[u8] = b"\xb0\x2a\xe6\xf4"; // mov al, 42; out 0xf4, al
/// Is no instruction.
pub(super) const FAULT: &[u8] = b"\x90\x0f\x0b"; // nop; ud2
/// Halts for good.
pub(super) const HALT: &[u8] = b"\xfa\xf4"; // cli; hlt
/// Never ends.
pub(super) const LOOP: &[u8] = b"\xeb\xfe"; // jmp $
/// Waits for a word that nobody writes.
pub(super) const WAIT: &[u8] = b"\x83\x3c\x25\x00\x00\x18\x00\x01\x75\xf6"; // cmp dword [0x180000], 1; jne
/// Begins and ends its region, then never ends.
pub(super) const REGION_THEN_LOOP: &[u8] = b"\x66\x87\xdb\x66\x87\xc9\xf3\x90\xeb\xfc"; // xchg bx, bx; xchg cx, cx; pause; jmp
/// Reads the time and halts for good.
pub(super) const TIME: &[u8] = b"\x0f\x31\xfa\xf4"; // rdtsc; cli; hlt
/// Writes to the serial port without end.
pub(super) const FLOOD: &[u8] = b"\x66\xba\xf8\x03\xb0\x78\xee\xeb\xfd"; // mov dx, 0x3f8; mov al, 'x'; out dx, al; jmp
/// Writes its command line to the serial port and exits with 0.
///
/// mov rsi, [rdx+24]; mov rcx, [rdx+32]; mov dx, 0x3f8; rep outsb; mov al, 0; out 0xf4, al
pub(super) const ECHO: &[u8] = b"\x48\x8b\x72\x18\x48\x8b\x4a\x20\x66\xba\xf8\x03\xf3\x6e\xb0\x00\xe6\xf4";

/// An ELF64 executable with one segment.
pub(super) struct Elf {
    /// `e_type`: 2 is an executable, 3 a shared object.
    pub(super) kind: u16,
    /// `e_machine`: 62 is x86-64.
    pub(super) machine: u16,
    /// `p_type`: 1 is loaded, 3 names a dynamic linker.
    pub(super) segment: u32,
    /// Where the segment is loaded.
    pub(super) address: u64,
}

impl Default for Elf {
    fn default() -> Elf {
        Elf { kind: 2, machine: 62, segment: 1, address: BASE }
    }
}

impl Elf {
    /// The file, entered at the first byte of `code`.
    pub(super) fn file(&self, code: &[u8]) -> Vec<u8> {
        const HEADERS: u64 = 64 + 56;
        let size = code.len() as u64;
        let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        file.extend([self.kind.to_le_bytes(), self.machine.to_le_bytes()].concat());
        file.extend(1u32.to_le_bytes());
        file.extend([self.address, 64, 0].map(u64::to_le_bytes).concat());
        file.extend(0u32.to_le_bytes());
        file.extend([64u16, 56, 1, 64, 0, 0].map(u16::to_le_bytes).concat());
        file.extend([self.segment, 7].map(u32::to_le_bytes).concat());
        file.extend([HEADERS, self.address, self.address, size, size, 1].map(u64::to_le_bytes).concat());
        file.extend(code);
        file
    }
}
