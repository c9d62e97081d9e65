//! Litmus tests as guest images: the machine itself gives each of their final states.

use super::guests::{outcomes, survey, surveyor};
use fencepost::explorer::Limits;
use fencepost::explorer::survey::{Outcome, Reached};
use fencepost::litmus::test::{Quantifier, Test};
use fencepost::litmus::{self, Pool, image, parse};
use fencepost::loader::Image;
use fencepost::machine::Settings;
use fencepost::memory_model::MemoryModel;
use fencepost::testbench::Testbench;
use std::collections::BTreeSet;
use std::path::Path;

/// Tests that between them use every kind of place and operation.
const TESTS: [&str; 5] = [
    "X86_64 SB\n{ uint64_t x; uint64_t y; }\n P0 | P1 ;\n movq $1,(x) | movq $1,(y) ;\n movq (y),%rax | movq (x),%rax ;\nexists (0:rax=0 /\\ 1:rax=0)",
    "X86_64 MP+nt\n{ uint64_t x; uint64_t y; 0:rcx=7; }\n P0 | P1 ;\n movnti %rcx,(x) | movq (y),%rax ;\n movq $1,(y) | movq (x),%rbx ;\nexists (1:rax=1 /\\ 1:rbx=0)",
    "X86 CAS\n{ x=-1; 0:EAX=-1; 1:EAX=-1; }\n P0 | P1 ;\n MOV ECX,$1 | MOV ECX,$2 ;\n LOCK CMPXCHG [x],ECX | LOCK CMPXCHG [x],ECX ;\nlocations [0:EAX; 1:EAX;]\nexists (x=1)",
    "X86_64 unlocked\n{ int x; }\n P0 | P1 ;\n incl (x) | incl (x) ;\nexists (x=1)",
    "X86_64 wait\n{ uint8_t x; int16_t y; }\n P0 | P1 ;\n movw $-2,(y) | L: cmpb $1,(x) ;\n movb $1,(x) | jne L ;\n | movw (y),%ax ;\nlocations [1:ax; y;]\nforall (y=-2)",
];

#[test]
fn each_state_s_schedule_replays_on_the_image_and_gives_that_state() {
    for source in TESTS {
        let test = parse::parse(source).expect("it is a litmus test");
        let bytes = image::image(&test).expect("it can be assembled");
        let image = Image::from_elf(test.name.clone(), bytes).expect("it is an executable");
        let settings = Settings { cores: test.threads.len() as u8, ..Settings::default() };
        let mut guest = surveyor(image.clone(), settings, false).expect("it has a region");
        let mut pool = Pool::new();
        let ready = pool.prepare(&test).expect("it can be assembled");
        for model in MemoryModel::ALL {
            let states = pool.explore(&ready, &test, model, &Limits::default()).states;
            let survey = survey(&mut guest, model);
            let told: Vec<String> = outcomes(&survey).iter().map(|it| image::state(it).to_owned()).collect();
            assert_eq!(told, states, "{} {model}", test.name);
            for (state, reached) in &survey.outcomes {
                let bench = Testbench::image(image.clone()).schedule(reached.schedule.clone()).expect("of this image");
                let run = bench.run().expect("the schedule fits");
                assert_eq!(run.outcome(), Some(state.to_string().as_str()), "{} {model}", test.name);
            }
        }
    }
}

#[test]
fn an_image_singles_out_the_state_that_its_condition_names() {
    for source in TESTS {
        let states = explored(&parsed(source), MemoryModel::PSO).states;
        for state in &states {
            let condition = state.trim_end_matches(';').replace("; ", " /\\ ");
            for text in [
                format!("~exists ({condition})"),
                format!("forall (not ({condition}))"),
                format!("exists (not (not ({condition})))"),
            ] {
                let test = parsed(&with_condition(source, &text));
                assert_eq!(singled_out(&test, MemoryModel::PSO), BTreeSet::from([state.clone()]), "{text}");
            }
        }
    }
}

#[test]
fn conditions_of_any_shape_are_in_an_image_what_they_are_in_the_test() {
    let atoms = ["0:rax=0", "1:rax=0", "1:rax=1"].map(str::to_owned);
    let conditions = combined(&combined(&atoms));
    // Some combinations no state can satisfy: those are no tests.
    let some = conditions.iter().step_by(41).zip(["exists", "~exists", "forall"].into_iter().cycle());
    let sources = some.map(|(condition, quantifier)| with_condition(TESTS[0], &format!("{quantifier} {condition}")));
    let tests: Vec<Test> = sources.filter_map(|source| parse::parse(&source).ok()).collect();
    assert!(tests.len() > 15, "{}", tests.len());
    tests.iter().for_each(|test| agrees(test, MemoryModel::PSO));
}

#[test]
fn a_condition_of_thousands_of_parts_fits_an_image() {
    let condition = "(x=0 \\/ not (1:rax=1) \\/ 0:rax=9) /\\ ".repeat(1300);
    let test = parsed(&with_condition(TESTS[0], &format!("~exists ({condition} 0:rax=0)")));
    let told = singled_out(&test, MemoryModel::TSO);
    assert_eq!(told.len(), explored(&test, MemoryModel::TSO).positive, "{told:?}");
    assert!(!told.is_empty(), "1:rax may be 0");
}

#[test]
fn images_of_our_tests_and_of_published_ones_know_their_conditions() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (folder, every) in [(root.join("litmus"), 12), (root.join("../../shared/litmus/x86"), 60)] {
        let Ok(rows) = std::fs::read_to_string(folder.join("expected.jsonl")) else {
            eprintln!("skipped: there are no litmus tests in {}", folder.display());
            continue;
        };
        for row in rows.lines().step_by(every) {
            let row: serde_json::Value = serde_json::from_str(row).expect("each line is JSON");
            let path = folder.join(row["path"].as_str().expect("each row has a path"));
            let source = std::fs::read_to_string(&path).expect("the test can be read");
            agrees(&parsed(&source), MemoryModel::PSO);
        }
    }
}

fn parsed(source: &str) -> Test {
    parse::parse(source).unwrap_or_else(|wrong| panic!("{wrong:?}\n{source}"))
}

/// `source` with another condition: its last line.
fn with_condition(source: &str, condition: &str) -> String {
    let (before, _) = source.rsplit_once('\n').expect("it has several lines");
    format!("{before}\n{condition}")
}

/// `parts`, the contrary of each, and every two of them together.
fn combined(parts: &[String]) -> Vec<String> {
    let contraries = parts.iter().map(|part| format!("not ({part})"));
    let pairs = parts.iter().flat_map(|one| parts.iter().map(move |other| (one, other)));
    let pairs = pairs.flat_map(|(one, other)| [format!("({one} /\\ {other})"), format!("({one} \\/ {other})")]);
    parts.iter().cloned().chain(contraries).chain(pairs).collect()
}

/// What the test comes to where it is no image.
fn explored(test: &Test, model: MemoryModel) -> litmus::Outcome {
    let mut pool = Pool::new();
    let ready = pool.prepare(test).expect("it can be assembled");
    pool.explore(&ready, test, model, &Limits::default())
}

/// The final states of the test's image that are a violation, or that bear the mark of a witness.
fn singled_out(test: &Test, model: MemoryModel) -> BTreeSet<String> {
    let bytes = image::image(test).expect("it can be assembled");
    let image = Image::from_elf(test.name.clone(), bytes).expect("it is an executable");
    let settings = Settings { cores: test.threads.len() as u8, ..Settings::default() };
    let mut guest = surveyor(image, settings, false).expect("it has a region");
    let survey = survey(&mut guest, model);
    let is_singled_out = |(outcome, reached): &(&Outcome, &Reached)| {
        let is_witness = outcome.to_string().ends_with(image::WITNESS);
        assert!(!is_witness || test.quantifier == Quantifier::Exists, "{}: {outcome}", test.name);
        is_witness || reached.is_violation(outcome)
    };
    let states = survey.outcomes.iter().filter(is_singled_out);
    states.map(|(outcome, _)| image::state(&outcome.to_string()).to_owned()).collect()
}

/// Fails unless the image of `test` singles out as many states as satisfy its condition, or break what it says.
fn agrees(test: &Test, model: MemoryModel) {
    let outcome = explored(test, model);
    let wanted = match test.quantifier {
        Quantifier::Exists | Quantifier::NotExists => outcome.positive,
        Quantifier::Forall => outcome.states.len() - outcome.positive,
    };
    let told = singled_out(test, model);
    assert_eq!(told.len(), wanted, "{} {}: {told:#?}", test.name, test.condition_text);
}
