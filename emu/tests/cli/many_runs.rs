//! `run --runs` and `check`.

use super::elf::{EXIT_42, Elf, FAULT};
use super::fencepost::Folder;

#[test]
fn the_table_counts_outcomes_whatever_the_number_of_threads() {
    let folder = Folder::new();
    let one = folder.run("run store-buffering/broken --runs 40 --jobs 1").exits_with(0);
    let four = folder.run("run store-buffering/broken --runs 40 --jobs 4").exits_with(0);
    assert_eq!(one.stdout, four.stdout);
    assert!(one.stdout.contains("hazard  fencepost run store-buffering/broken --model tso --seed "), "{one:?}");
    assert_eq!(one.stderr, "", "no progress bar without a terminal");
}

#[test]
fn the_seed_of_an_outcome_leads_to_it() {
    let folder = Folder::new();
    let report = folder.run("run dekker/broken --runs 60 --seed 100 --json").exits_with(0).json();
    let outcomes = report["models"][0]["outcomes"].as_array().expect("a table");
    assert_eq!(outcomes.iter().map(|row| row["count"].as_u64().expect("a count")).sum::<u64>(), 60);
    for row in outcomes {
        let line = row["replay"].as_str().expect("a line");
        let again = folder.run(&format!("{} --json", line.trim_start_matches("fencepost "))).json();
        assert_eq!(again["outcome"], row["outcome"], "{line}");
        assert!(row["first_seed"].as_u64().is_some_and(|seed| (100..160).contains(&seed)));
    }
}

#[test]
fn each_model_has_a_table() {
    let report = Folder::new().run("run message-passing/broken --model sc,pso --runs 30 --json").exits_with(0).json();
    let has_hazard = |index: usize| {
        report["models"][index]["outcomes"].as_array().expect("a table").iter().any(|row| row["hazard"] == true)
    };
    assert_eq!((has_hazard(0), has_hazard(1)), (false, true));
}

#[test]
fn runs_that_fail_are_1_and_a_file_has_no_stanza() {
    let folder =
        Folder::new().with("fault.elf", &Elf::default().file(FAULT)).with("exit.elf", &Elf::default().file(EXIT_42));
    let said = folder.run("run fault.elf --runs 3").exits_with(1);
    assert!(said.stdout.contains("(fault at 0x100001)"), "{said:?}");
    let said = folder.run("run exit.elf --runs 3").exits_with(0);
    assert!(said.stdout.contains("(exit code 42, no outcome)"), "{said:?}");
    folder.run("run hello --runs 3 --max-steps 10").exits_with(1);
}

#[test]
fn check_keeps_promises() {
    let folder = Folder::new();
    let said = folder.run("check hello port-io/plain --runs 5").exits_with(0);
    assert_eq!(said.stdout.lines().count(), 6, "{said:?}");
    let report = folder.run("check hello --runs 5 --model sc,pso --json").exits_with(0).json();
    let rows = report.as_array().expect("a row for each model");
    assert!(rows.len() == 2 && rows.iter().all(|row| row["ok"] == true && row["problem"].is_null()));
}

#[test]
fn check_says_what_is_missing_and_how_to_see_it() {
    // One seed cannot show every outcome.
    let folder = Folder::new();
    let said = folder.run("check store-buffering/broken --runs 1 --model tso").exits_with(1);
    assert!(said.stdout.contains("FAIL") && said.stdout.contains("was not seen within 1 seeds"), "{said:?}");
    assert!(said.stdout.contains("fencepost run store-buffering/broken --model tso --runs 1"), "{said:?}");
}
