//! The block the machine leaves for the guest (`programs/BOOT.md`).

/// What the machine tells every core at entry.
#[repr(C)]
#[derive(Debug)]
pub struct BootInfo {
    /// "FNCEPOST".
    pub magic: u64,
    /// Size of RAM, which starts at physical address 0.
    pub ram_bytes: u64,
    /// How many cores entered.
    pub cores: u64,
    command_line: *const u8,
    command_line_len: u64,
    /// First free byte after the image, aligned to 4 KiB.
    pub heap_start: u64,
    /// End of the free memory; the stacks lie above.
    pub heap_end: u64,
    /// Where the framebuffer's pixels are: write-combining memory.
    pub framebuffer_pixels: u64,
    /// How large that memory is.
    pub framebuffer_pixel_bytes: u64,
    /// Where the framebuffer's registers are: uncached.
    pub framebuffer_registers: u64,
}

impl BootInfo {
    /// The eight bytes "FNCEPOST" as a little-endian number.
    pub const MAGIC: u64 = u64::from_le_bytes(*b"FNCEPOST");

    /// What the user gave on the command line; for the programs here, the variant's name.
    pub fn command_line(&self) -> &'static str {
        // SAFETY: the machine put that many bytes there before any core entered, and nobody writes them afterwards.
        let bytes = unsafe { core::slice::from_raw_parts(self.command_line, self.command_line_len as usize) };
        core::str::from_utf8(bytes).unwrap_or("")
    }
}
