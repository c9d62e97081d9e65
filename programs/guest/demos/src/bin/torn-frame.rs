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

use kit::{Core, Format, Framebuffer, Verdict, Word32, crc32, mfence, pause, region, sfence};

kit::entry!(main);

/// How many pictures are drawn.
const FRAMES: u32 = 100;
/// Pixels on each side: so few that the stores that can be pending, eight of eight bytes, are a good part of the picture.
const SIZE: usize = 12;
/// Two bytes a pixel, row after row.
const BYTES: usize = SIZE * SIZE * 2;
/// How many stores of 16 bytes make a picture.
const VECTORS: usize = BYTES / 16;
/// How many of them come after a pause: as many as can be pending.
const LAST_VECTORS: usize = 4;

/// `#` is the cat, `o` what shines, `x` what is dark, `.` the wall behind it. The last rows drawn are those with the face.
const CAT: [&[u8; SIZE]; SIZE] = [
    b"............",
    b".#........#.",
    b".##......##.",
    b".#x#....#x#.",
    b".#xx####xx#.",
    b".##########.",
    b"############",
    b"##ooo##ooo##",
    b"##oxo##oxo##",
    b"##oxo##oxo##",
    b"#####xx#####",
    b"####o##o####",
];

/// Red, green and blue in 5, 6 and 5 bits: wall, cat, what shines, what is dark.
const PALETTES: [[u16; 4]; 4] = [
    [rgb(0x1d2b53), rgb(0xffa300), rgb(0xfff1e8), rgb(0x7e2553)],
    [rgb(0x008751), rgb(0xff77a8), rgb(0xfff1e8), rgb(0x5f1030)],
    [rgb(0xffccaa), rgb(0x5f574f), rgb(0x00e436), rgb(0x101010)],
    [rgb(0x7e2553), rgb(0x29adff), rgb(0xffec27), rgb(0x1d2b53)],
];

/// A picture as it lies in memory, and the CRC of its bytes.
struct Picture {
    vectors: [u128; VECTORS],
    crc: u32,
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
        0 => painter(core, &display, raise),
        _ => presenter(core, &display),
    }
}

/// Draws a frame, says so, and waits until it was presented. Nothing here empties the buffers.
fn painter(core: &Core, display: &Framebuffer, raise: impl Fn(u32)) {
    for frame in 1..=core.times(FRAMES) {
        draw(display, of_frame(frame));
        raise(frame);
        region::end();
        while PRESENTED.load() != frame {
            pause();
        }
    }
}

/// Presents each frame as soon as it is said to be drawn; stops at the first that is torn, which stays on the display.
fn presenter(core: &Core, display: &Framebuffer) -> ! {
    display.set_mode(SIZE as u32, SIZE as u32, (SIZE * 2) as u32, Format::Rgb565);
    let frames = core.times(FRAMES);
    for frame in 1..=frames {
        region::begin();
        while DRAWN.load() != frame {
            pause();
        }
        present(display, frame);
        // Locked, so that it does not linger in this core's buffer.
        PRESENTED.xchg(frame);
    }
    whole(frames)
}

/// Both parts on one core.
fn alone(core: &Core) {
    if core.index == 0 {
        let display = Framebuffer::new(core.boot);
        display.set_mode(SIZE as u32, SIZE as u32, (SIZE * 2) as u32, Format::Rgb565);
        let frames = core.times(FRAMES);
        for frame in 1..=frames {
            draw(&display, of_frame(frame));
            present(&display, frame);
        }
        whole(frames);
    }
}

/// Only the last part is explored: all orders in which the whole picture can reach memory are too many.
#[inline(always)]
fn draw(display: &Framebuffer, picture: &Picture) {
    let (first, last) = picture.vectors.split_at(VECTORS - LAST_VECTORS);
    draw_part(display, 0, first);
    // The machine likes to let the other core run here. What this core stores next stays in its buffers if it is stopped
    // again soon, as it is when it waits for the presenter.
    pause();
    region::begin();
    draw_part(display, first.len(), last);
}

#[inline(always)]
fn draw_part(display: &Framebuffer, start: usize, vectors: &[u128]) {
    for (at, vector) in vectors.iter().enumerate() {
        display.store128(start + at, *vector);
    }
}

/// Ends the run if the display did not see the picture that was drawn.
fn present(display: &Framebuffer, frame: u32) {
    display.present();
    let (seen, drawn) = (display.frame_crc(), of_frame(frame).crc);
    region::end();
    if seen != drawn {
        kit::report(
            "torn",
            Verdict::Hazard,
            format_args!("Frame {frame} is torn: the display counts {seen:08x}, the picture drawn {drawn:08x}."),
        );
    }
}

fn whole(frames: u32) -> ! {
    kit::report("whole", Verdict::Held, format_args!("{frames} frames, all of them whole."))
}

fn of_frame(frame: u32) -> &'static Picture {
    &PICTURES[frame as usize % PICTURES.len()]
}

const fn picture(palette: &[u16; 4]) -> Picture {
    let mut bytes = [0; BYTES];
    let mut vectors = [0; VECTORS];
    let mut pixel = 0;
    while pixel < SIZE * SIZE {
        let colour = match CAT[pixel / SIZE][pixel % SIZE] {
            b'#' => palette[1],
            b'o' => palette[2],
            b'x' => palette[3],
            _ => palette[0],
        };
        [bytes[2 * pixel], bytes[2 * pixel + 1]] = colour.to_le_bytes();
        vectors[pixel / 8] |= (colour as u128) << (16 * (pixel % 8));
        pixel += 1;
    }
    Picture { vectors, crc: crc32(&bytes) }
}

const fn rgb(colour: u32) -> u16 {
    let (red, green, blue) = (colour >> 16 & 0xff, colour >> 8 & 0xff, colour & 0xff);
    (red >> 3 << 11 | green >> 2 << 5 | blue >> 3) as u16
}
