//! A litmus test as a program for the host.

use fencepost::litmus::test::{Dialect, Init, Place, Test, Type, Value};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

/// What runs the threads, with gaps to fill.
const DRIVER: &str = include_str!("driver.c");

/// Bytes set aside for each variable.
const VARIABLE: u64 = 192;

/// The registers that a thread may use, in the order in which they are saved.
const REGISTERS: [&str; 15] =
    ["rax", "rcx", "rdx", "rbx", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"];

/// Two threads, in the assembler's own dialect, no loops that could wait for ever, nothing but numbers.
pub(super) fn is_suitable(test: &Test) -> bool {
    let values = || test.init.iter().flat_map(|init| &init.values);
    test.dialect == Dialect::X86_64
        && test.threads.len() == 2
        && test.init.iter().all(|init| init.values.len() as u64 * size(init) <= VARIABLE)
        && values().all(|value| matches!(value, Value::Number(_)))
        && test.threads.iter().flatten().all(|line| line.labels.is_empty() && !line.text.contains("ret"))
}

fn size(init: &Init) -> u64 {
    init.kind.map_or(4, |kind| kind.size)
}

/// The states that show in so many rounds.
pub(super) fn natively(test: &Test, rounds: u64, folder: &Path) -> BTreeSet<String> {
    std::fs::write(folder.join("threads.s"), assembler(test)).expect("the folder can be written to");
    std::fs::write(folder.join("main.c"), driver(test, rounds)).expect("the folder can be written to");
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
    test.condition.places(&mut |place, _| _ = places.insert(place.clone()));
    places
}

/// Every variable that the test names.
fn variables(test: &Test) -> BTreeSet<String> {
    let words = test.threads.iter().flatten().flat_map(|line| {
        line.text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').map(str::to_owned).collect::<Vec<_>>()
    });
    let named = |place: &Place| match place {
        Place::Variable(name) | Place::Element(name, _) => Some(name.clone()),
        Place::Register(..) => None,
    };
    let known: BTreeSet<String> = test.init.iter().filter_map(|init| named(&init.place)).collect();
    let single = words.filter(|word| word.len() == 1 && word.starts_with(|c: char| c.is_ascii_lowercase()));
    known.into_iter().chain(single).chain(observed(test).iter().filter_map(named)).collect()
}

/// The threads as functions that save all registers.
fn assembler(test: &Test) -> String {
    let mut text = String::from("    .data\n");
    for name in variables(test) {
        let _ = writeln!(text, "    .globl {name}\n    .balign 64\n{name}: .zero {VARIABLE}");
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
fn driver(test: &Test, rounds: u64) -> String {
    let names = variables(test);
    let externs: String = names.iter().map(|name| format!("extern char {name}[];\n")).collect();
    let mut resets: String = names.iter().map(|name| format!("    memset({name}, 0, {VARIABLE});\n")).collect();
    for init in &test.init {
        let (Place::Variable(name) | Place::Element(name, _)) = &init.place else { continue };
        for (index, value) in init.values.iter().enumerate() {
            if let Value::Number(value) = value {
                let (value, at, size) = (*value as i64, index as u64 * size(init), size(init));
                let _ = writeln!(resets, "    {{ long value = {value}L; memcpy({name} + {at}, &value, {size}); }}");
            }
        }
    }
    let places = observed(test);
    let values: Vec<String> = places.iter().map(|place| value(test, place)).collect();
    let formats: Vec<String> =
        places.iter().map(|place| format!("{place}={};", format_of(kind(test, place)))).collect();
    let arguments: String = (0..places.len()).map(|index| format!(", state[{index}]")).collect();
    DRIVER
        .replace("$EXTERNS", &externs)
        .replace("$RESETS", &resets)
        .replace("$PLACES", &places.len().to_string())
        .replace("$ROUNDS", &rounds.to_string())
        .replace("$VALUES", &values.join(", "))
        .replace("$FORMAT", &format!("\"{}\"", formats.join(" ")))
        .replace("$ARGUMENTS", &arguments)
}

/// The type that the test gives a place.
fn kind(test: &Test, place: &Place) -> Option<Type> {
    let is_it = |init: &&Init| match (&init.place, place) {
        (Place::Variable(array) | Place::Element(array, _), Place::Element(name, _)) => array == name,
        (given, wanted) => given == wanted,
    };
    test.init.iter().find(is_it).and_then(|init| init.kind)
}

/// What shows a value of this type: numbers are signed unless the test says otherwise.
fn format_of(kind: Option<Type>) -> &'static str {
    if kind.is_none_or(|kind| kind.is_signed) { "%ld" } else { "%lu" }
}

/// The C expression for what a place holds in the end.
fn value(test: &Test, place: &Place) -> String {
    let kind = kind(test, place);
    let is_signed = u8::from(kind.is_none_or(|kind| kind.is_signed));
    match place {
        Place::Register(thread, name) => {
            let number = REGISTERS.iter().position(|it| is_part(name, it)).expect("it is a register");
            format!("number(&saved[{thread}][{number}], {}, {is_signed})", register_size(name))
        }
        Place::Variable(name) => {
            let size = kind.map_or_else(|| width(test, name), |kind| kind.size);
            format!("number({name}, {size}, {is_signed})")
        }
        Place::Element(name, index) => {
            let size = kind.map_or(4, |kind| kind.size);
            format!("number({name} + {}, {size}, {is_signed})", *index as u64 * size)
        }
    }
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
