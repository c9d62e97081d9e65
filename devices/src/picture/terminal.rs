//! A picture as lines of text.

use std::fmt::Write;

use super::Picture;

/// From dark to light.
const SHADES: &[u8] = b" .:-=+*#%@";

/// A small picture is enlarged at most so much: beyond it only grows taller than the terminal.
const MOST_ENLARGED: u32 = 4;

impl Picture {
    /// The picture as text at most `max_columns` wide, one line per row of characters, each ended by a newline.
    ///
    /// With `colour` a character shows two pixels, one above the other, as a half block in 24-bit colours;
    /// without, one as an ASCII shade.
    pub fn to_terminal(&self, max_columns: u32, colour: bool) -> String {
        let grid = Grid::of(self, max_columns);
        if colour { grid.half_blocks() } else { grid.shades() }
    }
}

/// The picture cut into as many columns as fit, and into half rows, since a character is about twice as tall as wide.
struct Grid<'a> {
    picture: &'a Picture,
    /// A cell is `shrink` pixels wide and tall, or `1 / enlarge` of a pixel.
    shrink: u32,
    enlarge: u32,
    columns: u32,
    half_rows: u32,
}

impl Grid<'_> {
    fn of(picture: &Picture, max_columns: u32) -> Grid<'_> {
        let (width, most) = (picture.width.max(1), max_columns.max(1));
        let shrink = width.div_ceil(most);
        let enlarge = (most / width).clamp(1, MOST_ENLARGED);
        let cells = |pixels: u32| pixels.div_ceil(shrink) * enlarge;
        Grid { picture, shrink, enlarge, columns: cells(picture.width), half_rows: cells(picture.height) }
    }

    fn half_blocks(&self) -> String {
        let mut text = String::new();
        for top in (0..self.half_rows).step_by(2) {
            let mut before = None;
            for column in 0..self.columns {
                let pair = (self.cell(column, top), self.cell(column, top + 1));
                if before != Some(pair) {
                    text += &colours(pair);
                    before = Some(pair);
                }
                text.push('▀');
            }
            text += "\x1b[0m\n";
        }
        text
    }

    fn shades(&self) -> String {
        let mut text = String::new();
        for top in (0..self.half_rows).step_by(2) {
            for column in 0..self.columns {
                let [upper, lower] = [top, top + 1].map(|row| self.cell(column, row));
                text.push(shade(mean([upper, lower].into_iter().flatten())));
            }
            text.truncate(text.trim_end_matches(' ').len());
            text.push('\n');
        }
        text
    }

    /// The mean colour of a cell; `None` below the last row of pixels.
    fn cell(&self, column: u32, half_row: u32) -> Option<[u8; 3]> {
        let [left, top] = [column, half_row].map(|cell| cell / self.enlarge * self.shrink);
        let pixels = (top..top + self.shrink)
            .flat_map(|y| (left..left + self.shrink).map(move |x| (x, y)))
            .filter_map(|(x, y)| self.picture.pixel(x, y));
        (top < self.picture.height).then(|| mean(pixels))
    }
}

/// Escape sequence: the upper pixel is the character's colour, the lower one its background.
fn colours((upper, lower): (Option<[u8; 3]>, Option<[u8; 3]>)) -> String {
    let mut codes = String::from("\x1b[0");
    for (code, colour) in [(38, upper), (48, lower)] {
        if let Some([red, green, blue]) = colour {
            write!(codes, ";{code};2;{red};{green};{blue}").expect("writing to memory does not fail");
        }
    }
    codes + "m"
}

/// The mean colour, black of nothing.
fn mean(colours: impl Iterator<Item = [u8; 3]>) -> [u8; 3] {
    let (mut sum, mut count) = ([0u64; 3], 0u64);
    for colour in colours {
        count += 1;
        for (sum, part) in sum.iter_mut().zip(colour) {
            *sum += u64::from(part);
        }
    }
    sum.map(|sum| (sum / count.max(1)) as u8)
}

/// The character that is about as light as the colour to the eye (weights of Rec. 601, in thousandths).
fn shade([red, green, blue]: [u8; 3]) -> char {
    let luma = 299 * usize::from(red) + 587 * usize::from(green) + 114 * usize::from(blue);
    char::from(SHADES[luma * (SHADES.len() - 1) / (255 * 1000)])
}
