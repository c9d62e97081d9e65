//! The text screen of 80 by 25 characters at 0xb8000.

use core::arch::asm;
use core::fmt;

/// A place on the screen where text goes on, and its attribute: the low four bits are the characters' colour, the next
/// three the background's.
///
/// `write!` to it; what does not fit on the screen is cut off.
#[derive(Clone, Debug)]
pub struct VgaText {
    cell: usize,
    attribute: u8,
}

impl VgaText {
    /// Columns of the screen.
    pub const COLUMNS: usize = 80;
    /// Rows of the screen.
    pub const ROWS: usize = 25;
    /// Physical address of the first cell: a character's byte, then its attribute's.
    const CELLS: *mut u16 = 0xb8000 as *mut u16;

    /// A place, counted from the upper left corner.
    pub fn at(row: usize, column: usize, attribute: u8) -> Self {
        Self { cell: row * Self::COLUMNS + column, attribute }
    }

    /// Fills the screen with blanks of this attribute.
    pub fn clear(attribute: u8) {
        let mut screen = Self::at(0, 0, attribute);
        (0..Self::COLUMNS * Self::ROWS).for_each(|_| screen.put(b' '));
    }

    fn put(&mut self, character: u8) {
        if self.cell >= Self::COLUMNS * Self::ROWS {
            return;
        }
        let value = u16::from_le_bytes([character, self.attribute]);
        // SAFETY: the cell lies within the screen's memory, which holds nothing of Rust's.
        unsafe {
            asm!("mov word ptr [{at}], {value:x}", at = in(reg) Self::CELLS.add(self.cell), value = in(reg) value,
                options(nostack, preserves_flags));
        }
        self.cell += 1;
    }
}

impl fmt::Write for VgaText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(|byte| self.put(byte));
        Ok(())
    }
}
