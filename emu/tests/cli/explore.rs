//! `fencepost explore` and `fencepost fences`: bounds, and what is told.

use super::elf::{Elf, FAULT, FLOOD, HALT, LOOP, REGION_THEN_LOOP, TIME, WAIT};
use super::fencepost::Folder;

#[test]
fn a_guest_that_does_not_come_to_its_mark_in_time_is_no_answer() {
    let folder = Folder::new().with("flood.elf", &Elf::default().file(FLOOD));
    for verb in ["explore", "fences"] {
        let said = folder.run(&format!("{verb} flood.elf --time 1")).exits_with(3);
        assert_eq!(said.stdout, "", "{said:?}");
        for words in ["no answer: `flood.elf`", "after 1 s", "raise --time", "--whole"] {
            assert!(said.stderr.contains(words), "{said:?}");
        }
        let report = folder.run(&format!("{verb} flood.elf --time 1 --json")).exits_with(3).json();
        assert!(report["no_answer"].as_str().is_some_and(|reason| reason.contains("after 1 s")), "{report}");
    }
}

#[test]
fn a_guest_that_ends_before_its_mark_is_refused() {
    let folder = Folder::new().with("halt.elf", &Elf::default().file(HALT));
    let said = folder.run("explore halt.elf --time 60").exits_with(2);
    assert!(said.stderr.contains("`halt.elf` has no region to explore"), "{said:?}");
}

#[test]
fn a_guest_without_a_region_is_told_by_its_last_words() {
    let said = Folder::new().run("explore dekker --cores 1").exits_with(2);
    assert!(
        said.stderr.contains("exited with code 101")
            && said.stderr.contains("and last said `this program is written for 2 cores, not 1`"),
        "{said:?}"
    );
}

#[test]
fn what_a_strategy_does_not_listen_to_is_refused() {
    let folder = Folder::new();
    for (options, words) in [
        ("--bound 3", ["--bound is for --strategy bounded and pct", "nothing to exhaustive"]),
        ("--runs 5", ["--runs is for --strategy pct and random", "nothing to exhaustive"]),
        ("--seed 1 --strategy bounded", ["--seed is for --strategy pct and random", "nothing to bounded"]),
        ("--bound 3 --strategy random", ["--bound is for", "nothing to random"]),
        ("--strategy pct --bound 0", ["pct", "1 or more"]),
    ] {
        let said = folder.run(&format!("explore store-buffering {options}")).exits_with(2);
        assert!(words.iter().all(|words| said.stderr.contains(words)), "{options}: {said:?}");
    }
    folder.run("explore store-buffering --strategy pct --bound 2 --runs 20 --seed 3").exits_with(1);
    folder.run("explore store-buffering --strategy bounded --bound 0").exits_with(1);
}

#[test]
fn fences_with_a_bound_reached_exit_with_3_and_claim_nothing() {
    let folder = Folder::new();
    let said = folder.run("fences dekker/mfence --max-states 1 --time 60").exits_with(3);
    assert!(said.stdout.starts_with("tso: no answer") && !said.stdout.contains("right as it is"), "{said:?}");
    assert!(said.stdout.contains("there are more states than allowed"), "{said:?}");
    folder.run("fences dekker --time 60").exits_with(1);
}

#[test]
fn help_says_the_defaults_of_each_verb() {
    let folder = Folder::new();
    for (verb, depth, has_runs) in
        [("run", "[default: 8]", true), ("explore", "[default: 128]", false), ("fences", "[default: 128]", false)]
    {
        let help = folder.run(&format!("{verb} --help")).exits_with(0).stdout;
        let after = |flag: &str| help.split(flag).nth(1).map_or("", |rest| rest.split("--").next().unwrap_or(rest));
        assert!(after("--depth <N>").contains(depth) && after("--wc-depth <N>").contains(depth), "{verb}: {help}");
        assert_eq!(help.contains("With --runs it may be a list"), has_runs, "{verb}: {help}");
    }
}

#[test]
fn cores_that_only_go_round_are_told_by_where_they_are() {
    let folder = Folder::new().with("loop.elf", &Elf::default().file(LOOP));
    let said = folder.run("explore loop.elf --whole").exits_with(1);
    for words in [
        "tso: complete, 1 state, 1 execution, ",
        "all cores entered, 0 shared accesses",
        "comes about under sc, too, so that no fence helps",
        "(0 context switches, as few as there can be, and 0 delayed drains)",
        "Nothing that one core does and another could see leads there.",
        "For ever from then on:\n      core 0 at 0x100000  jmp",
        "\n      core 1 at 0x100000  jmp",
    ] {
        assert!(said.stdout.contains(words), "no `{words}` in {}", said.stdout);
    }
    let told = &folder.run("explore loop.elf --whole --json").exits_with(1).json()["models"][0]["told"];
    assert_eq!((&told["stuck"][1]["core"], &told["stuck"][1]["pc"]), (&1.into(), &0x10_0000.into()));
}

#[test]
fn rounds_of_a_core_that_waits_are_told_once() {
    let folder = Folder::new().with("wait.elf", &Elf::default().file(WAIT));
    let said = folder.run("explore wait.elf --whole").exits_with(1);
    assert!(said.stdout.contains("(deadlock: core 0 at 0x100000, core 1 at 0x100000)"), "{said:?}");
    assert!(said.stdout.contains("more rounds of the same, up to row"), "{said:?}");
    assert!(said.stdout.lines().count() < 25, "{said:?}");
}

#[test]
fn what_is_saved_can_be_replayed_even_of_a_guest_that_never_ends() {
    let folder = Folder::new().with("never.elf", &Elf::default().file(REGION_THEN_LOOP));
    let said = folder.run("explore never.elf --save saved").exits_with(1);
    for words in [
        "(livelock: behind the region, core 0 at 0x100006, core 1 at 0x100006)",
        "given up after ",
        " steps; core 0 is at 0x100008, core 1 is at 0x100008",
    ] {
        assert!(said.stdout.contains(words), "no `{words}` in {said:?}");
    }
    let replay = "explore never.elf --strategy replay --schedule saved/never-tso-1.schedule";
    assert!(said.stdout.contains(replay), "{said:?}");
    let replayed = folder.run(replay).exits_with(1);
    assert!(replayed.stdout.contains("(livelock: behind the region, "), "{replayed:?}");
}

#[test]
fn what_the_decisive_step_rules_out_is_said_as_it_is() {
    let folder = Folder::new();
    let said = folder.run("explore store-buffering").exits_with(1);
    assert!(said.stdout.contains("^ from here on a violation cannot be avoided"), "{said:?}");
    let said = folder.run_words(&["explore", "store-buffering", "--explain", "r0=0 r1=1"]).exits_with(1);
    assert!(said.stdout.contains("^ from here on no other outcome can be reached that is no violation"), "{said:?}");
}

#[test]
fn of_a_long_store_buffer_both_ends_are_told() {
    // mov dword [0x180000 + 4 * index], 1
    let store = |index: u8| [0xc7, 0x04, 0x25, 4 * index, 0x00, 0x18, 0x00, 0x01, 0x00, 0x00, 0x00];
    let code: Vec<u8> = (0..12).flat_map(store).chain(HALT.iter().copied()).collect();
    let folder = Folder::new().with("stores.elf", &Elf::default().file(&code));
    let outcome = "(every core halted, no outcome)";
    let said = folder.run_words(&["explore", "stores.elf", "--whole", "--explain", outcome]).exits_with(0);
    assert!(said.stdout.contains("0x18000c=1 ... 4 more ... 0x180020=1"), "{said:?}");
}

#[test]
fn an_interrupt_is_told_with_what_it_comes_into_and_what_its_handler_does() {
    let folder = Folder::new();
    let said = folder.run("explore irq-lost-wakeup").exits_with(1);
    let story = [
        "HAPPENED is 0",
        "hlt\n        an interrupt comes before it: the handler is entered",
        "HAPPENED = 1\n",
        "iretq\n        the handler has ended",
    ];
    let places: Vec<_> = story.iter().map(|part| said.stdout.find(part)).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{said:?}");
    let told = &folder.run("explore irq-lost-wakeup --json").exits_with(1).json()["models"][0]["told"];
    let rows = told["rows"].as_array().expect("rows");
    for (effect, instruction) in [("interrupt", "hlt"), ("return", "iretq")] {
        let is = |it: &serde_json::Value| it["effect"] == effect;
        let has = |row: &&serde_json::Value| row["effects"].as_array().is_some_and(|effects| effects.iter().any(is));
        let row = rows.iter().find(has).expect("it is told");
        assert_eq!(row["instruction"], instruction);
    }
}

#[test]
fn a_fault_is_told_with_its_cause() {
    let folder = Folder::new().with("fault.elf", &Elf::default().file(FAULT));
    let said = folder.run("explore fault.elf --whole").exits_with(1);
    for words in ["\n  (fault at 0x100001): invalid opcode (#UD)", "faults: invalid opcode (#UD)"] {
        assert!(said.stdout.contains(words), "no `{words}` in {said:?}");
    }
}

#[test]
fn explore_and_fences_give_the_same_reasons_for_no_answer() {
    let folder = Folder::new().with("time.elf", &Elf::default().file(TIME));
    let reasons = ["explore", "fences"].map(|verb| {
        let said = folder.run(&format!("{verb} time.elf --whole")).exits_with(3);
        said.stdout.lines().filter(|line| line.contains("cut off")).map(str::to_owned).collect::<Vec<_>>()
    });
    assert_eq!(reasons[0], reasons[1]);
    let of_cores = [0, 1].map(|core| format!("  cut off: core {core} reads the time at 0x100000, rdtsc"));
    assert_eq!(reasons[0], of_cores);
}

#[test]
fn explore_and_fences_agree_that_cores_which_go_round_behind_the_region_are_wrong() {
    let folder = Folder::new().with("never.elf", &Elf::default().file(REGION_THEN_LOOP));
    for verb in ["explore", "fences"] {
        folder.run(&format!("{verb} never.elf")).exits_with(1);
    }
}

#[test]
fn nothing_is_said_to_be_right_where_there_is_nothing_to_see() {
    let region = [0x66, 0x87, 0xdb, 0x66, 0x87, 0xc9];
    let exchanged = [0x66, 0x87, 0xc9, 0x66, 0x87, 0xdb];
    let guest = |marks: [u8; 6]| Elf::default().file(&[&marks, HALT].concat());
    let folder = Folder::new().with("empty.elf", &guest(region)).with("exchanged.elf", &guest(exchanged));
    for verb in ["explore", "fences"] {
        let empty = folder.run(&format!("{verb} empty.elf")).exits_with(3);
        assert!(empty.stdout.contains("no memory is shared there; let `xchg bx, bx` stand before"), "{empty:?}");
        let exchanged = folder.run(&format!("{verb} exchanged.elf")).exits_with(3);
        assert!(exchanged.stderr.contains("core 0 has come to the mark `xchg cx, cx`"), "{exchanged:?}");
    }
}

#[test]
fn the_command_beside_a_hang_confirms_it() {
    let folder = Folder::new().with("wait.elf", &Elf::default().file(WAIT));
    let said = folder.run("explore wait.elf --whole --save saved").exits_with(1);
    let command = "explore wait.elf --whole --strategy replay --schedule saved/wait-tso-1.schedule";
    assert!(said.stdout.contains(&format!("fencepost {command}")), "{said:?}");
    let confirmed = folder.run(command).exits_with(1);
    assert!(confirmed.stdout.contains("(deadlock: core 0 at 0x100000, core 1 at 0x100000)"), "{confirmed:?}");
    let run = folder.run("run wait.elf --schedule saved/wait-tso-1.schedule").exits_with(0);
    let hint = "fencepost explore wait.elf --strategy replay --schedule saved/wait-tso-1.schedule";
    assert!(run.stderr.contains(hint), "{run:?}");
}

#[test]
fn a_misspelt_outcome_does_not_cost_the_report() {
    let folder = Folder::new();
    let said = folder.run("explore store-buffering/mfence --explain r0=7").exits_with(2);
    assert!(said.stdout.starts_with("tso: complete") && said.stderr.contains("no outcome `r0=7`"), "{said:?}");
    let said = folder.run("explore store-buffering/mfence --dot graph.dot --json").exits_with(2);
    assert!(said.stderr.contains("there is no violation to draw"), "{said:?}");
    assert_eq!(said.json()["models"][0]["complete"], true);
}

/// Store buffering with `fences` between each core's store and load, at 0x10000f in core 0's code.
fn store_buffering(fences: &[u8]) -> Vec<u8> {
    // Core 0: mov [0x180000], 1; fences; mov eax, [0x180040]. Core 1: the same with the words exchanged.
    let side = |mine: u8, theirs: u8| {
        let store = [0xc7, 0x04, 0x25, mine, 0x00, 0x18, 0x00, 0x01, 0x00, 0x00, 0x00];
        let load = [0x8b, 0x04, 0x25, theirs, 0x00, 0x18, 0x00];
        [store.as_slice(), fences, &load, b"\xeb"].concat()
    };
    let (one, other) = (side(0x00, 0x40), side(0x40, 0x00));
    // test edi, edi; jnz other; one; jmp out; other; jmp out; out: lock add [0x180080], eax; lock inc dword [0x1800c0];
    // again: cmp dword [0x1800c0], 2; jne again; cmp dword [0x180080], 0; sete al; out 0xf4, al
    let length = one.len() as u8 + 1;
    let out = b"\xf0\x01\x04\x25\x80\x00\x18\x00\xf0\xff\x04\x25\xc0\x00\x18\x00\
        \x83\x3c\x25\xc0\x00\x18\x00\x02\x75\xf6\x83\x3c\x25\x80\x00\x18\x00\x00\x0f\x94\xc0\xe6\xf4";
    [b"\x85\xff\x75", [length].as_slice(), &one, &[length], &other, &[0], out].concat()
}

#[test]
fn fences_of_which_either_can_go_are_said_to_be_so() {
    let code = store_buffering(b"\x0f\xae\xf0\x0f\xae\xf0");
    let folder = Folder::new().with("twice.elf", &Elf::default().file(&code));
    let said = folder.run("fences twice.elf --whole").exits_with(0);
    assert!(said.stdout.contains("right as it is"), "{said:?}");
    for words in ["  not needed: 0x10000f  mfence", "once those are gone, though not before: ", "can go at once."] {
        assert!(said.stdout.contains(words), "no `{words}` in {said:?}");
    }
}

#[test]
fn fences_judges_what_compilers_make_of_a_fence() {
    let code = store_buffering(b"\xf0\x48\x83\x0c\x24\x00");
    let folder = Folder::new()
        .with("compiled.elf", &Elf::default().file(&code))
        .with("bare.elf", &Elf::default().file(&store_buffering(b"")));
    let said = folder.run("fences compiled.elf --whole").exits_with(0);
    assert!(said.stdout.contains("  needed: 0x10000f  lock or qword [rsp],0\n"), "{said:?}");
    let said = folder.run("fences bare.elf --whole").exits_with(1);
    assert!(said.stdout.contains("`mfence` before 0x10000f  mov eax,[0x180040]\n"), "{said:?}");
    let report = folder.run("fences compiled.elf --whole --json").exits_with(0).json();
    assert_eq!(report[0]["kinds"]["1048591"], "locked-nothing", "{report}");
}

#[test]
fn fences_says_what_to_write_in_the_words_of_the_source() {
    let folder = Folder::new();
    let said = folder.run("fences store-buffering --time 60").exits_with(1);
    let is_told = |line: &str| {
        line.trim().starts_with("`fence(SeqCst)` before line ") && line.contains(" of store-buffering.rs  mov ")
    };
    assert!(said.stdout.lines().any(is_told), "{said:?}");
    let said = folder.run("fences store-buffering/mfence --time 60").exits_with(0);
    assert!(said.stdout.contains("  needed: `fence(SeqCst)` at line "), "{said:?}");
    let said = folder.run("fences irq-lost-wakeup --time 60").exits_with(1);
    assert!(said.stdout.contains("No fence helps: it goes wrong under sc, too"), "{said:?}");
}
