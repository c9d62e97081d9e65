//! What one run says and exits with.

use super::elf::{ECHO, EXIT_42, Elf, FAULT, FLOOD, HALT, LOOP};
use super::fencepost::{Folder, Said};
use std::io::Read;
use std::process::Stdio;

fn run(code: &[u8], options: &str) -> Said {
    Folder::new().with("guest.elf", &Elf::default().file(code)).run(&format!("run guest.elf {options}"))
}

#[test]
fn the_exit_code_is_the_guests() {
    let said = run(EXIT_42, "").exits_with(42);
    assert!(said.stderr.contains("exited with code 42"), "{said:?}");
}

#[test]
fn a_fault_is_1_and_names_its_instruction() {
    let said = run(FAULT, "").exits_with(1);
    assert!(said.stderr.contains("#UD") && said.stderr.contains("0x100001") && said.stderr.contains("ud2"), "{said:?}");
}

#[test]
fn a_fault_says_why_no_handler_ran() {
    let none = "no handler was entered: the guest has not loaded an interrupt table (IDT)";
    let said = run(b"\xcc", "--cores 1").exits_with(1); // int3
    assert!(said.stderr.contains("breakpoint") && said.stderr.contains(none), "{said:?}");
    assert_eq!(run(b"\xcc", "--cores 1 --json").json()["fault"]["handler"], none);
    // lidt [table]; int3; table: limit 0xff, base 0
    let code = b"\x0f\x01\x1c\x25\x09\x00\x10\x00\xcc\xff\x00\0\0\0\0\0\0\0\0";
    let said = run(code, "--cores 1").exits_with(1);
    assert!(said.stderr.contains("look at gate 3 of the interrupt table (IDT) at 0x0 with limit 0xff"), "{said:?}");
}

#[test]
fn a_machine_that_has_halted_is_0_and_the_limit_is_3() {
    assert!(run(HALT, "").exits_with(0).stderr.contains("every core has halted"));
    assert!(run(LOOP, "--max-steps 1000").exits_with(3).stderr.contains("--max-steps"));
}

#[test]
fn words_after_the_file_are_the_guests_command_line() {
    assert_eq!(run(ECHO, "--cores 1 --serial one two").exits_with(0).stdout, "one two");
    assert_eq!(run(ECHO, "--cores 1 --serial -- --one -2").exits_with(0).stdout, "--one -2");
    assert_eq!(run(ECHO, "--cores 1 --serial --args=-x").exits_with(0).stdout, "-x");
}

#[test]
fn a_flat_binary_is_raw_code() {
    let folder = Folder::new().with("code", EXIT_42);
    folder.run("run code --flat").exits_with(42);
}

#[test]
fn a_programs_variant_can_be_said_in_three_ways() {
    let folder = Folder::new();
    let hash = |words: &str| folder.run(&format!("run iriw{words} --json")).json()["trace_hash"].clone();
    assert_eq!(hash("/plain"), hash(" --variant plain"));
    assert_eq!(hash("/plain"), hash(" plain"));
}

#[test]
fn a_program_refuses_what_it_is_not_written_for_in_its_own_words() {
    let folder = Folder::new();
    let said = folder.run("run store-buffering xyz --serial").exits_with(101);
    assert_eq!(said.stdout, "this program has no variant `xyz`\n");
    let said = folder.run("run store-buffering --cores 3 --serial").exits_with(101);
    assert_eq!(said.stdout, "this program is written for 2 cores, not 3\n");
}

#[test]
fn serial_is_the_serial_output_and_nothing_else() {
    let said = Folder::new().run("run hello --serial").exits_with(0);
    assert_eq!(said.stdout, "Hello from core 0 of 2.\nHello from core 1 of 2.\nEverybody has greeted.\n");
    assert_eq!(said.stderr, "");
}

#[test]
fn the_summary_has_outcome_and_replay() {
    let said = Folder::new().run("run hello --seed 3 --cores 3").exits_with(0);
    assert!(said.stderr.contains("outcome  hello  (as it should be)"), "{said:?}");
    assert!(said.stderr.contains("fencepost run hello/plain --model tso --cores 3 --seed 3\n"), "{said:?}");
}

#[test]
fn the_report_counts_what_each_core_did() {
    let folder = Folder::new();
    let report = folder.run("run exceptions --json").exits_with(0).json();
    let counts = &report["counts"];
    assert_eq!((&counts["exceptions"], &counts["page_faults"]), (&4.into(), &1.into()));
    let core = &counts["cores"][0];
    for vector in ["0", "6", "13", "14"] {
        assert_eq!(core["exceptions"]["by_vector"][vector], 1, "exception {vector}");
    }
    assert_eq!(core["software_interrupts"]["by_vector"]["3"], 1, "INT3");
    // All steps are instructions but the interrupts that were taken and the times when all slept.
    let report = folder.run("run ipi --json").exits_with(0).json();
    let of_cores = |field: &str| -> u64 {
        let cores = report["counts"]["cores"].as_array().expect("a list");
        cores.iter().map(|core| core[field].as_u64().or(core[field]["total"].as_u64()).expect("a number")).sum()
    };
    assert!(of_cores("interrupts") > 0, "{report}");
    assert_eq!(report["counts"]["instructions"], of_cores("instructions"));
    assert!(of_cores("instructions") + of_cores("interrupts") <= report["steps"].as_u64().expect("a number"));
    assert!(report["virtual_seconds"].as_f64() > Some(0.0) && report["host"]["seconds"].as_f64() > Some(0.0));
}

#[test]
fn a_replay_has_the_same_counts() {
    let folder = Folder::new();
    let recorded = folder.run("run timer/periodic --seed 3 --record run.txt --json").exits_with(0).json();
    let replayed = folder.run("run timer --schedule run.txt --json").exits_with(0).json();
    for field in ["counts", "virtual_seconds", "steps"] {
        assert_eq!(recorded[field], replayed[field], "{field}");
    }
    assert!(recorded["counts"]["interrupts"].as_u64() > Some(0));
}

#[test]
fn the_summary_has_counts_and_times() {
    let said = Folder::new().run("run exceptions").exits_with(0);
    assert!(
        said.stderr.contains(" instructions, 0 interrupts, 4 exceptions (1 page fault), 1 software interrupt\n"),
        "{said:?}"
    );
    assert!(said.stderr.contains(" s in the machine, "), "{said:?}");
}

#[test]
fn json_is_one_report() {
    let report = Folder::new().run("run hello --seed 7 --model pso --json").exits_with(0).json();
    for (field, value) in [
        ("program", "hello".into()),
        ("variant", "plain".into()),
        ("model", "pso".into()),
        ("seed", 7.into()),
        ("cores", 2.into()),
        ("ended", "exited".into()),
        ("exit_code", 0.into()),
        ("outcome", "hello".into()),
        ("hazard", false.into()),
        ("listed", true.into()),
        ("frames", 0.into()),
        ("schedule", serde_json::Value::Null),
    ] {
        assert_eq!(report[field], value, "{field}");
    }
    assert!(report["serial"].as_str().is_some_and(|serial| serial.starts_with("Hello from core 0")));
    assert_eq!(report["trace_hash"].as_str().map(str::len), Some(16));
}

#[test]
fn a_run_can_stop_at_a_point() {
    let folder = Folder::new();
    let ended = |arguments: &str, code| folder.run(arguments).exits_with(code).json()["ended"].clone();
    assert_eq!(ended("run torn-frame/sfence --until frame:3 --json", 0), "reached");
    assert_eq!(ended("run torn-frame/sfence --until steps:100 --json", 0), "reached");
    assert_eq!(ended("run hello --until serial:1 --json", 0), "reached");
    assert_eq!(folder.run("run torn-frame/sfence --until frame:3 --json").json()["frames"], 3);
    // The point does not come.
    assert_eq!(ended("run hello --until serial:nothing-of-the-kind --json", 1), "exited");
    assert_eq!(ended("run hello --until steps:100 --max-steps 50 --json", 3), "step-limit");
}

#[test]
fn a_bound_on_steps_is_exact() {
    let folder = Folder::new().with("guest.elf", &Elf::default().file(LOOP));
    for steps in 1..=30 {
        for seed in 0..4 {
            let run = |limit| folder.run(&format!("run guest.elf {limit}{steps} --seed {seed} --json")).json();
            assert_eq!(
                (run("--until steps:")["steps"].clone(), run("--max-steps ")["steps"].clone()),
                (steps.into(), steps.into())
            );
        }
    }
}

#[test]
fn output_comes_while_the_guest_runs_and_may_lose_its_reader() {
    let folder = Folder::new().with("guest.elf", &Elf::default().file(FLOOD));
    let mut command = folder.command(&["run", "guest.elf", "--max-steps", "18446744073709551615"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command can be started");
    let mut first = [0; 5];
    child.stdout.take().expect("it is piped").read_exact(&mut first).expect("output comes");
    assert_eq!(&first, b"xxxxx");
    let said = Said::from(child.wait_with_output().expect("the command ends"));
    assert_eq!((said.code, said.stderr.as_str()), (0, ""));
}

#[test]
fn the_debug_console_is_shown_except_for_outcomes() {
    // mov al, 'o'; out 0xe9, al; mov al, 10; out 0xe9, al; out 0xf4, al
    let said = run(b"\xb0\x6f\xe6\xe9\xb0\x0a\xe6\xe9\xe6\xf4", "--cores 1").exits_with(10);
    assert!(said.stderr.starts_with("o\n"), "{said:?}");
    assert!(!Folder::new().run("run hello").stderr.contains("outcome: "));
}
