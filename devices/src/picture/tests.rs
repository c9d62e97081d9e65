use super::*;

const RED: [u8; 3] = [255, 0, 0];
const WHITE: [u8; 3] = [255; 3];
const BLACK: [u8; 3] = [0; 3];

fn picture(rows: &[&[[u8; 3]]]) -> Picture {
    let size = |length: usize| u32::try_from(length).expect("small");
    Picture { width: size(rows[0].len()), height: size(rows.len()), rgb: rows.concat().concat() }
}

fn decoded(file: &[u8]) -> Picture {
    let mut reader = png::Decoder::new(std::io::Cursor::new(file)).read_info().expect("a PNG file");
    let mut rgb = vec![0; reader.output_buffer_size().expect("small")];
    let info = reader.next_frame(&mut rgb).expect("one picture");
    Picture { width: info.width, height: info.height, rgb }
}

#[test]
fn a_png_file_decodes_to_the_picture() {
    let small = picture(&[&[RED, WHITE, BLACK], &[BLACK, RED, WHITE]]);
    assert_eq!(decoded(&small.to_png(1)), small);
    assert_eq!(small.to_png(0), small.to_png(1));
}

#[test]
fn scaling_repeats_pixels_in_both_directions() {
    let small = picture(&[&[RED, WHITE]]);
    let twice = picture(&[&[RED, RED, WHITE, WHITE], &[RED, RED, WHITE, WHITE]]);
    assert_eq!(decoded(&small.to_png(2)), twice);
}

#[test]
fn small_pictures_are_enlarged_for_viewing_and_large_ones_are_not() {
    let scale = |width| Picture { width, height: 0, rgb: vec![] }.viewing_scale();
    assert_eq!([64, 320, 640].map(scale), [8, 2, 1]);
}

#[test]
fn outside_there_is_no_pixel() {
    let small = picture(&[&[RED, WHITE], &[BLACK, RED]]);
    let corners = [(1, 0), (0, 1), (2, 0), (0, 2)].map(|(x, y)| small.pixel(x, y));
    assert_eq!(corners, [Some(WHITE), Some(BLACK), None, None]);
}

#[test]
fn a_half_block_shows_two_rows_and_repeats_no_colour() {
    let tall = picture(&[&[RED, RED], &[WHITE, WHITE], &[BLACK, BLACK]]);
    assert_eq!(
        tall.to_terminal(2, true),
        "\x1b[0;38;2;255;0;0;48;2;255;255;255m▀▀\x1b[0m\n\x1b[0;38;2;0;0;0m▀▀\x1b[0m\n"
    );
}

#[test]
fn without_colour_light_becomes_dense() {
    let two = picture(&[&[BLACK, RED, WHITE], &[BLACK, RED, WHITE]]);
    assert_eq!(two.to_terminal(3, false), " :@\n");
}

#[test]
fn a_picture_is_shrunk_to_the_columns_and_enlarged_at_most_four_times() {
    let wide = Picture { width: 100, height: 40, rgb: vec![255; 100 * 40 * 3] };
    let lines = |text: &str| text.lines().map(|line| line.chars().count()).collect::<Vec<_>>();
    assert_eq!(lines(&wide.to_terminal(30, false)), [25; 5]);
    assert_eq!(lines(&picture(&[&[WHITE], &[WHITE]]).to_terminal(80, false)), [4; 4]);
    assert_eq!(lines(&wide.to_terminal(0, false)), [1]);
}
