//! Recording a run and replaying it.

use super::elf::{Elf, LOOP, WAIT};
use super::fencepost::Folder;

#[test]
fn a_recorded_run_replays_to_the_same_trace() {
    let folder = Folder::new();
    for program in ["store-buffering/broken", "torn-frame/xchg", "hello"] {
        let first = folder.run(&format!("run {program} --seed 5 --model pso --record run.txt --json"));
        let again = folder.run(&format!("run {program} --schedule run.txt --json"));
        let (recorded, replayed) = (first.json(), again.json());
        // A hazard exits with 1, so the code is the guest's, whatever it is, and the same both times.
        assert_eq!(recorded["exit_code"], first.code, "{program}: the guest's exit code is the process's");
        assert_eq!(first.code, again.code, "{program}");
        for field in ["trace_hash", "outcome", "serial", "steps", "exit_code", "model", "image"] {
            assert_eq!(recorded[field], replayed[field], "{program}: {field}");
        }
        assert_eq!(replayed["seed"], serde_json::Value::Null);
        assert_eq!(replayed["replay"], format!("fencepost run {} --schedule run.txt", full_name(program)));
    }
}

fn full_name(program: &str) -> &str {
    if program == "hello" { "hello/plain" } else { program }
}

#[test]
fn a_schedule_can_be_given_as_text_and_knows_its_variant() {
    let folder = Folder::new();
    let recorded = folder.run("run iriw --seed 2 --record run.txt --json").json();
    let text = String::from_utf8(folder.read("run.txt")).expect("a schedule is text");
    let replayed = folder.run_words(&["run", "iriw", "--schedule", &text, "--json"]).json();
    assert_eq!(replayed["trace_hash"], recorded["trace_hash"]);
    assert_eq!(replayed["variant"], recorded["variant"]);
    assert!(text.contains(recorded["schedule"].as_str().expect("it was recorded")));
}

#[test]
fn a_flag_that_agrees_with_the_schedule_is_no_conflict() {
    let folder = Folder::new();
    folder.run("run hello --cores 3 --record run.txt").exits_with(0);
    folder.run("run hello/plain --cores 3 --model tso --schedule run.txt").exits_with(0);
}

#[test]
fn a_replay_can_stop_at_a_point_or_a_limit() {
    let folder = Folder::new();
    folder.run("run torn-frame/sfence --record run.txt").exits_with(0);
    let at = |point: &str| folder.run(&format!("run torn-frame --schedule run.txt {point} --json")).json();
    let stopped = at("--until frame:3");
    assert_eq!((&stopped["ended"], &stopped["frames"]), (&"reached".into(), &3.into()));
    let stopped = at("--max-steps 1000");
    assert_eq!((&stopped["ended"], &stopped["steps"]), (&"step-limit".into(), &1000.into()));
}

#[test]
fn a_run_that_was_cut_replays_to_where_it_was_cut() {
    let folder = Folder::new().with("loop.elf", &Elf::default().file(LOOP));
    let recorded = folder.run("run loop.elf --max-steps 5000 --record run.txt --json").exits_with(3).json();
    let replayed = folder.run("run loop.elf --schedule run.txt --json").exits_with(0).json();
    assert_eq!(recorded["trace_hash"], replayed["trace_hash"]);
    assert_eq!(replayed["ended"], "schedule-end");
}

#[test]
fn the_replay_line_gives_the_same_run() {
    let looping = Elf::default().file(LOOP);
    let folder = Folder::new().with("loop.elf", &looping).with("-dash.elf", &looping).with("-dash", LOOP);
    for arguments in [
        "run hello --seed 3 --cores 4 --model sc",
        "run loop.elf --max-steps 3000 --slice 5 --depth 2 --wc-depth 1 --ram 4M --cores 1 some words",
        "run loop.elf --max-steps 3000 --processor intel",
        "run torn-frame --until frame:2",
        "run torn-frame --until frame:2 --record run.txt",
        "run torn-frame --until steps:5 --record run.txt",
        "run hello --until serial:nothing-of-the-kind --record run.txt",
        "run loop.elf --max-steps 7 --record run.txt",
        "run --max-steps 7 --json -- -dash.elf",
        "run --max-steps 7 --flat --record=-run.txt --json -- -dash",
    ] {
        let json = if arguments.contains("--json") { "" } else { "--json" };
        let said = folder.run(&format!("{arguments} {json}"));
        let (code, first) = (said.code, said.json());
        let line = first["replay"].as_str().expect("there is a line").replace("'some words'", "some@words");
        let words: Vec<_> = line.split_whitespace().skip(1).chain(["--json"]).map(|it| it.replace('@', " ")).collect();
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let again = folder.run_words(&words).exits_with(code).json();
        assert_eq!((&again["trace_hash"], &again["ended"]), (&first["trace_hash"], &first["ended"]), "{line}");
    }
}

#[test]
fn exploration_follows_the_schedules_that_it_has_saved() {
    let folder = Folder::new();
    let all = folder.run("explore store-buffering/broken --save found --json").exits_with(1).json();
    let rows = all["models"][0]["outcomes"].as_array().expect("a table");
    for (index, row) in rows.iter().enumerate() {
        let file = format!("found/store-buffering-tso-{}.schedule", index + 1);
        let replay = format!("explore store-buffering --strategy replay --schedule {file}");
        // One execution proves nothing; a violation it shows is one.
        let code = if row["violation"] == true { 1 } else { 3 };
        let again = folder.run(&format!("{replay} --json")).exits_with(code).json();
        let model = &again["models"][0];
        let found = model["outcomes"].as_array().expect("a table");
        assert_eq!((found.len(), &found[0]["outcome"], &found[0]["schedule"]), (1, &row["outcome"], &row["schedule"]));
        assert_eq!((&model["complete"], &model["executions"]), (&false.into(), &1.into()));
        let run = folder.run(&format!("run store-buffering --schedule {file} --json")).json();
        assert_eq!(run["outcome"], row["outcome"]);
        let outcome = row["outcome"].as_str().expect("a text");
        let told = folder.run_words(&[&replay.split(' ').collect::<Vec<_>>()[..], &["--explain", outcome]].concat());
        assert!(told.exits_with(code).stdout.contains(&format!("How `{outcome}` comes about")));
    }
}

#[test]
fn a_schedule_that_exploration_cannot_follow_is_refused() {
    let folder = Folder::new();
    folder.run("run store-buffering/broken --record run.txt").exits_with(0);
    let recorded = String::from_utf8(folder.read("run.txt")).expect("a schedule is text");
    let broken = format!("{} 1d3\n", recorded.trim_end());
    let folder = folder.with("broken.txt", broken.as_bytes());
    folder.run("explore dekker --save found");
    let refused = [
        ("explore store-buffering --strategy replay", "--schedule"),
        ("explore store-buffering --schedule run.txt", "--strategy replay"),
        ("explore store-buffering --strategy replay --schedule nothing.txt", "nothing.txt"),
        ("explore store-buffering --strategy replay --schedule found/dekker-tso-1.schedule", "other image"),
        ("explore store-buffering --strategy replay --schedule broken.txt", "`1d3`, does not fit: the run is over"),
        ("explore store-buffering --strategy replay --schedule run.txt --explain nothing", "there are r0="),
        ("explore dekker/mfence --strategy replay --schedule found/dekker-tso-1.schedule", "command line"),
        ("explore dekker --model pso --strategy replay --schedule found/dekker-tso-1.schedule", "--model pso"),
    ];
    for (command, said) in refused {
        let answer = folder.run(command).exits_with(2);
        assert!(answer.stderr.contains(said), "{command}: {}", answer.stderr);
    }
}

#[test]
fn the_story_line_of_a_run_tells_it() {
    let folder = Folder::new();
    // A hazard exits with 1, in the run and in its story.
    let recorded = folder.run("run dekker --seed 1 --record run.txt --json").exits_with(1).json();
    let line = recorded["story"].as_str().expect("there is a line");
    assert_eq!(line, "fencepost explore dekker/broken --strategy replay --schedule run.txt");
    let told = folder.run(line.trim_start_matches("fencepost ")).exits_with(1);
    assert!(told.stdout.contains("How `together` comes about"), "{told:?}");
    assert!(told.stdout.contains("rows left out; --all tells all"), "{told:?}");
    let all = folder.run(&format!("{} --all", line.trim_start_matches("fencepost "))).exits_with(1);
    assert!(!all.stdout.contains("left out") && all.stdout.lines().count() > told.stdout.lines().count());
    let said = folder.run("run dekker --schedule run.txt").exits_with(1);
    assert!(said.stderr.contains(&format!("story    {line}")), "{said:?}");
    let said = folder.run("run hello --seed 4").exits_with(0);
    let story = "fencepost run hello/plain --model tso --seed 4 --record run.schedule; \
                 fencepost explore hello/plain --strategy replay --schedule run.schedule";
    assert!(said.stderr.contains(&format!("story    {story}")), "{said:?}");
}

#[test]
fn a_run_that_was_cut_is_told_to_where_it_was_cut() {
    let folder =
        Folder::new().with("loop.elf", &Elf::default().file(LOOP)).with("wait.elf", &Elf::default().file(WAIT));
    for guest in ["loop.elf", "wait.elf"] {
        folder.run(&format!("run {guest} --max-steps 5000 --record run.txt")).exits_with(3);
        let told = folder.run(&format!("explore {guest} --strategy replay --schedule run.txt")).exits_with(3);
        let said = "the schedule ends after 5,000 steps; core 0 is at 0x10000";
        assert!(told.stdout.contains(said), "{told:?}");
        assert_eq!(told.stdout.contains("cmp dword [0x180000],1"), guest == "wait.elf", "{told:?}");
    }
}
