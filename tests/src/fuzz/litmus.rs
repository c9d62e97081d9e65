//! Litmus tests with errors, made from our own: what can be parsed is assembled, also as an image, and what can be assembled
//! is explored.
//!
//! Where nothing was cut off, a stronger model allows no more than a weaker one, and the reduction loses nothing.

use crate::random::Random;
use fencepost::explorer::Limits;
use fencepost::litmus::test::Test;
use fencepost::litmus::{Outcome, Pool, image, parse};
use fencepost::memory_model::MemoryModel;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

/// The most states of one exploration.
const STATES: usize = 2000;
/// The longest time of one: between two states there may be thousands of steps that need the engine, in a loop that counts.
const TIME: Duration = Duration::from_millis(300);
/// The most bytes of a broken test: twice what is refused.
const LONGEST: usize = 2 * parse::LONGEST_FILE;

/// What litmus tests are made of, and other things.
const WORDS: &[&str] = &[
    "X86",
    "X86_64",
    "{",
    "}",
    "(",
    ")",
    "[",
    "]",
    "(*",
    "*)",
    ";",
    "|",
    ":",
    "=",
    ",",
    "$",
    "%",
    "-",
    "\"",
    "/\\",
    "\\/",
    "~",
    "not",
    "exists",
    "forall",
    "~exists",
    "filter",
    "locations",
    "[x]",
    "x[1]",
    "x[99]",
    "uint64_t",
    "int8_t x[4096];",
    "int x[0];",
    "0:rax",
    "1:RBX",
    "9:rax",
    "64:rax",
    "0:rip",
    "0:cs",
    "P0",
    "P1",
    "P2",
    "0x",
    "lock",
    "lock lock",
    "rep",
    "L0:",
    "L0: L0:",
    "\n",
    "\0",
    "\u{a0}",
    "\u{1f980}",
    "\u{130}",
];

/// Instructions that no litmus test should hold.
const INSTRUCTIONS: &[&str] = &[
    "hlt",
    "ud2",
    "int3",
    "int $128",
    "cpuid",
    "rdtsc",
    "wrmsr",
    "rdmsr",
    "syscall",
    "iretq",
    "popfq",
    "pushfq",
    "std",
    "sti",
    "cli",
    "divq %rax",
    "inb $4,%al",
    "outb %al,$0xf4",
    "outl %eax,%dx",
    "movq %rax,%cr3",
    "movq %cr0,%rax",
    "movw %ax,%ds",
    "lgdt (x)",
    "lidt (x)",
    "invlpg (x)",
    "clflush (x)",
    "fldl (x)",
    "fxsave (x)",
    "xchgq %rax,(%rax)",
    "movq $1,(%rip)",
    "movq (%rsp),%rax",
    "movq %rax,-8(%rsp)",
    "pushq %rax",
    "popq (x)",
    "popq %rsp",
    "enter $1,$31",
    "callq *(x)",
    "call L0",
    "jmp L0",
    "je L0",
    "loop L0",
    "ret",
    "movq 0x7fffffffffffffff(x),%rax",
    "movq %rax,-0x8000000000000000(x)",
    "movl $1,0x100000",
    "movl $1,(0x100000)",
    "movq $1,0xfee00300(%rbx)",
    "movq (%rax,%rbx,8),%rcx",
    "movdqa %xmm0,8(x)",
    "movdqu 60(x),%xmm1",
    "maskmovdqu %xmm0,%xmm1",
    "cmpxchg16b 8(x)",
    "lock cmpxchg16b (x)",
    "lock mfence",
    "lock movq $1,(x)",
    "xlatb",
    "movsq",
    "bound",
    "rdrand %rax",
    "pause",
    "lock btsq %rax,(x)",
    "btsq $200,(x)",
    "xchg %bx,%bx",
    "xchg %cx,%cx",
];

pub(super) fn case(seed: u64) -> Result<(), String> {
    let mut random = Random::new(seed);
    let text = broken(&mut random);
    match parse::parse(&text) {
        Ok(test) => explored(&test, &text),
        Err(wrong) => placed(&wrong, &text),
    }
}

fn explored(test: &Test, text: &str) -> Result<(), String> {
    let mut pool = Pool::new();
    let ready = match pool.prepare(test) {
        Ok(ready) => ready,
        Err(wrong) => return placed(&wrong, text),
    };
    // What cannot be an image is refused here.
    let _ = image::image(test);
    let mut explore = |reduces| {
        let limits = Limits { states: STATES, time: Some(TIME), reduces, threads: 1 };
        MemoryModel::ALL.map(|model| pool.explore(&ready, test, model, &limits))
    };
    let (reduced, whole) = (explore(true), explore(false));
    for ((model, reduced), whole) in MemoryModel::ALL.iter().zip(&reduced).zip(&whole) {
        if reduced.complete && whole.complete && reduced.states != whole.states {
            return Err(format!("under {model} the reduction changes the final states of {text}"));
        }
    }
    let nests = |pair: &[Outcome]| {
        let is_in = |state| pair[1].states.contains(state);
        !pair[0].complete || !pair[1].complete || pair[0].states.iter().all(is_in)
    };
    if reduced.windows(2).all(nests) { Ok(()) } else { Err(format!("a stronger model allows more in {text}")) }
}

/// What is wrong must be somewhere in the file.
fn placed(wrong: &parse::Malformed, text: &str) -> Result<(), String> {
    match text.get(wrong.span.clone()) {
        Some(_) => Ok(()),
        None => Err(format!("{wrong:?} is not in the file of {} bytes", text.len())),
    }
}

fn broken(random: &mut Random) -> String {
    if random.one_in(32) {
        let length = random.index(300);
        let start = random.pick(&["", "X86_64 A\n", "X86 A\n{}\n", "X86_64 A\n{}\nP0;\n"]);
        return start.to_owned() + &String::from_utf8_lossy(&random.bytes(length));
    }
    let sources = sources();
    let mut text = sources[random.index(sources.len())].clone();
    for _ in 0..=random.below(4) {
        if text.is_empty() {
            break;
        }
        text = mutated(text, random, sources);
        if text.len() > LONGEST {
            let end = text.floor_char_boundary(LONGEST);
            text.truncate(end);
        }
    }
    text
}

fn mutated(text: String, random: &mut Random, sources: &[String]) -> String {
    match random.below(12) {
        0 => {
            let mut bytes = text.into_bytes();
            let at = random.index(bytes.len());
            bytes[at] ^= 1 << random.below(8);
            String::from_utf8_lossy(&bytes).into_owned()
        }
        1 => text[..place(&text, random)].to_owned(),
        2 | 3 => {
            let word = pick_text(random, WORDS);
            inserted(&text, random, &format!(" {word} "))
        }
        4 | 5 => instruction(&text, random),
        6 => {
            // A piece again, once or very often.
            let (a, b) = (place(&text, random), place(&text, random));
            let piece = &text[a.min(b)..a.max(b)];
            let times = if random.one_in(8) { random.index(3000) } else { 1 };
            let piece = piece.repeat(times);
            inserted(&text, random, &piece)
        }
        7 => {
            let (a, b) = (place(&text, random), place(&text, random));
            format!("{}{}", &text[..a.min(b)], &text[a.max(b)..])
        }
        8 => {
            let opening = random.pick(&["(", "(* ", "{", "not ", "not (", "~", "[", "L0: ", "lock ", "0:"]);
            let piece = opening.repeat(random.index(20_000));
            inserted(&text, random, &piece)
        }
        9 => other_number(&text, random),
        10 => {
            // The head of one test with the tail of another.
            let other = &sources[random.index(sources.len())];
            format!("{}{}", &text[..place(&text, random)], &other[place(other, random)..])
        }
        _ => swapped(&text, random),
    }
}

/// A place between two characters.
fn place(text: &str, random: &mut Random) -> usize {
    text.floor_char_boundary(random.index(text.len() + 1))
}

fn pick_text<'a>(random: &mut Random, from: &[&'a str]) -> &'a str {
    from[random.index(from.len())]
}

fn inserted(text: &str, random: &mut Random, piece: &str) -> String {
    let at = place(text, random);
    format!("{}{piece}{}", &text[..at], &text[at..])
}

/// One cell of the table replaced.
fn instruction(text: &str, random: &mut Random) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let rows: Vec<usize> =
        (0..lines.len()).filter(|&at| lines[at].ends_with(" ;") && !lines[at].contains("P0")).collect();
    if rows.is_empty() {
        return text.to_owned();
    }
    let row = rows[random.index(rows.len())];
    let mut cells: Vec<&str> = lines[row].trim_end_matches(';').split('|').collect();
    let cell = random.index(cells.len());
    cells[cell] = pick_text(random, INSTRUCTIONS);
    let mut lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
    lines[row] = cells.join(" | ") + " ;";
    lines.join("\n")
}

/// One of the numbers in the text is another.
fn other_number(text: &str, random: &mut Random) -> String {
    let digits: Vec<usize> = text.match_indices(|c: char| c.is_ascii_digit()).map(|(at, _)| at).collect();
    if digits.is_empty() {
        return text.to_owned();
    }
    let at = digits[random.index(digits.len())];
    let number = match random.below(4) {
        0 => "9".repeat(random.index(100)),
        1 => format!("-{}", random.limit()),
        2 => format!("{:#x}", random.limit()),
        _ => random.limit().to_string(),
    };
    format!("{}{number}{}", &text[..at], &text[at + 1..])
}

/// Two words change places.
fn swapped(text: &str, random: &mut Random) -> String {
    let mut words: Vec<&str> = text.split_inclusive([' ', '\n', '(', ')', ',']).collect();
    let (a, b) = (random.index(words.len()), random.index(words.len()));
    words.swap(a, b);
    words.concat()
}

/// Our litmus tests.
fn sources() -> &'static [String] {
    static SOURCES: OnceLock<Vec<String>> = OnceLock::new();
    SOURCES.get_or_init(|| {
        let mut sources = Vec::new();
        read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("litmus"), &mut sources);
        sources.sort();
        sources
    })
}

fn read(folder: &Path, sources: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).expect("our litmus tests are beside this crate") {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() {
            read(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "litmus") {
            sources.push(std::fs::read_to_string(&path).expect("it is text"));
        }
    }
}
