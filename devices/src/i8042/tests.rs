use super::*;
use crate::fuzz;
use proptest::prelude::*;

const RAISE_1: Signal = Signal::RaiseIrq(Irq(1));
const RAISE_12: Signal = Signal::RaiseIrq(Irq(12));
const LOWER_1: Signal = Signal::LowerIrq(Irq(1));
const LOWER_12: Signal = Signal::LowerIrq(Irq(12));

fn command(i8042: &mut I8042, command: u8) -> Vec<Signal> {
    i8042.write(STATUS_COMMAND, Width::Byte, command.into())
}

fn write(i8042: &mut I8042, byte: u8) -> Vec<Signal> {
    i8042.write(DATA, Width::Byte, byte.into())
}

fn status(i8042: &mut I8042) -> u8 {
    i8042.read(STATUS_COMMAND, Width::Byte).0 as u8
}

fn data(i8042: &mut I8042) -> u8 {
    i8042.read(DATA, Width::Byte).0 as u8
}

/// The next byte of keyboard or mouse, after waiting for it.
fn next(i8042: &mut I8042) -> Option<u8> {
    while status(i8042) & OUTPUT_FULL == 0 {
        let event = i8042.next_event()?;
        i8042.advance(event);
    }
    Some(data(i8042))
}

/// Everything that keyboard and mouse send until they are done.
fn drain(i8042: &mut I8042) -> Vec<u8> {
    std::iter::from_fn(|| next(i8042)).collect()
}

/// The keyboard's answer to `bytes`, without translation.
fn keyboard(i8042: &mut I8042, bytes: &[u8]) -> Vec<u8> {
    command(i8042, 0x60);
    write(i8042, 0x05);
    bytes
        .iter()
        .flat_map(|&byte| {
            write(i8042, byte);
            drain(i8042)
        })
        .collect()
}

/// The mouse's answer to `bytes`.
fn mouse(i8042: &mut I8042, bytes: &[u8]) -> Vec<u8> {
    let answer = |byte: &u8| {
        command(i8042, 0xd4);
        write(i8042, *byte);
        drain(i8042)
    };
    bytes.iter().flat_map(answer).collect()
}

#[test]
fn a_key_arrives_a_millisecond_later_and_interrupts() {
    let mut i8042 = I8042::default();
    i8042.key(Key::A, Stroke::Press);
    assert_eq!((status(&mut i8042) & OUTPUT_FULL, i8042.next_event()), (0, Some(Ticks(WIRE))));
    assert_eq!(i8042.advance(Ticks(WIRE - 1)), []);
    assert_eq!(i8042.advance(Ticks(WIRE)), [RAISE_1]);
    assert_eq!(status(&mut i8042), 0x15, "full, system flag, not locked");
    assert_eq!(i8042.read(DATA, Width::Byte), (0x1e, vec![LOWER_1]), "set 1, by translation");
    assert_eq!((data(&mut i8042), i8042.next_event()), (0x1e, None), "the last byte can be read again");
}

#[test]
fn xv6_reads_what_is_typed() {
    let mut i8042 = I8042::default();
    assert_eq!(i8042.type_text("ls\u{3}"), Ok(()));
    assert_eq!(drain(&mut i8042), [0x26, 0xa6, 0x1f, 0x9f, 0x1d, 0x2e, 0xae, 0x9d]);
    assert_eq!(i8042.type_text("A\n"), Ok(()));
    assert_eq!(drain(&mut i8042), [0x2a, 0x1e, 0x9e, 0xaa, 0x1c, 0x9c]);
    assert_eq!(i8042.type_text("é"), Err(Untypable('é')));
}

#[test]
fn a_long_text_waits_for_room_and_arrives_whole() {
    let mut i8042 = I8042::default();
    assert_eq!(i8042.type_text(&"x".repeat(1000)), Ok(()));
    assert!(i8042.untyped() > 1900);
    assert_eq!(drain(&mut i8042), [0x2d, 0xad].repeat(1000));
    assert_eq!(i8042.untyped(), 0);
}

#[test]
fn no_byte_comes_sooner_than_a_millisecond_after_the_last_was_read() {
    let mut i8042 = I8042::default();
    assert_eq!(i8042.type_text("a"), Ok(()));
    i8042.advance(Ticks(10 * WIRE));
    assert_eq!(i8042.next_event(), None, "the buffer is full");
    data(&mut i8042);
    assert_eq!(i8042.next_event(), Some(Ticks(11 * WIRE)));
}

#[test]
fn the_seventeenth_byte_says_that_strokes_were_lost() {
    let mut i8042 = I8042::default();
    for _ in 0..10 {
        i8042.key(Key::A, Stroke::Press);
        i8042.key(Key::A, Stroke::Release);
    }
    // Five whole strokes of three bytes, the sixth press, and no room for its release.
    let expected = [[0x1e, 0x9e].repeat(5), vec![0x1e, 0xff]].concat();
    assert_eq!(drain(&mut i8042), expected);
}

#[test]
fn self_test_and_interface_tests_pass() {
    let mut i8042 = I8042::default();
    let answer = |i8042: &mut I8042, byte| {
        command(i8042, byte);
        (status(i8042) & OUTPUT_FULL, data(i8042))
    };
    assert_eq!([0xaa, 0xab, 0xa9].map(|byte| answer(&mut i8042, byte)), [(1, 0x55), (1, 0x00), (1, 0x00)]);
}

#[test]
fn the_command_byte_is_written_and_read_and_shown_by_its_commands() {
    let mut i8042 = I8042::default();
    let mut read = |before: u8| {
        command(&mut i8042, before);
        command(&mut i8042, 0x20);
        data(&mut i8042)
    };
    assert_eq!([0xae, 0xad, 0xa8, 0xae, 0xa7].map(&mut read), [0x65, 0x75, 0x55, 0x45, 0x65]);
    command(&mut i8042, 0x60);
    assert_eq!(status(&mut i8042) & COMMAND_LAST, COMMAND_LAST);
    write(&mut i8042, 0x00);
    assert_eq!(status(&mut i8042), UNLOCKED, "the system flag follows, and data was last");
    command(&mut i8042, 0x20);
    assert_eq!(data(&mut i8042), 0x00);
}

#[test]
fn a_disabled_keyboard_is_heard_again_when_it_is_enabled() {
    let mut i8042 = I8042::default();
    command(&mut i8042, 0xad);
    assert_eq!(i8042.type_text("q"), Ok(()));
    assert_eq!(i8042.next_event(), None);
    command(&mut i8042, 0xae);
    assert_eq!(drain(&mut i8042), [0x10, 0x90]);
}

#[test]
fn an_answer_waits_for_the_buffer_and_makes_its_own_edge() {
    let mut i8042 = I8042::default();
    i8042.key(Key::Escape, Stroke::Press);
    i8042.advance(Ticks(WIRE));
    assert_eq!(command(&mut i8042, 0x20), []);
    let edge = vec![LOWER_1, RAISE_1];
    assert_eq!(i8042.read(DATA, Width::Byte), (0x01, edge));
    assert_eq!(i8042.read(DATA, Width::Byte), (0x65, vec![LOWER_1]));
}

#[test]
fn what_is_written_to_the_output_buffer_comes_from_keyboard_or_mouse() {
    let mut i8042 = I8042::default();
    command(&mut i8042, 0x60);
    write(&mut i8042, 0x47);
    command(&mut i8042, 0xd2);
    assert_eq!(write(&mut i8042, 0x12), [RAISE_1]);
    assert_eq!((status(&mut i8042) & 0x21, data(&mut i8042)), (0x01, 0x12), "untranslated");
    command(&mut i8042, 0xd3);
    assert_eq!(write(&mut i8042, 0xa5), [RAISE_12]);
    assert_eq!((status(&mut i8042) & 0x21, data(&mut i8042)), (0x21, 0xa5));
}

#[test]
fn the_output_port_has_a20_and_reset() {
    let mut i8042 = I8042::default();
    assert!(i8042.a20());
    command(&mut i8042, 0xd1);
    assert_eq!(write(&mut i8042, 0xdd), []);
    assert!(!i8042.a20());
    command(&mut i8042, 0xd0);
    assert_eq!(data(&mut i8042), 0xc1);
    command(&mut i8042, 0xd1);
    assert_eq!(write(&mut i8042, 0xde), [Signal::Reset]);
    assert!(i8042.a20());
}

#[test]
fn linux_reboots_by_a_pulse() {
    let mut i8042 = I8042::default();
    assert_eq!(command(&mut i8042, 0xfe), [Signal::Reset]);
    assert_eq!(command(&mut i8042, 0xff), [], "no line is pulsed");
}

#[test]
fn the_keyboard_answers_its_commands() {
    let mut i8042 = I8042::default();
    assert_eq!(keyboard(&mut i8042, &[0xff]), [0xfa, 0xaa]);
    assert_eq!(keyboard(&mut i8042, &[0xee]), [0xee]);
    assert_eq!(keyboard(&mut i8042, &[0xf2]), [0xfa, 0xab, 0x83]);
    assert_eq!(keyboard(&mut i8042, &[0xfe]), [0x83]);
    assert_eq!(keyboard(&mut i8042, &[0xed, 0x07]), [0xfa, 0xfa]);
    assert_eq!(i8042.leds(), 7);
    assert_eq!(keyboard(&mut i8042, &[0xf3, 0x00, 0x01]), [0xfa, 0xfa, 0xfe], "0x01 is no command");
    assert_eq!(keyboard(&mut i8042, &[0xed, 0xf4]), [0xfa, 0xfa], "a command instead of the parameter");
    assert_eq!(i8042.leds(), 7);
}

#[test]
fn scan_code_sets_are_chosen_and_told() {
    let mut i8042 = I8042::default();
    assert_eq!(keyboard(&mut i8042, &[0xf0, 0x00]), [0xfa, 0xfa, 0x02]);
    i8042.key(Key::Up, Stroke::Release);
    assert_eq!(drain(&mut i8042), [0xe0, 0xf0, 0x75]);
    assert_eq!(keyboard(&mut i8042, &[0xf0, 0x01, 0xf0, 0x00]), [0xfa, 0xfa, 0xfa, 0xfa, 0x01]);
    i8042.key(Key::Up, Stroke::Release);
    assert_eq!(drain(&mut i8042), [0xe0, 0xc8]);
    assert_eq!(keyboard(&mut i8042, &[0xf0, 0x03]), [0xfa, 0xfe], "set 3 is left out");
}

#[test]
fn a_keyboard_that_is_turned_off_loses_keys_but_text_waits() {
    let mut i8042 = I8042::default();
    assert_eq!(keyboard(&mut i8042, &[0xf5]), [0xfa]);
    i8042.key(Key::B, Stroke::Press);
    assert_eq!(i8042.type_text("a"), Ok(()));
    assert_eq!(drain(&mut i8042), []);
    assert_eq!(keyboard(&mut i8042, &[0xf4]), [0xfa, 0x1c, 0xf0, 0x1c]);
}

#[test]
fn translation_changes_the_keyboards_identity_as_on_hardware() {
    let mut i8042 = I8042::default();
    write(&mut i8042, 0xf2);
    assert_eq!(drain(&mut i8042), [0xfa, 0xab, 0x41]);
}

#[test]
fn the_mouse_answers_its_commands() {
    let mut i8042 = I8042::default();
    assert_eq!(mouse(&mut i8042, &[0xff]), [0xfa, 0xaa, 0x00]);
    assert_eq!(mouse(&mut i8042, &[0xf2]), [0xfa, 0x00]);
    assert_eq!(mouse(&mut i8042, &[0xe9]), [0xfa, 0x00, 0x02, 100]);
    assert_eq!(mouse(&mut i8042, &[0xe8, 0x03, 0xf3, 200, 0xe7, 0xf4]), [0xfa; 6]);
    assert_eq!(mouse(&mut i8042, &[0xe9]), [0xfa, 0x30, 0x03, 200]);
    assert_eq!(mouse(&mut i8042, &[0x55, 0x55]), [0xfe, 0xfc], "no command, twice");
    assert_eq!(mouse(&mut i8042, &[0xee, 0x55, 0xf4, 0xec]), [0xfa, 0x55, 0xf4, 0xfa], "wrap mode");
    assert_eq!(mouse(&mut i8042, &[0xfe]), [0xfa]);
}

#[test]
fn linux_finds_no_wheel() {
    let mut i8042 = I8042::default();
    mouse(&mut i8042, &[0xf3, 200, 0xf3, 100, 0xf3, 80]);
    assert_eq!(mouse(&mut i8042, &[0xf2]), [0xfa, 0x00]);
}

#[test]
fn movement_and_buttons_are_packets_of_three_bytes() {
    let mut i8042 = I8042::default();
    i8042.mouse(9, 9, MouseButtons::LEFT);
    assert_eq!(drain(&mut i8042), [], "not asked for");
    mouse(&mut i8042, &[0xff, 0xf4]);
    drain(&mut i8042);
    i8042.mouse(5, -3, MouseButtons::RIGHT);
    assert_eq!(drain(&mut i8042), [0x2a, 0x05, 0xfd]);
    i8042.mouse(0, 0, MouseButtons::RIGHT);
    assert_eq!(drain(&mut i8042), [], "nothing new");
    i8042.mouse(-300, 0, MouseButtons::empty());
    assert_eq!(drain(&mut i8042), [0x18, 0x01, 0x00, 0x18, 0xd3, 0x00], "-255 and -45");
}

#[test]
fn the_mouse_interrupts_on_its_own_line() {
    let mut i8042 = I8042::default();
    mouse(&mut i8042, &[0xf4]);
    command(&mut i8042, 0x60);
    write(&mut i8042, 0x47);
    i8042.mouse(1, 1, MouseButtons::empty());
    let event = i8042.next_event().expect("a byte is on the wire");
    assert_eq!(i8042.advance(event), [RAISE_12]);
    assert_eq!(status(&mut i8042) & 0x21, 0x21);
    assert_eq!(i8042.read(DATA, Width::Byte), (0x08, vec![LOWER_12]));
}

#[test]
fn a_remote_mouse_tells_only_when_asked() {
    let mut i8042 = I8042::default();
    assert_eq!(mouse(&mut i8042, &[0xf4, 0xf0]), [0xfa, 0xfa]);
    i8042.mouse(2, 3, MouseButtons::MIDDLE);
    assert_eq!(drain(&mut i8042), []);
    assert_eq!(mouse(&mut i8042, &[0xeb]), [0xfa, 0x0c, 0x02, 0x03]);
}

/// Bytes that controller, keyboard or mouse take for a command.
const COMMANDS: [u8; 24] = [
    0x00, 0x02, 0x20, 0x43, 0x47, 0x60, 0xa8, 0xaa, 0xad, 0xae, 0xd1, 0xd2, 0xd3, 0xd4, 0xd4, 0xd4, 0xe7, 0xeb, 0xed,
    0xf0, 0xf2, 0xf4, 0xf4, 0xff,
];

/// What happens outside, from four random bytes.
fn outside(i8042: &mut I8042, [kind, a, b, c]: [u8; 4]) -> Vec<Signal> {
    const KEYS: [Key; 6] = [Key::A, Key::F7, Key::Up, Key::Pause, Key::PrintScreen, Key::ControlRight];
    match kind % 3 {
        0 => {
            let stroke = if b % 2 == 0 { Stroke::Press } else { Stroke::Release };
            i8042.key(KEYS[usize::from(a) % KEYS.len()], stroke);
        }
        1 => {
            let _ = i8042.type_text(&String::from_iter([a, b, c].map(char::from)));
        }
        _ => i8042.mouse(i16::from_le_bytes([a, b]), c.into(), MouseButtons::from_bits_retain(c)),
    }
    Vec::new()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(fuzz::cases()))]

    #[test]
    fn any_guest_is_stood(run in fuzz::runs(5, &COMMANDS)) {
        fuzz::check(I8042::default(), &run, outside);
    }
}
