//! torn-frame: a picture presented before all of it is in memory
//!
//! Core 0 draws a picture into the framebuffer and raises a flag; core 1 sees the flag and tells the display to show it.
//! The framebuffer is write-combining memory: stores to it wait in buffers of their own and reach memory in any order,
//! and an ordinary store like the flag's overtakes them, on every x86.
//! So the display shows the new picture with a few pixels of the one before: it is torn.
//! An SFENCE or an MFENCE before the flag cures it, and so does a flag raised by a locked instruction.
//! A core that presents its own picture needs nothing of the kind: the display's registers are uncached, and an uncached
//! access waits until the core's stores are in memory.
//! The display counts a CRC over each frame it shows; core 1 compares it with the CRC of the picture that was drawn.
//!
//! cores: 2
//! variant broken: an ordinary store raises the flag
//!   sc: whole
//!   tso, pso: whole | torn !
//! variant sfence: SFENCE before the flag
//!   sc, tso, pso: whole
//! variant mfence: MFENCE before the flag
//!   sc, tso, pso: whole
//! variant xchg: XCHG raises the flag
//!   sc, tso, pso: whole
//! variant same-core: the core that draws also presents
//!   sc, tso, pso: whole
#![no_std]
#![no_main]

use kit::{Core, Format, Framebuffer, Verdict, Word32, crc32, mfence, pause, sfence};

kit::entry!(main);

/// How many pictures are drawn.
const FRAMES: u32 = 120;
/// Pixels on each side: so few that the handful of stores that can be pending is a good part of the picture.
const SIZE: usize = 12;
/// Two bytes a pixel.
const BYTES: usize = SIZE * SIZE * 2;

/// `#` is the cat, `o` its eyes, `.` the wall behind it.
const CAT: [&[u8; SIZE]; SIZE] = [
    b".##......##.",
    b".###....###.",
    b".##########.",
    b".##########.",
    b".##oo##oo##.",
    b".##oo##oo##.",
    b".##########.",
    b".####oo####.",
    b".#o######o#.",
    b".##oooooo##.",
    b"..########..",
    b"...######...",
];

/// Red, green and blue in 5, 6 and 5 bits: wall, cat, eyes.
const PALETTES: [[u16; 3]; 4] = [
    [rgb(0x1d2b53), rgb(0xffa300), rgb(0xfff1e8)],
    [rgb(0x7e2553), rgb(0x29adff), rgb(0xffec27)],
    [rgb(0x008751), rgb(0xff77a8), rgb(0x1d2b53)],
    [rgb(0xffccaa), rgb(0x5f574f), rgb(0x00e436)],
];

/// The last rows drawn are the middle ones, with the eyes: where it is torn, it shows.
const ROW_ORDER: [usize; SIZE] = [0, 11, 1, 10, 2, 9, 3, 8, 7, 6, 5, 4];

/// A picture as it is drawn, and the CRC of its bytes as they lie in the display's memory.
struct Picture {
    rows: [Row; SIZE],
    crc: u32,
}

/// A row as it is stored, four pixels at a time; `at` is the place of the first four.
#[derive(Clone, Copy)]
struct Row {
    at: usize,
    pixels: [u64; SIZE / 4],
}

static PICTURES: [Picture; PALETTES.len()] =
    [picture(&PALETTES[0]), picture(&PALETTES[1]), picture(&PALETTES[2]), picture(&PALETTES[3])];

/// The number of the frame that is drawn, and of the frame that was presented.
static DRAWN: Word32 = Word32::new(0);
static PRESENTED: Word32 = Word32::new(0);

fn main(core: Core) {
    core.require_count(2);
    match core.variant("broken") {
        "broken" => share(&core, |frame| DRAWN.store(frame)),
        "sfence" => share(&core, |frame| {
            sfence();
            DRAWN.store(frame);
        }),
        "mfence" => share(&core, |frame| {
            mfence();
            DRAWN.store(frame);
        }),
        "xchg" => share(&core, |frame| _ = DRAWN.xchg(frame)),
        "same-core" => alone(&core),
        other => core.unknown_variant(other),
    }
}

/// One core draws, the other presents; `raise` is how the first tells the second which frame it has drawn.
#[inline(never)]
fn share(core: &Core, raise: impl Fn(u32)) {
    let display = Framebuffer::new(core.boot);
    match core.index {
        0 => painter(&display, raise),
        _ => presenter(&display),
    }
}

/// Draws a frame, says so, and waits until it was presented. Nothing here empties the buffers.
fn painter(display: &Framebuffer, raise: impl Fn(u32)) {
    for frame in 1..=FRAMES {
        draw(display, of_frame(frame));
        raise(frame);
        while PRESENTED.load() != frame {
            pause();
        }
    }
}

/// Presents each frame as soon as it is said to be drawn; stops at the first that is torn, which stays on the display.
fn presenter(display: &Framebuffer) -> ! {
    display.set_mode(SIZE as u32, SIZE as u32, (SIZE * 2) as u32, Format::Rgb565);
    for frame in 1..=FRAMES {
        while DRAWN.load() != frame {
            pause();
        }
        present(display, frame);
        PRESENTED.store(frame);
    }
    whole()
}

/// Both parts on one core.
fn alone(core: &Core) {
    if core.index == 0 {
        let display = Framebuffer::new(core.boot);
        display.set_mode(SIZE as u32, SIZE as u32, (SIZE * 2) as u32, Format::Rgb565);
        for frame in 1..=FRAMES {
            draw(&display, of_frame(frame));
            present(&display, frame);
        }
        whole();
    }
}

#[inline(always)]
fn draw(display: &Framebuffer, picture: &Picture) {
    for row in &picture.rows {
        for (column, pixels) in row.pixels.iter().enumerate() {
            display.store64(row.at + column, *pixels);
        }
    }
}

/// Ends the run if the display did not see the picture that was drawn.
fn present(display: &Framebuffer, frame: u32) {
    display.present();
    let (seen, drawn) = (display.frame_crc(), of_frame(frame).crc);
    if seen != drawn {
        kit::report(
            "torn",
            Verdict::Hazard,
            format_args!("Frame {frame} is torn: the display counts {seen:08x}, the picture drawn {drawn:08x}."),
        );
    }
}

fn whole() -> ! {
    kit::report("whole", Verdict::Held, format_args!("{FRAMES} frames, all of them whole."))
}

fn of_frame(frame: u32) -> &'static Picture {
    &PICTURES[frame as usize % PICTURES.len()]
}

const fn picture(palette: &[u16; 3]) -> Picture {
    let mut bytes = [0; BYTES];
    let mut rows = [Row { at: 0, pixels: [0; SIZE / 4] }; SIZE];
    let mut drawn = 0;
    while drawn < SIZE {
        let y = ROW_ORDER[drawn];
        rows[drawn].at = y * SIZE / 4;
        let mut x = 0;
        while x < SIZE {
            let colour = match CAT[y][x] {
                b'#' => palette[1],
                b'o' => palette[2],
                _ => palette[0],
            };
            let byte = 2 * (y * SIZE + x);
            [bytes[byte], bytes[byte + 1]] = colour.to_le_bytes();
            rows[drawn].pixels[x / 4] |= (colour as u64) << (16 * (x % 4));
            x += 1;
        }
        drawn += 1;
    }
    Picture { rows, crc: crc32(&bytes) }
}

const fn rgb(colour: u32) -> u16 {
    let (red, green, blue) = (colour >> 16 & 0xff, colour >> 8 & 0xff, colour & 0xff);
    (red >> 3 << 11 | green >> 2 << 5 | blue >> 3) as u16
}
