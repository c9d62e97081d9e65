//! The characters of code page 437 and what they look like.
//!
//! The glyphs are Spleen 8x16 (Frederic Cambus, BSD-2-Clause), found by their Unicode character; the eleven characters
//! of the code page that Spleen lacks are drawn here. Spleen draws double lines of boxes as single ones.
//! The file is a PSF1 font (4 bytes of header, 512 glyphs, then per glyph the UTF-16 characters it stands for, ended by
//! 0xffff). The crate's own lookup is not used: it takes PSF1's mode byte for the height.

use std::sync::LazyLock;

use spleen_font::FONT_8X16;

/// Dots in a row of a glyph.
pub(crate) const GLYPH_WIDTH: u32 = 8;
/// Rows of a glyph.
pub(crate) const GLYPH_HEIGHT: u32 = 16;

/// A glyph, top row first, leftmost dot in the highest bit.
pub(crate) type Glyph = [u8; GLYPH_HEIGHT as usize];

/// The glyph of a character code.
pub(crate) fn glyph(code: u8) -> &'static Glyph {
    &GLYPHS[usize::from(code)]
}

/// The Unicode character of a character code, pictures for the control codes included.
pub(crate) fn character(code: u8) -> char {
    CHARACTERS[usize::from(code)]
}

/// By character code; the first row is what text mode shows for control codes, and 0 and 255 are blank.
static CHARACTERS: LazyLock<Vec<char>> = LazyLock::new(|| {
    let rows = [
        " ☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼",
        " !\"#$%&'()*+,-./0123456789:;<=>?",
        "@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_",
        "`abcdefghijklmnopqrstuvwxyz{|}~⌂",
        "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒ",
        "áíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐",
        "└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀",
        "αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■ ",
    ];
    rows.concat().chars().collect()
});

static GLYPHS: LazyLock<Vec<Glyph>> = LazyLock::new(|| CHARACTERS.iter().map(|&character| find(character)).collect());

fn find(character: char) -> Glyph {
    spleen(character)
        .or_else(|| DRAWN_HERE.iter().find(|(drawn, _)| *drawn == character).map(|(_, glyph)| *glyph))
        .expect("Spleen or we have every character of the code page")
}

/// The glyph in the PSF1 file, whose table of characters follows the glyphs.
fn spleen(character: char) -> Option<Glyph> {
    let (glyphs, table) = FONT_8X16[PSF1_HEADER..].split_at(PSF1_GLYPHS * GLYPH_HEIGHT as usize);
    let (glyphs, _) = glyphs.as_chunks();
    let (units, _) = table.as_chunks();
    let mut entries = units.split(|&unit| u16::from_le_bytes(unit) == PSF1_END);
    let number = entries
        .position(|entry| entry.iter().any(|&unit| u32::from(u16::from_le_bytes(unit)) == u32::from(character)))?;
    glyphs.get(number).copied()
}

const PSF1_HEADER: usize = 4;
const PSF1_GLYPHS: usize = 512;
const PSF1_END: u16 = 0xffff;

/// The characters that Spleen lacks.
#[rustfmt::skip]
const DRAWN_HERE: [(char, Glyph); 11] = [
    ('►', [0x00, 0x00, 0x00, 0x80, 0xc0, 0xf0, 0xfc, 0xfe, 0xfc, 0xf0, 0xc0, 0x80, 0x00, 0x00, 0x00, 0x00]),
    ('◄', [0x00, 0x00, 0x00, 0x02, 0x06, 0x1e, 0x7e, 0xfe, 0x7e, 0x1e, 0x06, 0x02, 0x00, 0x00, 0x00, 0x00]),
    ('∟', [0x00, 0x00, 0x00, 0x00, 0x00, 0xc0, 0xc0, 0xc0, 0xfe, 0xfe, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00]),
    ('α', [0x00, 0x00, 0x00, 0x00, 0x00, 0x76, 0xdc, 0xcc, 0xcc, 0xcc, 0xdc, 0x76, 0x00, 0x00, 0x00, 0x00]),
    ('Σ', [0x00, 0x00, 0x00, 0xfe, 0xc2, 0x60, 0x30, 0x18, 0x30, 0x60, 0xc2, 0xfe, 0x00, 0x00, 0x00, 0x00]),
    ('σ', [0x00, 0x00, 0x00, 0x00, 0x00, 0x7e, 0xd8, 0xcc, 0xcc, 0xcc, 0xcc, 0x78, 0x00, 0x00, 0x00, 0x00]),
    ('τ', [0x00, 0x00, 0x00, 0x00, 0x00, 0x7e, 0x98, 0x18, 0x18, 0x18, 0x1a, 0x0c, 0x00, 0x00, 0x00, 0x00]),
    ('Θ', [0x00, 0x00, 0x00, 0x38, 0x6c, 0xc6, 0xc6, 0xfe, 0xc6, 0xc6, 0x6c, 0x38, 0x00, 0x00, 0x00, 0x00]),
    ('δ', [0x00, 0x00, 0x00, 0x3c, 0x64, 0x60, 0x38, 0x3c, 0x66, 0x66, 0x66, 0x3c, 0x00, 0x00, 0x00, 0x00]),
    ('φ', [0x00, 0x00, 0x00, 0x10, 0x10, 0x7c, 0xd6, 0xd6, 0xd6, 0xd6, 0x7c, 0x10, 0x10, 0x00, 0x00, 0x00]),
    ('ε', [0x00, 0x00, 0x00, 0x00, 0x00, 0x3c, 0x60, 0x60, 0x38, 0x60, 0x60, 0x3c, 0x00, 0x00, 0x00, 0x00]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_glyph_of_its_own_except_the_blanks() {
        let blank = [0, 32, 255];
        for code in 0..=255 {
            assert_eq!(*glyph(code) == [0; 16], blank.contains(&code), "code {code}");
        }
        for (code, other) in (33..=126).flat_map(|code| (33..code).map(move |other| (code, other))) {
            assert_ne!(glyph(code), glyph(other), "codes {code} and {other} look the same");
        }
    }

    #[test]
    fn boxes_and_blocks_reach_the_edges_so_that_neighbours_join() {
        assert_eq!(*glyph(0xdb), [0xff; 16], "full block");
        assert_eq!(character(0xc4), '─');
        assert!(glyph(0xc4).contains(&0xff), "a horizontal line crosses the whole cell");
        assert!(glyph(0xb3).iter().all(|&line| line != 0), "a vertical line crosses the whole cell");
    }
}
