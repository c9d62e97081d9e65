//! `fencepost litmus` with files that are no litmus tests: exit code 2, and a message with file, line and column.

use super::fencepost::Folder;

/// A test around `$`, which each case replaces: what it is replaced by, what the message says, and the line and column.
const CELLS: &[(&str, &str, &str)] = &[
    ("movk $1,(x)", "there is no instruction `movk`", "4:2"),
    ("movq $1,%rzx", "there is no register `%rzx`", "4:2"),
    ("movq $1,%eax", "no encoding of this instruction takes these operands", "4:2"),
    ("movq $1", "no encoding of this instruction takes these operands", "4:2"),
    ("mov $1,(x)", "nothing says how wide this access is", "4:2"),
    ("lock movq $1,(x)", "takes no LOCK prefix", "4:2"),
    ("lock incq %rax", "takes no LOCK prefix", "4:2"),
    ("lock mfence", "takes no LOCK prefix", "4:2"),
    ("jmp L7", "there is no label `L7` in this thread", "4:2"),
    ("L0: L0: nop", "the label `L0` is there twice", "4:10"),
    ("movq $99999999999999999999,(x)", "is not an operand", "4:2"),
    ("movq 5(0x7fffffffffffffff),%rax", "is not an operand", "4:2"),
    ("movq $1,(x) | nop | nop", "the table has 2 columns, this row has 4", "4:22"),
    ("movq $1,(x) | nop", "the table has 2 columns, this row has 3", "4:22"),
    ("movq $1,(x) ;\n ", "the table has 2 columns, this row has 1", "4:2"),
    (";", "the table has 2 columns, this row has 1", "4:2"),
    ("lock ;", "there is no instruction ``", "4:2"),
    ("lock mfence ; nop", "this row has 1", "4:2"),
    ("xchgq (x),(x)", "no encoding of this instruction takes these operands", "4:2"),
    ("lock xchgq %rax,%rbx", "takes no LOCK prefix", "4:2"),
    ("lock testq (x),%rax", "takes no LOCK prefix", "4:2"),
    ("cmpq (x),8", "no encoding of this instruction takes these operands", "4:2"),
    ("xchg %cx,%cx", "marks the explored region of a guest", "4:2"),
    ("XCHGW %BX,%BX", "marks the explored region of a guest", "4:2"),
    ("movq 8(%rip),%rax", "only with a variable, `x(%rip)`, is it a place", "4:2"),
    ("movq x(%rip,%rbx),%rax", "with RIP there is no other register", "4:2"),
    ("movq [rip],%rax", "only with a variable", "4:2"),
    ("movq %fs:(x),%rax", "FS and GS have bases of their own", "4:2"),
    ("movq gs:8(%rbx),%rax", "FS and GS have bases of their own", "4:2"),
    ("movq %zs:(x),%rax", "is not an operand", "4:2"),
    ("movq (%rax,%rbx,3),%rcx", "a scale is 1, 2, 4 or 8", "4:2"),
    ("movq (),%rax", "`()` is not an operand", "4:2"),
    ("movq [],%rax", "`[]` is not an operand", "4:2"),
    ("movq x(8),%rax", "`x(8)` is not an operand", "4:2"),
    ("movq x(y),%rax", "`x(y)` is not an operand", "4:2"),
    ("movq (xmm0),%rax", "`(xmm0)` is not an operand", "4:2"),
    ("movq $0x+5,%rax", "`$0x+5` is not an operand", "4:2"),
    ("movq $1,%%rax", "there is no register `%%rax`", "4:2"),
    ("movzx (x),%eax", "write `movzbl` or `movzwl`", "4:2"),
    ("movsx (x),%rax", "write `movsbl` or `movswl`", "4:2"),
    ("movzbl (x),%rax", "no encoding of this instruction takes these operands", "4:2"),
    ("movzwl %al,%eax", "no encoding of this instruction takes these operands", "4:2"),
    ("push (x)", "write `pushq`", "4:2"),
];

/// Whole files, what the message says, and the line and column.
const FILES: &[(&str, &str, &str)] = &[
    ("", "the first line begins with ``", "1:1"),
    ("ARM A\n{}\nP0;\nexists (x=0)", "the first line begins with `ARM`", "1:1"),
    ("X86_64\n{}\nP0;\nexists (x=0)", "the test has no name", "1:1"),
    ("X86_64 A\nwords\n{}\nP0;\nexists (x=0)", "neither a header line nor the initial state", "2:1"),
    ("X86_64 A\n", "the file ends before the initial state", "1:10"),
    ("X86_64 A\n{ x=1;\nP0;\n nop;\nexists (x=0)", "this brace is not closed", "2:1"),
    ("X86_64 A\n{ int x[2]={1,2; }\nP0;\nnop;\nexists (x=0)", "this brace is not closed", "2:1"),
    ("X86_64 A\n(* (* *)\n{}\nP0;\nexists (x=0)", "this comment does not end", "2:1"),
    ("X86_64 A\n{ float x; }\nP0;\nexists (x=0)", "`float` is not a type", "2:3"),
    ("X86_64 A\n{ uint8_t x=256; }\nP0;\nexists (x=0)", "256 is more than a variable of 8 bits can hold", "2:3"),
    ("X86_64 A\n{ int x=-2147483649; }\nP0;\nexists (x=0)", "-2147483649 is more than a variable of 32", "2:3"),
    ("X86_64 A\n{ x=1; x=2; }\nP0;\nexists (x=0)", "`[x]` has been given a value before", "2:8"),
    ("X86_64 A\n{ x=99999999999999999999999; }\nP0;\nexists (x=0)", "does not fit 64 bits", "2:3"),
    ("X86_64 A\n{ 0:rax=1; 0:eax=2; }\nP0;\nnop;\nexists (x=0)", "`0:eax` has been given a value before", "2:12"),
    ("X86_64 A\n{ int x; long x; }\nP0;\nnop;\nexists (x=0)", "declared with another type before", "2:10"),
    ("X86_64 A\n{ int x[2]; int x[3]; }\nP0;\nnop;\nexists (x=0)", "declared with another type before", "2:13"),
    ("X86_64 A\n{ eax=1; }\nP0;\nnop;\nexists (x=0)", "`eax` is a register: no variable has its name", "2:3"),
    ("X86_64 A\n{ 0:al=256; }\nP0;\nnop;\nexists (x=0)", "256 is more than a variable of 8 bits can hold", "2:3"),
    ("X86_64 A\n{ short x=y; }\nP0;\nnop;\nexists (x=0)", "the address of `y` is more than", "2:3"),
    ("X86_64 A\n{ x=4294967296; }\nP0;\nmovl $1,(x);\nexists (x=0)", "has 32 bits and cannot hold 4294967296", "2:3"),
    ("X86_64 A\n{ x=&&y; }\nP0;\nnop;\nexists (x=0)", "neither a number nor a variable", "2:3"),
    ("X86_64 A\n{ PP0:rax=1; }\nP0;\nnop;\nexists (x=0)", "does not begin with the number of a thread", "2:3"),
    ("X86_64 A\n{ x=y+1; }\nP0;\nexists (x=0)", "neither a number nor a variable", "2:3"),
    ("X86_64 A\n{ 0:xyz=1; }\nP0;\nexists (x=0)", "there is no register `xyz`", "2:3"),
    ("X86_64 A\n{ 2:rax=1; }\nP0;\nnop;\nexists (x=0)", "there is no thread P2; the table has 1", "2:3"),
    ("X86_64 A\n{ int x[0]; }\nP0;\nexists (x=0)", "an array has from 1 to 4096 elements", "2:3"),
    ("X86_64 A\n{ int x[2]={1,2,3}; }\nP0;\nexists (x=0)", "3 values for an array of 2", "2:3"),
    ("X86_64 A\n{}\nP0 | P2;\nnop | nop;\nexists (x=0)", "expected P1, found `P2`", "3:6"),
    ("X86_64 A\n{}\nP0;\n movq $1,(x)\nexists (x=0)", "expected a row of the table, or a condition", "4:2"),
    ("X86_64 A\n{}\nP0;\n nop;\n", "expected a row of the table, or a condition", "4:7"),
    ("X86_64 A\n{}\nP0;\n nop;\nlocations [x\nexists (x=0)", "this list of locations does not end", "5:12"),
    ("X86_64 A\n{}\nP0;\n nop;\nexists (x=0", "expected `)`", "5:12"),
    ("X86_64 A\n{}\nP0;\n nop;\nexists (x)", "expected PLACE=VALUE", "5:9"),
    ("X86_64 A\n{}\nP0;\n nop;\nexists (x=y)", "`y` is not a number", "5:11"),
    ("X86_64 A\n{}\nP0;\n nop;\nexists (x=0) x", "expected the end of the file", "5:14"),
    ("X86_64 A\n{}\nP0;\n nop;\nexists (0:al=257)", "`0:al` has 8 bits and never holds 257", "5:1"),
    ("X86_64 A\n{}\nP0;\n nop;\nforall (x=0 /\\ x=4294967296 \\/ y=0)", "`[x]` has 32 bits and never holds", "5:1"),
    ("X86_64 A\n{}\nP0;\n nop;\nexists (x=0)\nexists (y=0)", "expected the end of the file", "6:1"),
    ("X86_64 A\n{}\nP0;\n nop;\nfilter (x=0)\nexists (y=0)", "final states are not filtered here", "5:1"),
    ("X86_64 A\n{}\nP0;\n nop;\nexists (0:rip=0)", "there is no register `rip`", "5:9"),
    ("X86_64 A\n{}\nP0;\n nop;\nexists (rax=0)", "`rax` is a register: no variable has its name", "5:9"),
    ("X86_64 A\n{}\nP0;\n nop;\nexists (1:rax=0)", "there is no thread P1; the table has 1", "5:9"),
    ("X86_64 A\n{}\nP0;\n nop;\nexists (0:ah=0)", "there is no register `ah`", "5:9"),
    ("X86_64 A\n{ int x[2]; }\nP0;\n nop;\nexists (x[2]=0)", "`x` is an array of 2: there is no `x[2]`", "5:9"),
    ("X86_64 A\n{}\nP0;\n nop;\nexists (x=0 /\\ x=1)", "no state can satisfy this condition", "5:8"),
    ("X86_64 A\n{}\nP0;\n nop;\nexists (x=0 /\\ not (x=0))", "no state can satisfy this condition", "5:8"),
];

#[test]
fn malformed_instructions_are_refused_with_their_place() {
    for (cell, problem, place) in CELLS {
        let text = format!("X86_64 A\n{{ uint64_t x; }}\n P0 | P1 ;\n {cell} | ;\nexists (x=0)\n");
        is_refused(text.as_bytes(), problem, place);
    }
}

#[test]
fn malformed_files_are_refused_with_the_place() {
    for (text, problem, place) in FILES {
        is_refused(text.as_bytes(), problem, place);
    }
}

#[test]
fn tests_too_large_to_be_any_are_refused_at_once() {
    let around = |init: &str, code: &str, condition: &str| {
        format!("X86_64 A\n{{ {init} }}\nP0;\n{code}\nexists ({condition}x=0)\n").into_bytes()
    };
    let many: String = (0..5000).map(|number| format!("x{number}=1;")).collect();
    is_refused(&around(&many, "nop;", ""), "more than 4096 initial values", "2:");
    is_refused(&around(&"int x[4096];".repeat(2), "nop;", ""), "more than 4096 initial values", "2:");
    is_refused(&around("", &"nop;".repeat(1001), ""), "a thread has more than 1000 instructions", "4:");
    is_refused(&around("", "nop;", &"x=0 /\\ ".repeat(5000)), "more than 4096 parts", "5:");
    is_refused(&around("", "nop;", &"(".repeat(5000)), "nested too deeply", "5:");
    is_refused(&around("", "nop;", &"not ".repeat(5000)), "nested too deeply", "5:");
}

#[test]
fn a_condition_with_very_many_ways_to_hold_is_answered() {
    let condition = "(x=0 \\/ y=0) /\\ ".repeat(2000);
    let text = format!("X86_64 A\n{{}}\nP0;\nnop;\nexists ({condition}x=0)\n");
    Folder::new().with("a.litmus", text.as_bytes()).run("litmus a.litmus").exits_with(0);
}

#[test]
fn a_test_may_have_a_bound_of_time() {
    let text = b"X86_64 good\n{}\nP0;\nmovq $1,(x);\nforall (x=1)\n";
    Folder::new().with("a.litmus", text).run("litmus a.litmus --time 60").exits_with(0);
}

#[test]
fn what_is_no_file_of_text_is_refused_by_name() {
    let folder = Folder::new().with("noise.litmus", b"X86_64 A\n\xff\xfe").with("long.litmus", &[b' '; 70_000]);
    std::fs::create_dir(folder.path().join("empty")).expect("the folder can be written");
    for (argument, problem) in [
        ("noise.litmus", "it is not text: line 2, column 1 is no UTF-8"),
        ("long.litmus", "it is too long for a litmus test"),
        ("empty", "there is no *.litmus file in `empty`"),
        ("none.litmus", "No such file"),
        ("none/", "No such file"),
    ] {
        let said = folder.run(&format!("litmus {argument}")).exits_with(2);
        assert!(said.stderr.contains(problem) && said.stderr.contains(argument), "{argument}: {}", said.stderr);
        assert_eq!(said.stdout, "");
    }
}

#[test]
fn one_malformed_file_does_not_hide_the_others() {
    let good = b"X86_64 good\n{}\nP0;\nmovq $1,(x);\nforall (x=1)\n";
    let folder =
        Folder::new().with("bad.litmus", b"X86_64 bad\n{}\nP0;\nmovk;\nexists (x=1)\n").with("good.litmus", good);
    let said = folder.run("litmus bad.litmus good.litmus").exits_with(2);
    assert!(said.stdout.contains("Test good Required (tso)"), "{said:?}");
    assert!(said.stderr.contains("1 of 2 files are no litmus tests"), "{said:?}");
}

/// A test that holds.
const GOOD: &[u8] = b"X86_64 good\n{}\nP0;\nmovq $1,(x);\nforall (x=1)\n";

#[test]
fn files_that_are_no_tests_do_not_keep_the_rest_of_their_folder_from_being_explored() {
    let folder = Folder::new();
    for (name, content) in [
        ("a-noise", &b"X86_64 A\n\xff\xfe"[..]),
        ("b-bad", b"X86_64 bad\n{}\nP0;\nmovk;\nexists (x=1)\n"),
        ("c-long", &[b' '; 70_000]),
        ("d-good", GOOD),
    ] {
        std::fs::create_dir_all(folder.path().join("tests/in")).expect("the folder can be written");
        std::fs::write(folder.path().join(format!("tests/in/{name}.litmus")), content).expect("it can be written");
    }
    #[cfg(unix)]
    std::os::unix::fs::symlink("nowhere", folder.path().join("tests/e-gone.litmus")).expect("links can be made");
    let said = folder.run("litmus tests").exits_with(2);
    assert!(said.stdout.contains("Test good Required (tso)"), "{said:?}");
    for words in ["`in/a-noise.litmus`: it is not text", "in/b-bad.litmus:4:1", "`in/c-long.litmus`: it is too long"] {
        assert!(said.stderr.contains(words), "no `{words}` in {}", said.stderr);
    }
    #[cfg(unix)]
    assert!(
        said.stderr.contains("`e-gone.litmus`: it cannot be read") && said.stderr.contains("4 of 5 files"),
        "{said:?}"
    );
}

#[test]
fn what_is_expected_is_found_by_its_path_in_the_folder() {
    let folder = Folder::new().with("good.litmus", GOOD);
    let expect = |path: &str| {
        let row = format!(r#"{{"path":"{path}","tso":{{"observation":"Always","states":["[x]=1;"]}}}}"#);
        std::fs::write(folder.path().join("expected.jsonl"), row).expect("it can be written");
        folder.run("litmus . --expect expected.jsonl")
    };
    let said = expect("good.litmus").exits_with(0);
    assert!(said.stderr.contains("1 set of final states explored, all as expected"), "{said:?}");
    let said = expect("tests/good.litmus").exits_with(1);
    for words in [
        "good.litmus tso: nothing is expected of it",
        "tests/good.litmus: expected, but no such test is given (paths are relative to the folder that is given)",
        "2 differences from what is expected",
    ] {
        assert!(said.stderr.contains(words), "no `{words}` in {}", said.stderr);
    }
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_test() {
    let text = "\u{feff}X86_64 marked\n{}\nP0;\nnop;\nexists (x=0)\n";
    Folder::new().with("a.litmus", text.as_bytes()).run("litmus a.litmus").exits_with(0);
}

#[test]
fn a_thread_that_faults_is_a_violation() {
    let text = "X86_64 faults\n{}\nP0;\nud2;\nforall (x=0)\n";
    let said = Folder::new().with("a.litmus", text.as_bytes()).run("litmus a.litmus").exits_with(1);
    assert!(said.stdout.contains("invalid opcode") && said.stdout.contains("\nNo\n"), "{said:?}");
}

#[test]
fn a_test_that_may_wait_for_ever_says_so() {
    let text = "X86_64 waits\n{}\nP0 | P1 ;\nL:|movl $1,(x);\nmovl (x),%eax|movl $2,(x);\ncmpl $1,%eax|;\njne L|;\n\
                exists (0:rax=1)\n";
    let folder = Folder::new().with("waits.litmus", text.as_bytes());
    let said = folder.run("litmus waits.litmus").exits_with(0);
    assert!(said.stdout.contains("Hang: in some orders of steps a thread waits for ever"), "{said:?}");
    let said = folder.run("litmus waits.litmus --json").exits_with(0);
    assert!(said.stdout.contains("\"hangs\":true"), "{said:?}");
}

#[test]
fn an_image_knows_what_its_test_forbids_and_where_fences_belong() {
    let test = |fence: &str| {
        format!(
            "X86_64 forbidden\n{{}}\nP0 | P1 ;\nmovl $1,(x) | movl $1,(y) ;\n{fence}\nmovl (y),%eax | movl (x),%eax ;\n\
             ~exists (0:eax=0 /\\ 1:eax=0)\n"
        )
    };
    let folder = Folder::new().with("broken.litmus", test("").as_bytes());
    folder.run("litmus broken.litmus --emit-elf .").exits_with(1);
    let said = folder.run("explore forbidden.elf --cores 2").exits_with(1);
    let violation = said.stdout.lines().find(|line| line.contains("VIOLATION")).expect("one is found");
    assert!(violation.starts_with("0:eax=0; 1:eax=0; "), "{said:?}");
    folder.run("explore forbidden.elf --cores 2 --model sc").exits_with(0);
    folder.run("run forbidden.elf --schedule forbidden-tso-1.schedule").exits_with(1);
    let said = folder.run("fences forbidden.elf --cores 2").exits_with(1);
    let places: Vec<&str> = said.stdout.lines().filter(|line| line.contains("mfence")).collect();
    assert!(places.len() == 2 && places.iter().all(|place| place.contains("mov eax,[")), "{said:?}");

    let folder = Folder::new().with("mended.litmus", test("mfence | mfence ;").as_bytes());
    folder.run("litmus mended.litmus --emit-elf .").exits_with(0);
    folder.run("explore forbidden.elf --cores 2").exits_with(0);
}

#[test]
fn a_witness_of_an_exists_is_marked_in_an_image_and_no_violation() {
    let text = "X86_64 seen\n{}\nP0 | P1 ;\nmovl $1,(x) | movl (x),%eax ;\nexists (1:eax=1)\n";
    let folder = Folder::new().with("a.litmus", text.as_bytes());
    folder.run("litmus a.litmus --emit-elf .").exits_with(0);
    let said = folder.run("explore seen.elf --cores 2").exits_with(0);
    assert!(said.stdout.contains("\n1:eax=1; (exists) ") && said.stdout.contains("\n1:eax=0;  "), "{said:?}");
}

/// Fails unless `text` is refused as `a.litmus` with this problem at `LINE:COLUMN`.
fn is_refused(text: &[u8], problem: &str, place: &str) {
    let folder = Folder::new().with("a.litmus", text);
    let said = folder.run("litmus a.litmus");
    let shown = String::from_utf8_lossy(&text[..text.len().min(200)]);
    assert_eq!(said.code, 2, "{shown}\n{}", said.stderr);
    assert_eq!(said.stdout, "", "{shown}");
    for words in [problem, &format!("a.litmus:{place}"), "1 of 1 files are no litmus tests"] {
        assert!(said.stderr.contains(words), "no `{words}` in the message about\n{shown}\n{}", said.stderr);
    }
}
