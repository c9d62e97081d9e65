//! `list`, `disasm`, `completions` and the help.

use super::elf::{ECHO, Elf};
use super::fencepost::Folder;
use fencepost::programs;

#[test]
fn list_has_a_line_for_each_program() {
    let said = Folder::new().run("list").exits_with(0);
    for (program, line) in programs::all().iter().zip(said.stdout.lines()) {
        assert!(line.starts_with(program.name) && line.ends_with(program.summary), "{line}");
    }
    assert_eq!(said.stdout.lines().count(), programs::all().len());
}

#[test]
fn list_of_a_program_has_what_may_come_out() {
    let folder = Folder::new();
    let said = folder.run("list store-buffering").exits_with(0);
    assert!(said.stdout.contains("  r0=0 r1=0  -    HAZARD  HAZARD\n"), "{said:?}");
    let one = folder.run("list store-buffering/mfence").exits_with(0);
    assert!(one.stdout.contains("/mfence: ") && !one.stdout.contains("/broken: "), "{one:?}");
    let json = folder.run("list store-buffering/broken --json").exits_with(0).json();
    assert_eq!(json["variants"].as_array().map(Vec::len), Some(1));
    assert_eq!(folder.run("list --json").json().as_array().map(Vec::len), Some(programs::all().len()));
}

#[test]
fn disasm_marks_what_the_memory_model_cares_about() {
    let folder = Folder::new().with("echo.elf", &Elf::default().file(ECHO));
    let said = folder.run("disasm store-buffering").exits_with(0);
    for mark in ["mfence", "LOCK", "store  ", "load  "] {
        assert!(said.stdout.contains(&format!("  {mark}")), "{mark}");
    }
    assert!(said.stdout.contains("<store_buffering::main>:"));
    assert!(said.stdout.contains("; programs/guest/demos/src/bin/store-buffering.rs:"));
    assert!(!said.stdout.contains("<core::fmt::write>:"), "that is not the program's own");
    assert!(folder.run("disasm store-buffering --all").stdout.contains("<core::fmt::write>:"));

    let said = folder.run("disasm echo.elf --from 0x100008 --to 0x10000e").exits_with(0);
    let lines: Vec<_> = said.stdout.lines().collect();
    assert_eq!(lines[0], "  0x100008  66 ba f8 03                                 mov dx, 0x3f8");
    assert_eq!(lines[1], "  0x10000c  f3 6e                           port        rep outsb");
    assert_eq!(lines[2..], [""]);
}

#[test]
fn completions_and_help_are_there() {
    let folder = Folder::new();
    for shell in ["bash", "zsh", "fish"] {
        assert!(folder.run(&format!("completions {shell}")).exits_with(0).stdout.contains("fencepost"));
    }
    for verb in ["", "list", "run", "check", "disasm", "completions"] {
        let said = folder.run(&format!("{verb} --help")).exits_with(0);
        assert!(said.stdout.contains("fencepost "), "{said:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn help_that_cannot_be_written_is_no_success() {
    let folder = Folder::new();
    for arguments in ["--help", "run --help", "--version", "list"] {
        let full = std::fs::File::options().write(true).open("/dev/full").expect("it is there");
        let mut command = folder.command(&arguments.split(' ').collect::<Vec<_>>());
        let said = super::fencepost::Said::from(command.stdout(full).output().expect("it can be started"));
        assert_eq!(said.code, 2, "{arguments}: {said:?}");
        assert!(said.stderr.contains("cannot write to standard output"), "{arguments}: {said:?}");
    }
}
