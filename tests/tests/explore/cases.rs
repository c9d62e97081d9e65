//! Guests that went wrong for people, each with what is right for it. They lie beside the project, not in it.

use super::guests::*;
use fencepost::explorer::doctor::{Patience, examine};
use fencepost::explorer::region::{NoRegion, Region};
use fencepost::explorer::survey::{Outcome, Survey};
use fencepost::explorer::{Interrupts, Limits, Plan};
use fencepost::loader::Image;
use fencepost::machine::{DEEPEST, Machine, Settings};
use fencepost::memory_model::MemoryModel;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The cases, which lie beside the project, not in it, where they can be built.
pub(super) fn folder() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/cases");
    if !folder.join("build.sh").is_file() {
        eprintln!("skipped: there are no cases beside the project");
        return None;
    }
    if Command::new("gcc").arg("--version").output().is_err() {
        eprintln!("skipped: there is no gcc to build the cases with");
        return None;
    }
    Some(folder)
}

/// The case called `name` as a guest, with so much defined, for the tests that are called `whose`.
pub(super) fn built(folder: &Path, whose: &str, name: &str, defined: &[&str]) -> Image {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{whose}-{name}{}.elf", defined.concat()));
    let mut build = Command::new("sh");
    build.arg(folder.join("build.sh")).arg(folder.join(format!("{name}.c"))).arg(&file).args(defined);
    let built = build.output().expect("there is a shell");
    assert!(built.status.success(), "{name}: {}", String::from_utf8_lossy(&built.stderr));
    Image::from_elf(name, std::fs::read(&file).expect("it was just built")).expect("a case is an executable")
}

/// What is right for a case.
#[derive(Debug)]
enum Right {
    /// Nothing goes wrong.
    Holds,
    /// It may report this, which is a violation.
    Reports(&'static str),
    /// These groups of cores can wait for ever, and no others, without anything changing.
    Deadlocks(&'static [&'static [usize]]),
    /// Core 0 can go on for ever.
    Livelock,
    /// There is nothing in the region that could go wrong.
    Hollow,
    /// The marks are no region.
    NoRegion,
}

use Right::{Deadlocks, Holds, Hollow, Livelock, NoRegion as NoMarks, Reports};

/// Name, cores, what is defined, and what is right.
const CASES: [(&str, u8, &[&str], Right); 21] = [
    ("sti-before-end-mark", 2, &[], Holds),
    ("sti-before-end-mark", 2, &["-DFIXED"], Holds),
    ("barrier-reset-twice", 3, &[], Deadlocks(&[&[0], &[0, 1], &[0, 1, 2], &[0, 2], &[1], &[1, 2], &[2]])),
    ("barrier-reset-twice", 3, &["-DFIXED"], Holds),
    ("level-interrupt-storm", 2, &[], Livelock),
    ("level-interrupt-storm", 2, &["-DFIXED"], Holds),
    ("shootdown-under-lock", 2, &[], Deadlocks(&[&[0, 1]])),
    ("shootdown-under-lock", 2, &["-DFIXED"], Holds),
    ("shootdown-under-lock", 2, &["-DNO_INVLPG"], Deadlocks(&[&[0, 1]])),
    ("shootdown-under-lock", 2, &["-DNO_INVLPG", "-DFIXED"], Holds),
    ("int-n-and-eoi", 2, &[], Reports("nested")),
    ("int-n-and-eoi", 2, &["-DFIXED"], Holds),
    ("int-n-and-eoi", 2, &["-DAS_CALL"], Reports("nested")),
    ("int-n-and-eoi", 2, &["-DAS_CALL", "-DFIXED"], Holds),
    ("seq-cst-fence", 2, &[], Holds),
    ("seq-cst-fence", 2, &["-DWITHOUT"], Reports("both missed")),
    ("empty-region", 2, &["-DCASE=0"], Reports("both missed")),
    ("empty-region", 2, &["-DCASE=1"], NoMarks),
    ("empty-region", 2, &["-DCASE=2"], Hollow),
    ("empty-region", 2, &["-DCASE=3"], NoMarks),
    ("call-in-waiting-loop", 2, &["-DFIXED"], Holds),
];

#[test]
fn what_is_said_of_each_case_is_right() {
    let Some(folder) = folder() else { return };
    for (name, cores, defined, right) in &CASES {
        let image = built(&folder, "case", name, defined);
        let settings =
            Settings { cores: *cores, depth: DEEPEST as usize, wc_depth: DEEPEST as usize, ..Settings::default() };
        let machine = Machine::new(&image, settings.clone()).expect("it fits");
        if matches!(right, NoMarks) {
            let found = Region::find(machine, 1_000_000, None).map(drop);
            assert!(matches!(found, Err(NoRegion::EndsFirst { .. })), "{name} {defined:?}: {found:?}");
            continue;
        }
        let found = survey(&mut surveyor(image, settings, false).expect("a case has a region"), MemoryModel::TSO);
        assert!(found.is_complete(), "{name} {defined:?}: {:?}", found.reasons());
        assert!(is_as(&found, right), "{name} {defined:?} is {right:?}, not {:?}", outcomes(&found));
    }
}

fn is_as(found: &Survey, right: &Right) -> bool {
    let wrong: Vec<&Outcome> =
        found.outcomes.iter().filter(|(outcome, reached)| reached.is_violation(outcome)).map(|it| it.0).collect();
    match right {
        Holds => wrong.is_empty() && !found.is_hollow(),
        Hollow => wrong.is_empty() && found.is_hollow(),
        Reports(text) => wrong == [&Outcome::Reported((*text).to_owned())],
        Livelock => matches!(wrong.as_slice(), [Outcome::Livelock(place)] if place.starts_with("core 0 at")),
        Deadlocks(groups) => {
            let cores_in = |outcome: &&Outcome| {
                let Outcome::Deadlock(places) = outcome else { return Vec::new() };
                (0..4).filter(|core| places.contains(&format!("core {core} at"))).collect::<Vec<usize>>()
            };
            wrong.iter().map(cores_in).collect::<Vec<_>>() == *groups
        }
        NoMarks => false,
    }
}

#[test]
fn a_storm_is_all_there_is_where_interrupts_come_at_once() {
    let Some(folder) = folder() else { return };
    let image = built(&folder, "prompt", "level-interrupt-storm", &[]);
    let mut guest = surveyor(image, Settings::default(), false).expect("it has a region");
    let plan = Plan { interrupts: Interrupts::Prompt, ..Plan::default() };
    let found = guest.survey(&plan, MemoryModel::TSO, &Limits::default());
    assert!(found.is_complete() && is_as(&found, &Livelock) && found.outcomes.len() == 1, "{:?}", outcomes(&found));
}

#[test]
fn the_fence_that_compilers_emit_is_needed_and_found_to_be_missing() {
    let Some(folder) = folder() else { return };
    let examined = |defined: &[&str]| {
        let image = built(&folder, "fence", "seq-cst-fence", defined);
        let mut guest = surveyor(image, Settings::default(), false).expect("it has a region");
        examine(&mut guest, MemoryModel::TSO, &Limits::default(), &Patience::default())
    };
    let with = examined(&[]);
    assert!(with.holds && with.complete && with.fences.len() == 2 && with.redundant.is_empty(), "{with:?}");
    let without = examined(&["-DWITHOUT"]);
    assert!(without.violated && without.complete && !without.in_order, "{without:?}");
    assert_eq!(without.cures.iter().map(Vec::len).collect::<Vec<_>>(), [2], "{without:?}");
}
