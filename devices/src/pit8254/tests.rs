use super::*;
use crate::fuzz;
use proptest::prelude::*;

const RAISE: Signal = Signal::RaiseIrq(Irq(0));
const LOWER: Signal = Signal::LowerIrq(Irq(0));

fn read(pit: &mut Pit8254, offset: u64) -> u8 {
    pit.read(offset, Width::Byte).0 as u8
}

fn write(pit: &mut Pit8254, offset: u64, value: u8) -> Vec<Signal> {
    pit.write(offset, Width::Byte, value.into())
}

/// A timer at clock 0 that was told `bytes` at offsets.
fn told(bytes: &[(u64, u8)]) -> Pit8254 {
    let mut pit = Pit8254::default();
    for &(offset, byte) in bytes {
        write(&mut pit, offset, byte);
    }
    pit
}

fn clock(pit: &mut Pit8254, clock: u64) -> Vec<Signal> {
    pit.advance(Ticks::of_cycles(clock, Pit8254::HERTZ))
}

/// Counter 0's count as the data sheet's figures print it under the wave: low byte only.
fn counts(pit: &mut Pit8254, clocks: impl Iterator<Item = u64>) -> Vec<(u8, bool)> {
    let look = |at| {
        clock(pit, at);
        (read(pit, 0), pit.counters[0].out())
    };
    clocks.map(look).collect()
}

/// A wave as text, `_` low and `-` high, of counter `number` from clock 1 on.
fn wave(pit: &mut Pit8254, number: usize, clocks: std::ops::RangeInclusive<u64>) -> String {
    let look = |at| {
        clock(pit, at);
        if pit.counters[number].out() { '-' } else { '_' }
    };
    clocks.map(look).collect()
}

#[test]
fn mode_0_rises_a_clock_after_the_count_and_stays() {
    let mut pit = told(&[(3, 0x10), (0, 4)]);
    assert_eq!(pit.next_event(), Some(Ticks::of_cycles(5, Pit8254::HERTZ)));
    let figure = [(4, false), (3, false), (2, false), (1, false), (0, true), (0xff, true), (0xfe, true)];
    assert_eq!(counts(&mut pit, 1..=7), figure);
    assert_eq!(pit.next_event(), None);
    assert_eq!(write(&mut pit, 0, 2), [LOWER], "a new count takes it back");
}

#[test]
fn mode_0_raises_irq_0_and_a_new_count_lowers_it() {
    let mut pit = told(&[(3, 0x30), (0, 0x10), (0, 0)]);
    assert_eq!(clock(&mut pit, 16), []);
    assert_eq!(clock(&mut pit, 17), [RAISE]);
    assert_eq!(write(&mut pit, 0, 0x20), [LOWER], "the first byte stops it");
    assert_eq!((clock(&mut pit, 1000), pit.next_event()), (vec![], None));
    write(&mut pit, 0, 0);
    assert_eq!(pit.next_event(), Some(Ticks::of_cycles(1033, Pit8254::HERTZ)));
}

#[test]
fn mode_0_waits_while_the_gate_is_closed_but_loads() {
    let mut pit = told(&[(3, 0x90), (2, 3)]);
    assert_eq!(wave(&mut pit, 2, 1..=8), "________");
    assert_eq!(read(&mut pit, 2), 3);
    write(&mut pit, PORT_B, 1);
    assert_eq!(wave(&mut pit, 2, 9..=12), "__--", "no clock is needed to load");
    assert_eq!(read(&mut pit, PORT_B) & 0x21, 0x21, "output and gate are seen at port B");
}

#[test]
fn mode_1_is_triggered_by_the_gate_again_and_again() {
    let mut pit = told(&[(3, 0x92), (2, 3)]);
    assert_eq!(wave(&mut pit, 2, 1..=4), "----", "armed");
    write(&mut pit, PORT_B, 1);
    assert_eq!(wave(&mut pit, 2, 5..=9), "___--");
    write(&mut pit, PORT_B, 0);
    write(&mut pit, PORT_B, 1);
    assert_eq!(wave(&mut pit, 2, 10..=11), "__");
    write(&mut pit, PORT_B, 0);
    write(&mut pit, PORT_B, 1);
    assert_eq!(wave(&mut pit, 2, 12..=16), "___--", "triggered again while low");
}

#[test]
fn mode_2_is_low_for_the_last_clock_of_each_period() {
    let mut pit = told(&[(3, 0x14), (0, 3)]);
    let figure = [(3, true), (2, true), (1, false), (3, true), (2, true), (1, false), (3, true)];
    assert_eq!(counts(&mut pit, 1..=7), figure);
}

#[test]
fn mode_2_takes_a_new_count_at_the_end_of_the_period_or_at_a_trigger() {
    let mut pit = told(&[(PORT_B, 1), (3, 0x94), (2, 4)]);
    assert_eq!(wave(&mut pit, 2, 1..=2), "--");
    write(&mut pit, 2, 5);
    assert_eq!(wave(&mut pit, 2, 3..=14), "-_----_----_");
    write(&mut pit, PORT_B, 0);
    assert_eq!(wave(&mut pit, 2, 15..=17), "---", "a closed gate sets it high at once");
    write(&mut pit, PORT_B, 1);
    assert_eq!(wave(&mut pit, 2, 18..=22), "----_");
}

#[test]
fn mode_2_as_a_kernel_ticks_with_it() {
    let mut pit = told(&[(3, 0x34), (0, 0x9c), (0, 0x2e)]);
    assert_eq!(clock(&mut pit, 0), []);
    let mut edges = Vec::new();
    while let Some(event) = pit.next_event().filter(|event| event.0 < 100_010_000) {
        edges.push(pit.advance(event));
    }
    assert_eq!(edges.len(), 200, "100 Hz, each with a fall and a rise");
    assert_eq!((&edges[0], &edges[1]), (&vec![LOWER], &vec![RAISE]));
    assert_eq!(clock(&mut pit, 50_000_000), [LOWER, RAISE], "pulses nobody looked at are one");
}

#[test]
fn mode_3_of_an_even_count_is_a_square() {
    let mut pit = told(&[(3, 0x16), (0, 4)]);
    let figure = [(4, true), (2, true), (4, false), (2, false), (4, true), (2, true), (4, false)];
    assert_eq!(counts(&mut pit, 1..=7), figure);
}

#[test]
fn mode_3_of_an_odd_count_is_high_one_clock_longer() {
    let mut pit = told(&[(3, 0x16), (0, 5)]);
    let figure = [(4, true), (2, true), (0, true), (4, false), (2, false), (4, true), (2, true), (0, true), (4, false)];
    assert_eq!(counts(&mut pit, 1..=9), figure);
}

#[test]
fn mode_3_takes_a_new_count_at_the_end_of_the_half() {
    let mut pit = told(&[(3, 0x16), (0, 4)]);
    clock(&mut pit, 1);
    write(&mut pit, 0, 6);
    assert_eq!(wave(&mut pit, 0, 2..=11), "-___---___");
}

#[test]
fn mode_4_strobes_once() {
    let mut pit = told(&[(3, 0x18), (0, 3)]);
    assert_eq!(wave(&mut pit, 0, 1..=6), "---_--");
    assert_eq!(pit.next_event(), None);
    write(&mut pit, 0, 2);
    assert_eq!(wave(&mut pit, 0, 7..=10), "--_-");
}

#[test]
fn mode_5_strobes_after_the_trigger() {
    let mut pit = told(&[(3, 0x9a), (2, 3)]);
    assert_eq!(wave(&mut pit, 2, 1..=6), "------");
    write(&mut pit, PORT_B, 1);
    assert_eq!(wave(&mut pit, 2, 7..=12), "---_--");
}

#[test]
fn a_latched_count_stands_until_it_is_read() {
    let mut pit = told(&[(3, 0x30), (0, 0x00), (0, 0x10)]);
    clock(&mut pit, 1);
    write(&mut pit, 3, 0x00);
    clock(&mut pit, 0x101);
    write(&mut pit, 3, 0x00);
    assert_eq!([read(&mut pit, 0), read(&mut pit, 0)], [0x00, 0x10]);
    assert_eq!([read(&mut pit, 0), read(&mut pit, 0)], [0x00, 0x0f], "then the count itself is read");
}

#[test]
fn read_back_latches_status_before_count() {
    let mut pit = told(&[(3, 0x34), (0, 0x34)]);
    write(&mut pit, 3, 0xe2);
    assert_eq!(read(&mut pit, 0), 0xf4, "high, no count loaded, both bytes, mode 2");
    write(&mut pit, 0, 0x12);
    clock(&mut pit, 1);
    write(&mut pit, 3, 0xc2);
    clock(&mut pit, 100);
    assert_eq!([read(&mut pit, 0), read(&mut pit, 0), read(&mut pit, 0)], [0xb4, 0x34, 0x12]);
}

#[test]
fn bcd_counts_in_decimal() {
    let mut pit = told(&[(3, 0x31), (0, 0x00), (0, 0x10)]);
    clock(&mut pit, 2);
    assert_eq!([read(&mut pit, 0), read(&mut pit, 0)], [0x99, 0x09]);
    clock(&mut pit, 1002);
    assert_eq!([read(&mut pit, 0), read(&mut pit, 0)], [0x99, 0x99], "below zero comes 9999");
}

#[test]
fn a_count_of_zero_is_the_longest() {
    let pit = told(&[(3, 0x30), (0, 0), (0, 0)]);
    assert_eq!(pit.next_event(), Some(Ticks::of_cycles(0x1_0001, Pit8254::HERTZ)));
    let pit = told(&[(3, 0x31), (0, 0), (0, 0)]);
    assert_eq!(pit.next_event(), Some(Ticks::of_cycles(10_001, Pit8254::HERTZ)));
}

#[test]
fn single_byte_accesses_reach_their_byte() {
    let mut pit = told(&[(3, 0x20), (0, 0x12)]);
    clock(&mut pit, 1);
    assert_eq!([read(&mut pit, 0), read(&mut pit, 0)], [0x12, 0x12], "high byte only");
}

#[test]
fn the_refresh_bit_toggles_every_15_microseconds() {
    let mut pit = Pit8254::default();
    let toggles = |pit: &mut Pit8254, at| {
        clock(pit, at);
        read(pit, PORT_B) & REFRESH != 0
    };
    assert_eq!([0, 17, 18, 35, 36].map(|at| toggles(&mut pit, at)), [false, false, true, true, false]);
}

#[test]
fn linux_calibrates_with_counter_2_and_port_b() {
    let mut pit = Pit8254::default();
    let port_b = read(&mut pit, PORT_B);
    write(&mut pit, PORT_B, port_b & !2 | 1);
    write(&mut pit, 3, 0xb0);
    write(&mut pit, 2, 0xff);
    write(&mut pit, 2, 0x0f);
    assert_eq!(read(&mut pit, PORT_B) & TIMER_2_OUTPUT, 0);
    clock(&mut pit, 0xfff);
    assert_eq!(read(&mut pit, PORT_B) & TIMER_2_OUTPUT, 0);
    clock(&mut pit, 0x1000);
    assert_eq!(read(&mut pit, PORT_B) & TIMER_2_OUTPUT, TIMER_2_OUTPUT);
    assert!(!pit.speaker(), "the speaker is off");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(fuzz::cases()))]

    #[test]
    fn any_guest_is_stood(run in fuzz::runs(5, &[0x00, 0x01, 0x02, 0x10, 0x14, 0x16, 0x34, 0x36, 0x38, 0x9a, 0xc2])) {
        fuzz::check(Pit8254::default(), &run, |_, _| Vec::new());
    }

    /// The closed forms against the data sheet's way: one clock at a time.
    #[test]
    fn clocks_at_once_are_clocks_one_by_one(
        word: u8, first in 0..20_u8, second in 0..20_u8, gate: bool, before in 0..50_u64, clocks in 0..200_u64,
    ) {
        let mut at_once = told(&[(PORT_B, gate.into()), (3, word & 0x0f | 0x90), (2, first)]);
        clock(&mut at_once, before);
        write(&mut at_once, PORT_B, 1);
        write(&mut at_once, 2, second);
        let mut by_one = at_once.clone();
        for at in before..=before + clocks {
            let next = by_one.counters[2].next_change();
            let out = by_one.counters[2].out();
            clock(&mut by_one, at);
            if at > before {
                prop_assert_eq!(by_one.counters[2].out() != out, next == Some(1), "the next change is foretold");
            }
        }
        clock(&mut at_once, before + clocks);
        prop_assert_eq!(at_once, by_one);
    }
}
