//! VGA text mode 3: 80 columns and 25 rows of characters at 0xb8000 (IBM VGA, "Video Subsystem", Mode 3).
//!
//! Each cell is two bytes: the character in code page 437, then its attribute, foreground in bits 0
//! to 3 and background in bits 4 to 6.
//! Ports 0x3d4 and 0x3d5 are the CRT controller's index and data; it moves the cursor and says which
//! cell is shown first.
//!
//! Left out: every other mode, the sequencer, graphics and attribute controllers, palette and font loading; blinking
//! (attribute bit 7) shows as steady.
//! False on hardware: characters there are 9 dots wide and come from IBM's font, and firmware has
//! cleared the screen and turned the cursor on, while here memory starts as zeroes and the cursor off.

use crate::font::{self, GLYPH_HEIGHT, GLYPH_WIDTH};
use crate::{Device, PhysAddr, Picture, Port, Region, Signal, Width};

/// The text screen: its memory and its CRT controller.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct VgaText {
    /// Video memory, grown only as far as written, so that a guest that never draws costs a snapshot nothing.
    memory: Vec<u8>,
    /// Which CRT controller register the data port reaches.
    index: u8,
    crtc: [u8; CRTC_REGISTERS],
}

/// Where the device is told of the first memory byte, and of the two ports.
const MEMORY: u64 = 0;
const CRTC_INDEX: u64 = MEMORY + VgaText::MEMORY_BYTES;
const CRTC_DATA: u64 = CRTC_INDEX + 1;

/// The CRT controller's registers, by index; those without a name here are kept and have no effect.
const CRTC_REGISTERS: usize = 0x19;
const CURSOR_START: u8 = 0x0a;
const CURSOR_END: u8 = 0x0b;
const START_HIGH: u8 = 0x0c;
const START_LOW: u8 = 0x0d;
const CURSOR_HIGH: u8 = 0x0e;
const CURSOR_LOW: u8 = 0x0f;

/// In `CURSOR_START`: no cursor is shown.
const CURSOR_OFF: u8 = 1 << 5;
/// In `CURSOR_START` and `CURSOR_END`: a scan line of the character.
const SCAN_LINE: u8 = 0x1f;

impl VgaText {
    /// Characters in a row.
    pub const COLUMNS: u32 = 80;
    /// Rows on the screen.
    pub const ROWS: u32 = 25;
    /// Video memory in bytes: 32 KiB, of which the screen shows 4,000.
    pub const MEMORY_BYTES: u64 = 0x8000;
    /// The memory, and the two ports of the CRT controller.
    pub const REGIONS: &[Region] = &[
        Region::memory(PhysAddr(0xb8000), Self::MEMORY_BYTES).at_offset(MEMORY),
        Region::ports(Port(0x3d4), 2).at_offset(CRTC_INDEX),
    ];

    /// The screen as text: one line per row without the blanks at its end, blank rows at the bottom left off.
    pub fn text(&self) -> String {
        let rows = (0..Self::ROWS).map(|row| {
            let row: String = (0..Self::COLUMNS).map(|column| self.cell(row, column).character()).collect();
            format!("{}\n", row.trim_end())
        });
        let text: String = rows.collect();
        match text.trim_end_matches('\n') {
            "" => String::new(),
            rows => format!("{rows}\n"),
        }
    }

    /// The screen as a picture of 640x400 pixels.
    pub fn picture(&self) -> Picture {
        let [width, height] = [Self::COLUMNS * GLYPH_WIDTH, Self::ROWS * GLYPH_HEIGHT];
        let dots = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        let rgb = dots.flat_map(|(x, y)| self.dot(x, y)).collect();
        Picture { width, height, rgb }
    }

    /// The colour of one dot of the screen.
    fn dot(&self, x: u32, y: u32) -> [u8; 3] {
        let (column, row, line) = (x / GLYPH_WIDTH, y / GLYPH_HEIGHT, y % GLYPH_HEIGHT);
        let cell = self.cell(row, column);
        let glyph_line = font::glyph(cell.code)[line as usize];
        let lit = glyph_line << (x % GLYPH_WIDTH) & 0x80 != 0;
        if lit || self.cursor_covers(row, column, line) { cell.foreground() } else { cell.background() }
    }

    fn cell(&self, row: u32, column: u32) -> Cell {
        let at = 2 * u64::from(self.cell_number(row, column));
        let byte = |at| self.byte(at % Self::MEMORY_BYTES);
        Cell { code: byte(at), attribute: byte(at + 1) }
    }

    /// Which cell of the memory is shown there; the screen's first is the one the CRT controller says.
    fn cell_number(&self, row: u32, column: u32) -> u32 {
        u32::from(self.crtc_pair(START_HIGH, START_LOW)) + row * Self::COLUMNS + column
    }

    fn cursor_covers(&self, row: u32, column: u32, line: u32) -> bool {
        let start = self.crtc[usize::from(CURSOR_START)];
        let end = self.crtc[usize::from(CURSOR_END)];
        let lines = u32::from(start & SCAN_LINE)..=u32::from(end & SCAN_LINE);
        let cursor = u32::from(self.crtc_pair(CURSOR_HIGH, CURSOR_LOW));
        start & CURSOR_OFF == 0 && lines.contains(&line) && cursor == self.cell_number(row, column)
    }

    fn crtc_pair(&self, high: u8, low: u8) -> u16 {
        u16::from_be_bytes([high, low].map(|index| self.crtc[usize::from(index)]))
    }

    fn byte(&self, offset: u64) -> u8 {
        self.memory.get(offset as usize).copied().unwrap_or(0)
    }

    fn set_byte(&mut self, offset: u64, byte: u8) {
        let at = offset as usize;
        if at >= self.memory.len() {
            self.memory.resize(at + 1, 0);
        }
        self.memory[at] = byte;
    }
}

impl Default for VgaText {
    fn default() -> Self {
        let mut crtc = [0; CRTC_REGISTERS];
        crtc[usize::from(CURSOR_START)] = CURSOR_OFF | 14;
        crtc[usize::from(CURSOR_END)] = 15;
        VgaText { memory: Vec::new(), index: 0, crtc }
    }
}

impl Device for VgaText {
    fn name(&self) -> &'static str {
        "vga"
    }

    fn register(&self, offset: u64) -> &'static str {
        match (offset, self.index) {
            (..CRTC_INDEX, _) => "TEXT",
            (CRTC_INDEX, _) => "CRTC_INDEX",
            (CRTC_DATA, CURSOR_START) => "CURSOR_START",
            (CRTC_DATA, CURSOR_END) => "CURSOR_END",
            (CRTC_DATA, START_HIGH) => "START_ADDRESS_HIGH",
            (CRTC_DATA, START_LOW) => "START_ADDRESS_LOW",
            (CRTC_DATA, CURSOR_HIGH) => "CURSOR_LOCATION_HIGH",
            (CRTC_DATA, CURSOR_LOW) => "CURSOR_LOCATION_LOW",
            _ => "CRTC_DATA",
        }
    }

    fn widest(&self) -> Width {
        Width::Byte
    }

    fn read(&mut self, offset: u64, _width: Width) -> (u64, Vec<Signal>) {
        let byte = match offset {
            ..CRTC_INDEX => self.byte(offset),
            CRTC_INDEX => self.index,
            _ => self.crtc.get(usize::from(self.index)).copied().unwrap_or(0xff),
        };
        (byte.into(), Vec::new())
    }

    fn write(&mut self, offset: u64, _width: Width, value: u64) -> Vec<Signal> {
        let [byte, ..] = value.to_le_bytes();
        match offset {
            ..CRTC_INDEX => self.set_byte(offset, byte),
            CRTC_INDEX => self.index = byte,
            _ => {
                if let Some(register) = self.crtc.get_mut(usize::from(self.index)) {
                    *register = byte;
                }
            }
        }
        Vec::new()
    }
}

/// One character on the screen.
#[derive(Clone, Copy)]
struct Cell {
    code: u8,
    attribute: u8,
}

impl Cell {
    fn character(self) -> char {
        font::character(self.code)
    }

    fn foreground(self) -> [u8; 3] {
        PALETTE[usize::from(self.attribute & 0xf)]
    }

    fn background(self) -> [u8; 3] {
        PALETTE[usize::from(self.attribute >> 4 & 7)]
    }
}

/// The 16 colours of text mode, red, green, blue, as firmware loads them.
const PALETTE: [[u8; 3]; 16] = [
    [0x00, 0x00, 0x00],
    [0x00, 0x00, 0xaa],
    [0x00, 0xaa, 0x00],
    [0x00, 0xaa, 0xaa],
    [0xaa, 0x00, 0x00],
    [0xaa, 0x00, 0xaa],
    [0xaa, 0x55, 0x00],
    [0xaa, 0xaa, 0xaa],
    [0x55, 0x55, 0x55],
    [0x55, 0x55, 0xff],
    [0x55, 0xff, 0x55],
    [0x55, 0xff, 0xff],
    [0xff, 0x55, 0x55],
    [0xff, 0x55, 0xff],
    [0xff, 0xff, 0x55],
    [0xff, 0xff, 0xff],
];

#[cfg(test)]
mod tests;
