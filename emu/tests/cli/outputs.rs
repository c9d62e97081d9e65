//! The files and pictures of one run.

use super::elf::{Elf, FAULT};
use super::fencepost::Folder;
use serde_json::Value;

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

#[test]
fn a_trace_is_lines_of_json_with_register_names() {
    let folder = Folder::new();
    let said = folder.run("run hello --trace trace.jsonl").exits_with(0);
    assert!(said.stdout.starts_with("Hello"), "{said:?}");
    let events = lines(&String::from_utf8(folder.read("trace.jsonl")).expect("a trace is text"));
    let has = |event: &str| events.iter().any(|line| line["event"] == event);
    assert!(has("ran") && has("loaded") && has("stored") && has("serial") && has("exited"));
    assert!(events.iter().any(|line| line["register"].as_str().is_some_and(|name| name.contains(" > "))));
    let on_stdout = folder.run("run hello --trace -").exits_with(0);
    assert_eq!(lines(&on_stdout.stdout), events);
}

#[test]
fn a_trace_does_not_change_the_run() {
    let folder = Folder::new();
    let plain = folder.run("run hello --json").json();
    assert_eq!(folder.run("run hello --trace t --json").json()["trace_hash"], plain["trace_hash"]);
}

#[test]
fn a_faulting_guest_leaves_whole_files() {
    let folder = Folder::new().with("guest.elf", &Elf::default().file(FAULT));
    folder.run("run guest.elf --trace t --record r --screenshot p.png").exits_with(1);
    let events = lines(&String::from_utf8(folder.read("t")).expect("a trace is text"));
    assert_eq!(events.last().map(|line| line["event"] == "ran"), Some(true));
    assert!(events.iter().any(|line| line["event"] == "faulted"));
    folder.run("run guest.elf --schedule r").exits_with(1);
    assert!(folder.read("p.png").starts_with(b"\x89PNG"));
    let names: Vec<_> = folder.files().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["guest.elf", "p.png", "r", "t"]);
}

#[test]
fn existing_files_are_replaced_and_devices_are_written_to() {
    let folder = Folder::new().with("p.png", b"old");
    folder.run("run torn-frame/sfence --until frame:1 --screenshot p.png").exits_with(0);
    assert!(folder.read("p.png").starts_with(b"\x89PNG"));
    folder.run("run hello --trace /dev/null").exits_with(0);
    assert!(!std::fs::metadata("/dev/null").expect("it is still there").is_file());
}

#[cfg(unix)]
#[test]
fn a_link_to_a_file_stays_a_link() {
    let folder = Folder::new().with("real", b"");
    std::os::unix::fs::symlink("real", folder.path().join("link")).expect("links can be made");
    folder.run("run hello --record link").exits_with(0);
    assert!(folder.read("real").starts_with(b"# fencepost run hello/plain"));
    assert!(std::fs::symlink_metadata(folder.path().join("link")).expect("it is there").is_symlink());
}

#[cfg(unix)]
#[test]
fn a_new_file_has_the_rights_of_any_new_file() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new().with("ordinary", b"");
    folder.run("run hello --record new").exits_with(0);
    let rights = |name: &str| std::fs::metadata(folder.path().join(name)).expect("it is there").permissions().mode();
    assert_eq!(rights("new"), rights("ordinary"));
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_that_cannot_be_made_is_called_by_its_own_name() {
    let said = Folder::new().run("run hello --record /proc/new").exits_with(2);
    assert!(said.stderr.contains("`/proc/new`") && !said.stderr.contains(".fencepost-"), "{said:?}");
}

#[test]
fn the_screen_is_shown_in_characters_when_nobody_sees_colours() {
    let folder = Folder::new();
    let said = folder.run("run hello --show").exits_with(0);
    assert!(said.stdout.contains("  Hello from core 1 of 2."), "the text screen: {said:?}");
    let mut command = folder.command(&["run", "torn-frame/sfence", "--show"]);
    let shown = super::fencepost::Said::from(command.env("COLUMNS", "24").output().expect("it can be started"));
    assert!(shown.stdout.lines().any(|line| line.len() == 24), "{shown:?}");
}

#[test]
fn without_a_terminal_there_is_no_escape_sequence() {
    let folder = Folder::new();
    for arguments in [
        "--help",
        "list torn-frame",
        "run torn-frame --show",
        "run torn-frame --runs 4",
        "check hello --runs 2",
        "disasm store-buffering",
        "run nothing",
    ] {
        let said = folder.run(arguments);
        assert!(!said.stdout.contains('\x1b') && !said.stderr.contains('\x1b'), "{arguments}: {said:?}");
    }
}
