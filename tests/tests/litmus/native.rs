//! The host's processors as a second opinion: what they show must be among what exploration finds.
//!
//! Each test of two threads is turned into an assembler file and run natively by a small C program, ten million rounds on two
//! processors: `cargo test --release -p fencepost-tests --test litmus -- --ignored --nocapture host_shows`. Nothing is said about outcomes that do not show: a processor need not do all that it may.

use super::suite::{Ours, ours, outcomes};
use fencepost::explorer::Limits;
use fencepost::litmus::Pool;
use fencepost::litmus::test::{Dialect, Place, Test, Value};
use fencepost::memory_model::MemoryModel;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

/// Rounds of each test, unless the variable `FENCEPOST_ROUNDS` says otherwise.
const ROUNDS: u64 = 10_000_000;

/// The registers that a thread may use, in the order in which they are saved.
const REGISTERS: [&str; 15] =
    ["rax", "rcx", "rdx", "rbx", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"];

#[test]
#[ignore = "runs for minutes, and needs gcc and two processors to itself: by hand"]
fn what_the_host_shows_is_among_what_is_explored() {
    let folder = std::env::temp_dir().join(format!("fencepost-native-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder can be made");
    let mut pool = Pool::new();
    let (mut wrong, mut run) = (Vec::new(), 0);
    for Ours { path, test, .. } in ours().iter().filter(|ours| is_suitable(&ours.test)) {
        let seen = natively(test, &folder);
        let (_, explored) = outcomes(&mut pool, test, &Limits::default())
            .into_iter()
            .find(|(model, _)| *model == MemoryModel::TSO)
            .expect("every model is explored");
        let unexplained: Vec<&String> = seen.iter().filter(|state| !explored.states.contains(state)).collect();
        println!("{path}: {} of {} states seen", seen.len(), explored.states.len());
        if !unexplained.is_empty() {
            wrong.push(format!("{path}: {unexplained:?}"));
        }
        run += 1;
    }
    std::fs::remove_dir_all(&folder).expect("the folder was made here");
    assert!(run >= 50, "only {run} tests could be run natively");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn rounds() -> u64 {
    std::env::var("FENCEPOST_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(ROUNDS)
}

/// Two threads, in the assembler's own dialect, no loops that could wait for ever, nothing but variables and registers.
fn is_suitable(test: &Test) -> bool {
    let is_plain = |place: &Place| matches!(place, Place::Register(..) | Place::Variable(_));
    let mut all_plain = test.locations.iter().all(is_plain);
    test.condition.places(&mut |place| all_plain &= is_plain(place));
    let values = || test.init.iter().flat_map(|init| &init.values);
    test.dialect == Dialect::X86_64
        && test.threads.len() == 2
        && all_plain
        && test.init.iter().all(|init| is_plain(&init.place) && init.values.len() == 1)
        && values().all(|value| matches!(value, Value::Number(_)))
        && test.threads.iter().flatten().all(|line| line.labels.is_empty() && !line.text.contains("ret"))
}

/// The states that show in [`ROUNDS`] rounds.
fn natively(test: &Test, folder: &Path) -> BTreeSet<String> {
    std::fs::write(folder.join("threads.s"), assembler(test)).expect("the folder can be written to");
    std::fs::write(folder.join("main.c"), driver(test)).expect("the folder can be written to");
    let gcc = Command::new("gcc")
        .args(["-O2", "-pthread", "-no-pie", "-w", "-o", "run", "main.c", "threads.s"])
        .current_dir(folder)
        .output()
        .expect("gcc is there");
    assert!(gcc.status.success(), "{}: {}", test.name, String::from_utf8_lossy(&gcc.stderr));
    let output = Command::new(folder.join("run")).output().expect("the program runs");
    assert!(output.status.success(), "{}: {:?}", test.name, output.status);
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// Registers and variables in the order in which herd shows them.
fn observed(test: &Test) -> BTreeSet<Place> {
    let mut places: BTreeSet<Place> = test.locations.iter().cloned().collect();
    test.condition.places(&mut |place| _ = places.insert(place.clone()));
    places
}

/// Every variable that the test names.
fn variables(test: &Test) -> BTreeSet<String> {
    let words = test.threads.iter().flatten().flat_map(|line| {
        line.text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').map(str::to_owned).collect::<Vec<_>>()
    });
    let named = |place: &Place| match place {
        Place::Variable(name) => Some(name.clone()),
        _ => None,
    };
    let known: BTreeSet<String> = test.init.iter().filter_map(|init| named(&init.place)).collect();
    let single = words.filter(|word| word.len() == 1 && word.starts_with(|c: char| c.is_ascii_lowercase()));
    known.into_iter().chain(single).chain(observed(test).iter().filter_map(named)).collect()
}

/// The threads as functions that save all registers.
fn assembler(test: &Test) -> String {
    let mut text = String::from("    .data\n");
    for name in variables(test) {
        let _ = writeln!(text, "    .globl {name}\n    .balign 64\n{name}: .zero 192");
    }
    text += "    .text\n";
    for (index, thread) in test.threads.iter().enumerate() {
        let _ = writeln!(text, "    .globl thread{index}\nthread{index}:");
        for register in ["rbx", "rbp", "r12", "r13", "r14", "r15"] {
            let _ = writeln!(text, "    push %{register}");
        }
        for register in REGISTERS {
            let given = test.init.iter().rev().find_map(|init| match (&init.place, &init.values[0]) {
                (Place::Register(owner, name), Value::Number(value)) if *owner == index && is_part(name, register) => {
                    Some(*value as i64)
                }
                _ => None,
            });
            let _ = writeln!(text, "    movabs ${}, %{register}", given.unwrap_or(0));
        }
        for line in thread {
            let _ = writeln!(text, "    {}", for_gas(&line.text));
        }
        for (number, register) in REGISTERS.iter().enumerate() {
            let _ = writeln!(text, "    mov %{register}, saved+{}", index * 128 + number * 8);
        }
        for register in ["r15", "r14", "r13", "r12", "rbp", "rbx"] {
            let _ = writeln!(text, "    pop %{register}");
        }
        text += "    ret\n";
    }
    text + "    .section .note.GNU-stack,\"\",@progbits\n"
}

/// The assembler writes `x+4` for what a test writes as `4(x)`.
fn for_gas(text: &str) -> String {
    let Some((before, rest)) = text.split_once('(') else { return text.to_owned() };
    let Some((inside, after)) = rest.split_once(')') else { return text.to_owned() };
    let start = before.rfind([' ', ',']).map_or(0, |at| at + 1);
    let displacement = before[start..].trim();
    if displacement.is_empty() || inside.contains(['%', ',']) {
        return text.to_owned();
    }
    format!("{} {inside}+{displacement}{after}", &before[..start])
}

/// Whether `name` is `register` or its low part.
fn is_part(name: &str, register: &str) -> bool {
    let numbered = register.strip_prefix('r').filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    match numbered {
        Some(_) => name == register || name.strip_prefix(register).is_some_and(|rest| ["d", "w", "b"].contains(&rest)),
        None => {
            let short = &register[1..];
            name == register
                || name == format!("e{short}")
                || name == short
                || short.ends_with('x') && name == format!("{}l", &short[..1])
                || name == format!("{short}l")
        }
    }
}

/// Rounds, and the final states of all of them.
fn driver(test: &Test) -> String {
    let mut resets = String::new();
    let names = variables(test);
    for name in &names {
        let given = test.init.iter().rev().find_map(|init| match (&init.place, &init.values[0]) {
            (Place::Variable(it), Value::Number(value)) if it == name => {
                Some((*value as i64, init.kind.map_or(4, |kind| kind.size)))
            }
            _ => None,
        });
        let _ = writeln!(resets, "        memset({name}, 0, 192);");
        if let Some((value, size)) = given {
            let _ = writeln!(resets, "        {{ long v = {value}L; memcpy({name}, &v, {size}); }}");
        }
    }
    let (mut formats, mut arguments) = (Vec::new(), String::new());
    for place in observed(test) {
        let kind = test.init.iter().find(|init| init.place == place).and_then(|init| init.kind);
        match &place {
            Place::Register(thread, name) => {
                let number = REGISTERS.iter().position(|it| is_part(name, it)).expect("it is a register");
                let size = register_size(name);
                let is_signed = kind.is_none_or(|kind| kind.is_signed);
                let _ = write!(arguments, ", number(&saved[{thread}][{number}], {size}, {})", u8::from(is_signed));
            }
            Place::Variable(name) => {
                let size = kind.map_or_else(|| width(test, name), |kind| kind.size);
                let is_signed = kind.is_none_or(|kind| kind.is_signed);
                let _ = write!(arguments, ", number({name}, {size}, {})", u8::from(is_signed));
            }
            Place::Element(..) => unreachable!("tests with elements are not run natively"),
        }
        formats.push(format!("{place}=%s;"));
    }
    let externs: String = names.iter().map(|name| format!("extern char {name}[];\n")).collect();
    DRIVER
        .replace("EXTERNS", &externs)
        .replace("RESETS", &resets)
        .replace("FORMAT", &formats.join(" "))
        .replace("ARGUMENTS", &arguments)
        .replace("ROUNDS", &rounds().to_string())
}

/// Bytes of the register called `name`.
fn register_size(name: &str) -> u64 {
    match name {
        _ if name.ends_with('d') || name.starts_with('e') => 4,
        _ if name.starts_with('r') && !name.ends_with(['w', 'b', 'l']) => 8,
        _ if name.ends_with(['l', 'b']) => 1,
        _ => 2,
    }
}

/// How wide an untyped variable is: as wide as it is accessed, four bytes at least.
fn width(test: &Test, name: &str) -> u64 {
    let mentions = |text: &str| text.contains(&format!("({name})"));
    let is_wide =
        |text: &str| text.split_whitespace().next().is_some_and(|word| word.ends_with('q')) || text.contains("%r");
    let lines = test.threads.iter().flatten().filter(|line| mentions(&line.text));
    if lines.into_iter().any(|line| is_wide(&line.text)) { 8 } else { 4 }
}

const DRIVER: &str = r#"
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
EXTERNS
long saved[2][16];
void thread0(void);
void thread1(void);
static volatile long start_at, done;
static char seen[256][512];
static int seen_count;

static char *number(void *at, int size, int is_signed) {
    static char texts[32][24];
    static int next;
    char *text = texts[next++ % 32];
    unsigned long value = 0;
    memcpy(&value, at, size);
    if (is_signed && size < 8 && value >> (8 * size - 1) & 1) value |= ~0UL << 8 * size;
    sprintf(text, is_signed ? "%ld" : "%lu", value);
    return text;
}

static void wait_a_little(unsigned long round, int which) {
    for (volatile unsigned long i = (round * 2654435761UL >> (8 + 4 * which)) % 32; i > 0; i--) ;
}

static void stay(int processor) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(processor, &set);
    sched_setaffinity(0, sizeof set, &set);
}

static void *other(void *unused) {
    stay(1);
    for (long round = 1; round <= ROUNDS; round++) {
        while (__atomic_load_n(&start_at, __ATOMIC_ACQUIRE) < round) ;
        wait_a_little(round, 1);
        thread1();
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        __atomic_store_n(&done, round, __ATOMIC_RELEASE);
    }
    return 0;
}

int main(void) {
    pthread_t thread;
    stay(0);
    pthread_create(&thread, 0, other, 0);
    for (long round = 1; round <= ROUNDS; round++) {
RESETS
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        __atomic_store_n(&start_at, round, __ATOMIC_RELEASE);
        wait_a_little(round, 0);
        thread0();
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        while (__atomic_load_n(&done, __ATOMIC_ACQUIRE) < round) ;
        char state[512];
        snprintf(state, sizeof state, "FORMAT"ARGUMENTS);
        int i = 0;
        while (i < seen_count && strcmp(seen[i], state)) i++;
        if (i == seen_count && seen_count < 256) strcpy(seen[seen_count++], state);
    }
    pthread_join(thread, 0);
    for (int i = 0; i < seen_count; i++) puts(seen[i]);
    return 0;
}
"#;
