use super::*;
use crate::fuzz;
use proptest::prelude::*;

fn write_text(vga: &mut VgaText, cell: u64, text: &[u8], attribute: u8) {
    for (&byte, at) in text.iter().zip((2 * cell..).step_by(2)) {
        vga.write(MEMORY + at, Width::Byte, byte.into());
        vga.write(MEMORY + at + 1, Width::Byte, attribute.into());
    }
}

fn set_crtc(vga: &mut VgaText, index: u8, value: u8) {
    vga.write(CRTC_INDEX, Width::Byte, index.into());
    vga.write(CRTC_DATA, Width::Byte, value.into());
}

/// The colours of one cell of the picture.
fn colours_of(picture: &Picture, row: u32, column: u32) -> Vec<[u8; 3]> {
    let mut colours =
        Vec::from_iter((0..16).flat_map(|y| (0..8).filter_map(move |x| picture.pixel(8 * column + x, 16 * row + y))));
    colours.sort();
    colours.dedup();
    colours
}

#[test]
fn text_has_no_blanks_at_line_ends_and_no_blank_lines_below() {
    let mut vga = VgaText::default();
    assert_eq!(vga.text(), "");
    write_text(&mut vga, 0, b"fence  ", 7);
    write_text(&mut vga, 2 * 80 + 4, b"\xc9post\xbb", 7);
    assert_eq!(vga.text(), "fence\n\n    ╔post╗\n");
}

#[test]
fn the_last_cell_of_the_screen_is_shown_and_the_next_is_not() {
    let mut vga = VgaText::default();
    write_text(&mut vga, 80 * 25 - 1, b"ab", 7);
    assert_eq!(vga.text().trim(), "a");
    assert_eq!(vga.read(MEMORY + 4000, Width::Byte).0, b'b'.into(), "but it is memory");
}

#[test]
fn unwritten_memory_reads_as_zero_to_the_end() {
    let mut vga = VgaText::default();
    assert_eq!(vga.read(MEMORY + 0x7fff, Width::Byte).0, 0);
    vga.write(MEMORY + 0x7fff, Width::Byte, 0x41);
    assert_eq!(vga.read(MEMORY + 0x7fff, Width::Byte).0, 0x41);
}

#[test]
fn attributes_colour_the_glyph_and_its_ground_and_blinking_shows_as_steady() {
    let mut vga = VgaText::default();
    write_text(&mut vga, 81, b"X", 0x9e);
    let picture = vga.picture();
    assert_eq!([picture.width, picture.height], [640, 400]);
    assert_eq!(colours_of(&picture, 1, 1), [[0x00, 0x00, 0xaa], [0xff, 0xff, 0x55]]);
    assert_eq!(colours_of(&picture, 1, 2), [[0, 0, 0]]);
}

#[test]
fn the_cursor_shows_where_the_controller_says_once_turned_on() {
    let mut vga = VgaText::default();
    write_text(&mut vga, 0, &[b' '; 2000], 0x07);
    set_crtc(&mut vga, CURSOR_HIGH, 0);
    set_crtc(&mut vga, CURSOR_LOW, 82);
    assert_eq!(colours_of(&vga.picture(), 1, 2), [[0, 0, 0]], "off at first");
    set_crtc(&mut vga, CURSOR_START, 14);
    let picture = vga.picture();
    assert_eq!(picture.pixel(8 * 2, 16 + 13), Some([0, 0, 0]));
    assert_eq!(picture.pixel(8 * 2, 16 + 14), Some([0xaa; 3]));
    assert_eq!(picture.pixel(8 * 3, 16 + 14), Some([0, 0, 0]));
}

#[test]
fn the_start_address_scrolls() {
    let mut vga = VgaText::default();
    write_text(&mut vga, 80, b"second row", 7);
    set_crtc(&mut vga, START_LOW, 80);
    assert_eq!(vga.text(), "second row\n");
    set_crtc(&mut vga, START_HIGH, 0x40);
    assert_eq!(vga.text(), "second row\n", "cell 0x4000 is cell 0 again");
}

#[test]
fn the_data_port_reads_back_the_selected_register_and_names_it() {
    let mut vga = VgaText::default();
    set_crtc(&mut vga, CURSOR_LOW, 42);
    assert_eq!(vga.read(CRTC_DATA, Width::Byte).0, 42);
    assert_eq!(vga.register(CRTC_DATA), "CURSOR_LOCATION_LOW");
    assert_eq!([vga.register(CRTC_INDEX), vga.register(100)], ["CRTC_INDEX", "TEXT"]);
    set_crtc(&mut vga, 0x80, 1);
    assert_eq!(vga.read(CRTC_DATA, Width::Byte).0, 0xff, "no such register");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(fuzz::cases()))]

    #[test]
    fn any_guest_is_stood(run in fuzz::runs(0x1000, &[0, 1, 2, 0x0a, 0x0e, 0x0f])) {
        fuzz::check(VgaText::default(), &run, |_, _| Vec::new());
    }
}
