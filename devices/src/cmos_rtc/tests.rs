use super::*;
use crate::{TICKS_PER_SECOND, fuzz};
use proptest::prelude::*;

const RAISE: Signal = Signal::RaiseIrq(Irq(8));
const LOWER: Signal = Signal::LowerIrq(Irq(8));

const START: DateTime = DateTime { year: 2024, month: 12, day: 31, hour: 23, minute: 59, second: 58 };

fn rtc() -> CmosRtc {
    CmosRtc::new(START, 64 << 20)
}

fn get(rtc: &mut CmosRtc, index: usize) -> u8 {
    rtc.write(INDEX, Width::Byte, index as u64);
    rtc.read(DATA, Width::Byte).0 as u8
}

fn set(rtc: &mut CmosRtc, index: usize, value: u8) -> Vec<Signal> {
    rtc.write(INDEX, Width::Byte, index as u64);
    rtc.write(DATA, Width::Byte, value.into())
}

fn time(rtc: &mut CmosRtc) -> [u8; 7] {
    [YEAR, MONTH, DAY_OF_MONTH, DAY_OF_WEEK, HOURS, MINUTES, SECONDS].map(|index| get(rtc, index))
}

fn milliseconds(milliseconds: u64) -> Ticks {
    Ticks(milliseconds * TICKS_PER_SECOND / 1000)
}

#[test]
fn the_year_ends_in_bcd() {
    let mut rtc = rtc();
    assert_eq!(time(&mut rtc), [0x24, 0x12, 0x31, 3, 0x23, 0x59, 0x58]);
    rtc.advance(milliseconds(1999));
    assert_eq!(time(&mut rtc), [0x24, 0x12, 0x31, 3, 0x23, 0x59, 0x59]);
    rtc.advance(milliseconds(2000));
    assert_eq!(time(&mut rtc), [0x25, 0x01, 0x01, 4, 0x00, 0x00, 0x00]);
    assert_eq!(rtc.time().to_string(), "2025-01-01 00:00:00");
}

#[test]
fn binary_and_12_hours_are_as_the_guest_asks() {
    let mut rtc = rtc();
    set(&mut rtc, REGISTER_B, SET | DM);
    for (index, value) in [(HOURS, 0x8b), (MINUTES, 59), (SECONDS, 59)] {
        set(&mut rtc, index, value);
    }
    rtc.advance(milliseconds(5000));
    assert_eq!(get(&mut rtc, SECONDS), 59, "SET stops the time");
    set(&mut rtc, REGISTER_B, DM);
    rtc.advance(milliseconds(6000));
    assert_eq!([HOURS, MINUTES, SECONDS].map(|index| get(&mut rtc, index)), [12, 0, 0], "midnight");
}

#[test]
fn uip_warns_before_each_update() {
    let mut rtc = rtc();
    let mut uip_at = |microseconds: u64| {
        rtc.advance(Ticks(microseconds * 100));
        get(&mut rtc, REGISTER_A) & UIP != 0
    };
    assert_eq!([0, 997_000, 997_800, 999_990, 1_000_000].map(&mut uip_at), [false, false, true, true, false]);
    set(&mut rtc, REGISTER_B, SET);
    rtc.advance(milliseconds(1999));
    assert_eq!(get(&mut rtc, REGISTER_A), 0x26, "no update comes");
}

#[test]
fn the_periodic_interrupt_of_linux_comes_1024_times_a_second() {
    let mut rtc = rtc();
    set(&mut rtc, REGISTER_B, HOURS_24 | PERIODIC);
    let mut interrupts = 0;
    while let Some(event) = rtc.next_event().filter(|event| event.0 <= TICKS_PER_SECOND) {
        assert_eq!(rtc.advance(event), [RAISE]);
        assert_eq!(rtc.next_event(), None, "nothing more until it is acknowledged");
        rtc.write(INDEX, Width::Byte, REGISTER_C as u64);
        let (c, signals) = rtc.read(DATA, Width::Byte);
        assert_eq!((c as u8 & !UPDATE_ENDED & !ALARM, signals), (IRQF | PERIODIC, vec![LOWER]));
        interrupts += 1;
    }
    assert_eq!(interrupts, 1024);
}

#[test]
fn the_rates_are_those_of_the_table() {
    let hertz = |rate| {
        let mut rtc = rtc();
        set(&mut rtc, REGISTER_A, DV_RUNS | rate);
        rtc.period().map(|period| CmosRtc::HERTZ / period)
    };
    assert_eq!(hertz(0), None);
    let table = [256, 128, 8192, 4096, 2048, 1024, 512, 256, 128, 64, 32, 16, 8, 4, 2];
    assert_eq!(Vec::from_iter((1..16).map(hertz)), table.map(Some));
}

#[test]
fn the_end_of_an_update_interrupts() {
    let mut rtc = rtc();
    set(&mut rtc, REGISTER_B, HOURS_24 | UPDATE_ENDED);
    assert_eq!(rtc.next_event(), Some(milliseconds(1000)));
    assert_eq!(rtc.advance(milliseconds(1000)), [RAISE]);
    assert_eq!(get(&mut rtc, REGISTER_C), IRQF | PERIODIC | UPDATE_ENDED);
    assert_eq!(get(&mut rtc, REGISTER_C), 0, "reading it took note");
    set(&mut rtc, REGISTER_B, SET | UPDATE_ENDED);
    assert_eq!(get(&mut rtc, REGISTER_B), SET, "SET clears the enable");
}

#[test]
fn the_alarm_interrupts_when_all_three_bytes_match() {
    let mut rtc = rtc();
    for (index, value) in [(HOURS_ALARM, 0x07), (MINUTES_ALARM, 0x30), (SECONDS_ALARM, 0x00)] {
        set(&mut rtc, index, value);
    }
    set(&mut rtc, REGISTER_B, HOURS_24 | ALARM);
    let half_past_seven = milliseconds((2 + 7 * 3600 + 30 * 60) * 1000);
    assert_eq!(rtc.next_event(), Some(half_past_seven));
    assert_eq!(rtc.advance(half_past_seven), [RAISE]);
    assert_eq!(get(&mut rtc, REGISTER_C) & (IRQF | ALARM), IRQF | ALARM);
    let next_day = Ticks(half_past_seven.0 + SECONDS_PER_DAY * TICKS_PER_SECOND);
    assert_eq!(rtc.next_event(), Some(next_day));
}

#[test]
fn an_alarm_byte_of_all_ones_matches_everything() {
    let mut rtc = rtc();
    for index in [HOURS_ALARM, MINUTES_ALARM] {
        set(&mut rtc, index, 0xff);
    }
    set(&mut rtc, SECONDS_ALARM, 0x05);
    set(&mut rtc, REGISTER_B, HOURS_24 | ALARM);
    assert_eq!(rtc.next_event(), Some(milliseconds(7000)));
    set(&mut rtc, SECONDS_ALARM, 0x60);
    assert_eq!(rtc.next_event(), None, "no second is the sixtieth");
}

#[test]
fn a_divider_let_go_ends_its_first_second_after_a_half() {
    let mut rtc = rtc();
    rtc.advance(milliseconds(700));
    set(&mut rtc, REGISTER_A, DV_RESET);
    rtc.advance(milliseconds(10_000));
    assert_eq!(get(&mut rtc, SECONDS), 0x58, "it stands");
    set(&mut rtc, REGISTER_A, DV_RUNS);
    rtc.advance(milliseconds(10_499));
    assert_eq!(get(&mut rtc, SECONDS), 0x58);
    rtc.advance(milliseconds(10_501));
    assert_eq!(get(&mut rtc, SECONDS), 0x59);
}

#[test]
fn memory_sizes_are_where_kernels_look() {
    let word = |rtc: &mut CmosRtc, at| u16::from_le_bytes([get(rtc, at), get(rtc, at + 1)]);
    let mut rtc = rtc();
    assert_eq!([0x15, 0x17, 0x30, 0x34].map(|at| word(&mut rtc, at)), [640, 0xfc00, 0xfc00, 768]);
    let mut big = CmosRtc::new(START, 3 << 30);
    assert_eq!([0x15, 0x17, 0x30, 0x34].map(|at| word(&mut big, at)), [640, 0xffff, 0xffff, 48_896]);
    let mut small = CmosRtc::new(START, 512 << 10);
    assert_eq!([0x15, 0x17, 0x30, 0x34].map(|at| word(&mut small, at)), [512, 0, 0, 0]);
    assert_eq!(get(&mut small, 0x32), 0x20, "the century");
}

#[test]
fn xv6_leaves_its_word_for_firmware() {
    let mut rtc = rtc();
    set(&mut rtc, 0x0f, 0x0a);
    assert_eq!((rtc.register(1), get(&mut rtc, 0x0f)), ("SHUTDOWN_STATUS", 0x0a));
}

#[test]
fn bit_7_of_the_index_turns_nmi_off() {
    let mut rtc = rtc();
    assert!(rtc.nmi_enabled());
    rtc.write(INDEX, Width::Byte, 0x8b);
    assert!(!rtc.nmi_enabled());
    assert_eq!((rtc.register(1), rtc.read(DATA, Width::Byte).0), ("B", 0x02));
}

#[test]
fn registers_c_and_d_cannot_be_written() {
    let mut rtc = rtc();
    set(&mut rtc, REGISTER_C, 0xff);
    set(&mut rtc, REGISTER_D, 0);
    assert_eq!([REGISTER_C, REGISTER_D].map(|index| get(&mut rtc, index)), [0, VRT]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(fuzz::cases()))]

    #[test]
    fn any_guest_is_stood(run in fuzz::runs(2, &[0x00, 0x0a, 0x0b, 0x0c, 0x26, 0x70, 0xff])) {
        fuzz::check(rtc(), &run, |rtc, [index, value, ..]| set(rtc, usize::from(index) % 16, value));
    }

    #[test]
    fn the_next_alarm_is_the_first_second_that_matches(alarm: [u8; 3], b: u8, from in 0..86_400_u32) {
        let mut rtc = rtc();
        set(&mut rtc, REGISTER_B, b & (DM | HOURS_24));
        for (index, value) in [HOURS_ALARM, MINUTES_ALARM, SECONDS_ALARM].into_iter().zip(alarm) {
            set(&mut rtc, index, value);
        }
        let format = rtc.format();
        let matches = |wait: &u64| {
            let at = u64::from(from) + wait;
            rtc.alarm_matches(HOURS_ALARM, format.encode_hour((at / 3600 % 24) as u8))
                && rtc.alarm_matches(MINUTES_ALARM, format.encode((at / 60 % 60) as u8))
                && rtc.alarm_matches(SECONDS_ALARM, format.encode((at % 60) as u8))
        };
        prop_assert_eq!(rtc.seconds_to_alarm(from), (1..=SECONDS_PER_DAY).find(matches));
    }
}
