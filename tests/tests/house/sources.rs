//! What our sources may not contain.

use std::env;

use super::{
    project::{root, rust_sources, tracked_files},
    tokens::{macro_calls, promise_lines, unsafe_lines},
};

/// The engine talks to a C library and guests to bare hardware; nothing else has a reason.
const UNSAFE_ALLOWED: [&str; 3] = ["emu/src/core/engine.rs", "emu/src/core/engine/", "programs/guest/"];

/// Folders that exist on one machine only. Without slashes here, so that this file passes its own test.
const MACHINE_FOLDERS: [&str; 6] = ["home", "root", "Users", "tmp", "work", "mnt"];

/// How far above an `unsafe` its reason may stand, in lines: a comment, a signature and attributes fit.
const REASON_REACH: usize = 12;

#[test]
fn unsafe_stays_in_the_engine_and_the_guests() {
    let strays = places(|path, text| {
        let allowed = UNSAFE_ALLOWED.iter().any(|place| path.starts_with(place));
        if allowed { Vec::new() } else { unsafe_lines(text) }
    });
    assert!(strays.is_empty(), "unsafe is not allowed here: {strays:#?}");
}

#[test]
fn every_unsafe_says_why_it_is_sound() {
    let silent = places(|_, text| {
        let lines: Vec<&str> = text.lines().collect();
        let mut found = promise_lines(text);
        found.retain(|line| !has_reason(&lines, *line));
        found
    });
    assert!(silent.is_empty(), "a SAFETY sentence is missing near: {silent:#?}");
}

#[test]
fn nothing_is_left_unfinished() {
    let marker = concat!("FIX", "ME");
    let unfinished = places(|_, text| {
        let mut found = macro_calls(text, &["todo", "unimplemented"]);
        found.extend(lines_with(text, |line| line.contains(marker)));
        found
    });
    assert!(unfinished.is_empty(), "unfinished: {unfinished:#?}");
}

#[test]
fn no_file_names_a_folder_of_one_machine() {
    let mut named = Vec::new();
    for path in tracked_files() {
        // Pictures and other binary files are not read by people.
        let Ok(text) = std::fs::read_to_string(root().join(&path)) else {
            continue;
        };
        for line in lines_with(&text, names_machine_folder) {
            named.push(format!("{path}:{line}"));
        }
    }
    assert!(named.is_empty(), "a path that exists on one machine only: {named:#?}");
}

#[test]
fn a_machine_folder_is_told_from_other_paths() {
    let home = MACHINE_FOLDERS[0];
    assert!(names_machine_folder(&format!("see \"/{home}/me/x.rs\"")));
    assert!(!names_machine_folder(&format!("https://site/{home}/page")));
    assert!(!names_machine_folder(&format!("../{home}/x.rs")));
}

/// `path:line` for every line that the rule finds in a Rust source.
fn places(rule: impl Fn(&str, &str) -> Vec<usize>) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in rust_sources() {
        for line in rule(&path, &text) {
            found.push(format!("{path}:{line}"));
        }
    }
    found
}

/// The numbers, from 1, of the lines that fit.
fn lines_with(text: &str, fits: impl Fn(&str) -> bool) -> Vec<usize> {
    text.lines().enumerate().filter(|(_, line)| fits(line)).map(|(index, _)| index + 1).collect()
}

/// Whether the line itself, or the paragraph it ends, holds a SAFETY comment or a `# Safety` section.
fn has_reason(lines: &[&str], line: usize) -> bool {
    lines[..line]
        .iter()
        .rev()
        .take(REASON_REACH)
        .take_while(|above| !above.trim().is_empty())
        .any(|above| above.contains("SAFETY: ") || above.contains("# Safety"))
}

fn names_machine_folder(line: &str) -> bool {
    let here = root().display().to_string();
    let home = env::var("HOME").unwrap_or_default();
    let exact = [here, home];
    // A clone or a home at the file system's root has too short a path to tell it from anything else.
    if exact.iter().any(|path| path.matches('/').count() > 1 && line.contains(path.as_str())) {
        return true;
    }
    MACHINE_FOLDERS
        .iter()
        .flat_map(|name| line.match_indices(&format!("/{name}/")).map(|(at, _)| at).collect::<Vec<_>>())
        .any(|at| !line[..at].ends_with(|before: char| before.is_alphanumeric() || "._-~/}*$".contains(before)))
}
