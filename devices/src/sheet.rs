//! A contact sheet: several pictures on one, each with a number.

use crate::Picture;
use crate::font::{GLYPH_HEIGHT, GLYPH_WIDTH, glyph};

/// Small pictures are enlarged to at least this many pixels in a row.
const LEAST_WIDTH: u32 = 64;

/// Pixels between pictures.
const GAP: u32 = 8;
/// The colour between pictures, and that of the numbers.
const BACKGROUND: [u8; 3] = [32, 32, 40];
const INK: [u8; 3] = [240, 240, 240];

/// `pictures` in rows of `columns` (at least 1), numbered from 1 above each.
///
/// Each has a cell of the size of the largest. Without pictures the sheet is one empty cell.
pub fn contact_sheet(pictures: &[Picture], columns: u32) -> Picture {
    let pictures: Vec<Picture> = pictures.iter().map(Picture::for_sheet).collect();
    let columns = columns.clamp(1, (pictures.len() as u32).max(1));
    let rows = (pictures.len() as u32).div_ceil(columns).max(1);
    let largest = |side: fn(&Picture) -> u32| pictures.iter().map(side).max().unwrap_or(GLYPH_WIDTH);
    let cell_width = largest(|picture| picture.width).max(4 * GLYPH_WIDTH) + GAP;
    let cell_height = largest(|picture| picture.height) + GLYPH_HEIGHT + GAP;
    let (width, height) = (columns * cell_width + GAP, rows * cell_height + GAP);
    let mut sheet = Sheet { width, rgb: BACKGROUND.repeat((width * height) as usize) };
    for (index, picture) in pictures.iter().enumerate() {
        let (column, row) = (index as u32 % columns, index as u32 / columns);
        let (x, y) = (GAP + column * cell_width, GAP + row * cell_height);
        sheet.write(x, y, &(index + 1).to_string());
        sheet.put(x, y + GLYPH_HEIGHT, picture);
    }
    Picture { width, height, rgb: sheet.rgb }
}

impl Picture {
    /// As large as it is shown on a sheet.
    fn for_sheet(&self) -> Picture {
        let scale = LEAST_WIDTH.div_ceil(self.width.max(1)).max(1);
        Picture { width: self.width * scale, height: self.height * scale, rgb: self.enlarged(scale as usize) }
    }
}

struct Sheet {
    width: u32,
    rgb: Vec<u8>,
}

impl Sheet {
    fn set(&mut self, x: u32, y: u32, colour: [u8; 3]) {
        let at = 3 * (y as usize * self.width as usize + x as usize);
        self.rgb[at..at + 3].copy_from_slice(&colour);
    }

    fn write(&mut self, x: u32, y: u32, text: &str) {
        for (index, byte) in text.bytes().enumerate() {
            let left = x + index as u32 * GLYPH_WIDTH;
            for (line, bits) in glyph(byte).iter().enumerate() {
                let lit = (0..GLYPH_WIDTH).filter(|column| bits >> (GLYPH_WIDTH - 1 - column) & 1 == 1);
                lit.for_each(|column| self.set(left + column, y + line as u32, INK));
            }
        }
    }

    fn put(&mut self, x: u32, y: u32, picture: &Picture) {
        for row in 0..picture.height {
            for column in 0..picture.width {
                if let Some(colour) = picture.pixel(column, row) {
                    self.set(x + column, y + row, colour);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_lie_side_by_side_under_their_numbers() {
        let red = Picture { width: 2, height: 3, rgb: [255, 0, 0].repeat(6) };
        let blue = Picture { width: 64, height: 1, rgb: [0, 0, 255].repeat(64) };
        let sheet = contact_sheet(&[red, blue], 2);
        let cell = 64 + GAP;
        assert_eq!((sheet.width, sheet.height), (2 * cell + GAP, 96 + GLYPH_HEIGHT + 2 * GAP));
        assert_eq!(sheet.pixel(GAP, GAP + GLYPH_HEIGHT), Some([255, 0, 0]));
        assert_eq!(sheet.pixel(GAP + cell, GAP + GLYPH_HEIGHT), Some([0, 0, 255]));
        assert!((0..GLYPH_HEIGHT).any(|line| (0..GLYPH_WIDTH).any(|x| sheet.pixel(GAP + x, GAP + line) == Some(INK))));
    }
}
