//! Schedules as text.

use fencepost::choice::Choice;
use fencepost::core::CoreId;
use fencepost::devices::MouseButtons;
use fencepost::machine::Settings;
use fencepost::memory_model::MemoryModel;
use fencepost::processor::Processor;
use fencepost::schedule::Schedule;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

const GOOD: &str = "fencepost-schedule 1 image=0123456789abcdef cores=2 model=tso processor=amd ram=8388608 depth=8 wc-depth=8 args=\"a b\" : 0*812! 1*3 0d0x2 0+ p 1i tx2 m10,-5,1";

fn choices() -> impl Strategy<Value = Vec<Choice>> {
    let core = || (0..64u8).prop_map(CoreId);
    let choice = prop_oneof![
        (core(), 1..=1u64 << 20, any::<bool>()).prop_map(|(core, steps, drained)| Choice::Run { core, steps, drained }),
        core().prop_map(|core| Choice::Access { core }),
        (core(), any::<u8>()).prop_map(|(core, entry)| Choice::Drain { core, entry }),
        Just(Choice::Arrive),
        core().prop_map(|core| Choice::Interrupt { core }),
        any::<u8>().prop_map(|byte| Choice::Type { byte }),
        any::<u8>().prop_map(|byte| Choice::Receive { byte }),
        (any::<i16>(), any::<i16>(), 0..8_u8).prop_map(|(dx, dy, buttons)| {
            Choice::Mouse { dx, dy, buttons: MouseButtons::from_bits_truncate(buttons) }
        }),
        Just(Choice::Pass),
    ];
    // Repeated, so that the text is run-length coded.
    let runs = prop::collection::vec((choice, 1..4usize), 0..20);
    runs.prop_map(|runs| runs.into_iter().flat_map(|(choice, count)| std::iter::repeat_n(choice, count)).collect())
}

fn schedules() -> impl Strategy<Value = Schedule> {
    let settings = (1..=64u8, 0..3usize, 0..3usize, 512..0x8_0000u64, 1..=128usize, 1..=128usize, any::<String>());
    (any::<u64>(), settings, choices()).prop_map(
        |(image, (cores, model, processor, pages, depth, wc_depth, args), choices)| {
            let settings = Settings {
                cores,
                model: MemoryModel::ALL[model],
                processor: Processor::ALL[processor],
                ram_bytes: pages * 4096,
                depth,
                wc_depth,
                command_line: args,
            };
            Schedule { image, settings, choices }
        },
    )
}

proptest! {
    // Always the same cases, and no file that remembers the bad ones.
    #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_schedule_is_read_as_it_was_written(schedule in schedules()) {
        prop_assert_eq!(schedule.to_string().parse::<Schedule>(), Ok(schedule));
    }

    #[test]
    fn a_schedule_may_be_broken_at_any_blank(schedule in schedules()) {
        let text = schedule.to_string();
        let (head, choices) = text.rsplit_once(" :").expect("a schedule has a colon");
        let text = format!("{head} : # here it goes\n{}", choices.replace(' ', "\n  "));
        prop_assert_eq!(text.parse::<Schedule>(), Ok(schedule));
    }

    #[test]
    fn any_text_at_all_gives_an_error_or_a_schedule(text in any::<String>()) {
        let _ = text.parse::<Schedule>();
        let _ = format!("{GOOD} {text}").parse::<Schedule>();
    }

    #[test]
    fn a_damaged_schedule_gives_an_error_or_a_schedule(at in 0..GOOD.len(), inserted in "[\\PC\\s\"x*d!:#]{0,3}", cut in 0..4usize) {
        let end = (at + cut).min(GOOD.len());
        let _ = format!("{}{inserted}{}", &GOOD[..at], &GOOD[end..]).parse::<Schedule>();
    }
}

fn problem_of(text: &str) -> String {
    text.parse::<Schedule>().expect_err(text).to_string()
}

#[test]
fn the_example_is_read() {
    let schedule: Schedule = GOOD.parse().expect("it is well-formed");
    let core = CoreId(0);
    let expected = [
        Choice::Run { core, steps: 812, drained: true },
        Choice::Run { core: CoreId(1), steps: 3, drained: false },
        Choice::Drain { core, entry: 0 },
        Choice::Drain { core, entry: 0 },
        Choice::Access { core },
        Choice::Arrive,
        Choice::Interrupt { core: CoreId(1) },
        Choice::Pass,
        Choice::Pass,
        Choice::Mouse { dx: 10, dy: -5, buttons: MouseButtons::LEFT },
    ];
    assert_eq!(schedule.choices, expected);
    assert_eq!(schedule.settings.command_line, "a b");
}

#[test]
fn a_malformed_choice_is_named() {
    for word in [
        "m1,2",
        "m1,2,8",
        "m40000,0,0",
        "0",
        "x",
        "0*",
        "0*0",
        "0*-1",
        "0*1x2",
        "0*1!x2",
        "0*!",
        "64",
        "256+",
        "0d",
        "0d256",
        "0d0x0",
        "0d0x",
        "px",
        "pp",
        "1p",
        "0*1!!",
        "+",
        "d0",
        "0 *1",
        "0*99999999999999999999",
        "0+x99999999999999999999",
    ] {
        let problem = problem_of(&format!("{GOOD} {word}"));
        assert!(problem.starts_with("line 1, column "), "{word}: {problem}");
    }
}

#[test]
fn a_malformed_head_is_named() {
    for (good, bad) in [
        ("fencepost-schedule", "schedule"),
        (" 1 ", " 2 "),
        ("image=", "image"),
        ("0123456789abcdef", "0123456789abcdefg"),
        ("cores=2", "cores=0"),
        ("cores=2", "cores=65"),
        ("cores=2", "cores=two"),
        ("model=tso", "model=TSO"),
        ("processor=amd", "processor=AMD"),
        ("processor=amd", "processor="),
        ("ram=8388608", "ram=8388609"),
        ("ram=8388608", "ram=0"),
        ("depth=8", "depth=0"),
        ("wc-depth=8", "wc-depth=129"),
        ("\"a b\"", "a"),
        ("\"a b\"", "\"a b"),
        (" : ", " "),
    ] {
        assert!(GOOD.contains(good));
        problem_of(&GOOD.replace(good, bad));
    }
    problem_of("");
}

#[test]
fn a_schedule_that_names_no_processor_was_recorded_under_the_rules_of_intel() {
    let old: Schedule = GOOD.replace("processor=amd ", "").parse().expect("it is well-formed");
    assert_eq!(old.settings.processor, Processor::INTEL);
}

#[test]
fn repetitions_beyond_any_memory_are_refused() {
    for count in ["50000001", "18446744073709551615"] {
        problem_of(&format!("{GOOD} 0d0x{count}"));
        problem_of(&format!("{} 0d0x{count}", GOOD.split_inclusive(" :").next().expect("it has a head")));
    }
}

#[test]
fn an_error_is_placed_right_after_any_kind_of_blank() {
    for blank in ["\u{a0}", "\u{3000}", "\u{2028}"] {
        problem_of(&format!("fencepost-schedule{blank}9"));
    }
}
