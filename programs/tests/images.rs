//! What every built program has in common: an image the machine can start, and expectations that make sense.

use fencepost_programs::{Program, all, find};
use iced_x86::{Decoder, DecoderOptions, Instruction, OpKind, Register};
use object::{Object, ObjectSection, ObjectSegment, ObjectSymbol, SectionKind};

/// Where guests are linked (BOOT.md).
const BASE: u64 = 0x10_0000;
/// Every program of the first set, the C and assembler examples apart: they need tools of the host.
const NAMES: [&str; 25] = [
    "aba",
    "bakery",
    "chase-lev",
    "cilk-the",
    "clh",
    "counter",
    "dekker",
    "double-checked",
    "fast-mutex",
    "hello",
    "iriw",
    "lost-update",
    "mcs",
    "message-passing",
    "michael-scott",
    "peterson",
    "port-io",
    "publish",
    "rcu-publish",
    "seqlock",
    "spsc-ring",
    "store-buffering",
    "ticket-lock",
    "torn-frame",
    "treiber",
];

fn elf(program: &Program) -> object::File<'static> {
    object::File::parse(program.image).unwrap_or_else(|error| panic!("{}: {error}", program.name))
}

#[test]
fn every_program_is_there_and_sorted() {
    for name in NAMES {
        assert!(find(name).is_some(), "{name} is missing");
    }
    assert!(all().is_sorted_by_key(|program| program.name));
    assert!(find("no-such-program").is_none());
}

#[test]
fn every_image_starts_at_its_entry_symbol() {
    for program in all() {
        let elf = elf(program);
        let start = elf.symbols().find(|symbol| symbol.name() == Ok("_start")).expect(program.name);
        assert_eq!(elf.entry(), start.address(), "{}", program.name);
    }
}

/// Except those from nasm, which writes the checkout's path along with the line numbers.
#[test]
fn every_image_has_line_numbers() {
    for program in all().iter().filter(|program| !program.source.ends_with(".asm")) {
        assert!(elf(program).section_by_name(".debug_line").is_some(), "{}", program.name);
    }
}

/// A schedule names the image by its hash and must fit the same program built elsewhere.
#[test]
fn no_image_knows_where_it_was_built() {
    let here = env!("CARGO_MANIFEST_DIR").as_bytes();
    for program in all() {
        let is_told = program.image.windows(here.len()).any(|bytes| bytes == here);
        assert!(!is_told, "{} holds the checkout's path", program.name);
    }
}

#[test]
fn every_image_leaves_the_first_mebibyte_to_the_machine() {
    for program in all() {
        let segments: Vec<_> = elf(program).segments().map(|segment| (segment.address(), segment.size())).collect();
        assert!(!segments.is_empty(), "{} has nothing to load", program.name);
        for (address, size) in segments {
            assert!(address >= BASE, "{}: segment at {address:#x}", program.name);
            assert!(address % 4096 == 0 && size < BASE, "{}: {size:#x} bytes at {address:#x}", program.name);
        }
    }
}

/// An interrupt's frame would overwrite what a function keeps below its stack pointer.
#[test]
fn no_image_uses_the_red_zone() {
    for program in all() {
        for (address, code) in code(program) {
            let decoder = Decoder::with_ip(64, &code, address, DecoderOptions::NONE);
            let culprit = decoder.into_iter().find(reaches_below_the_stack_pointer);
            assert_eq!(culprit.map(|instruction| instruction.ip()), None, "{}", program.name);
        }
    }
}

/// Or the test above could not fail.
#[test]
fn a_store_below_the_stack_pointer_is_recognised() {
    let below = [0x48, 0x89, 0x44, 0x24, 0xf8]; // mov [rsp-8], rax
    let above = [0x48, 0x89, 0x44, 0x24, 0x08]; // mov [rsp+8], rax
    let address = [0x48, 0x8d, 0x64, 0x24, 0xf8]; // lea rsp, [rsp-8]
    let reaches = |code| reaches_below_the_stack_pointer(&Decoder::new(64, code, DecoderOptions::NONE).decode());
    assert_eq!([&below, &above, &address].map(|code| reaches(code)), [true, false, false]);
}

fn code(program: &Program) -> Vec<(u64, Vec<u8>)> {
    let elf = elf(program);
    let text = elf.sections().filter(|section| section.kind() == SectionKind::Text);
    text.map(|section| (section.address(), section.data().expect(program.name).to_vec())).collect()
}

fn reaches_below_the_stack_pointer(instruction: &Instruction) -> bool {
    let touches_memory = instruction.op_kinds().any(|kind| kind == OpKind::Memory);
    let below = instruction.memory_base() == Register::RSP && (instruction.memory_displacement64() as i64) < 0;
    touches_memory && below && instruction.mnemonic() != iced_x86::Mnemonic::Lea
}

#[test]
fn every_variant_says_what_may_happen_under_each_model() {
    for program in all() {
        for variant in program.variants {
            let models: Vec<_> = variant.expectations.iter().map(|expectation| expectation.model).collect();
            assert_eq!(models, ["sc", "tso", "pso"], "{} {}", program.name, variant.name);
        }
    }
}

/// A program that may do something under a strict model may do it under a lax one: sc, then tso, then pso.
#[test]
fn a_lax_model_allows_all_that_a_strict_one_does() {
    for program in all() {
        for variant in program.variants {
            for pair in variant.expectations.windows(2) {
                let lost = pair[0].outcomes.iter().find(|outcome| !pair[1].outcomes.contains(outcome));
                assert_eq!(lost, None, "{} {} under {}", program.name, variant.name, pair[1].model);
            }
        }
    }
}

#[test]
fn every_program_has_a_variant_that_is_right_under_every_model() {
    for program in all() {
        let right =
            |variant: &&fencepost_programs::Variant| variant.expectations.iter().all(|found| !found.has_hazard());
        assert!(program.variants.iter().find(right).is_some(), "{}", program.name);
    }
}

#[test]
fn the_hazards_are_those_the_manuals_promise() {
    let hazards = |name: &str, variant: &str| -> Vec<&str> {
        let variant = find(name).and_then(|program| program.variant(variant)).expect("a variant of a program");
        variant.expectations.iter().filter(|found| found.has_hazard()).map(|found| found.model).collect()
    };
    assert_eq!(hazards("store-buffering", "broken"), ["tso", "pso"]);
    assert_eq!(hazards("message-passing", "broken"), ["pso"]);
    assert_eq!(hazards("message-passing", "movnti"), ["tso", "pso"]);
    assert_eq!(hazards("torn-frame", "broken"), ["tso", "pso"]);
    assert_eq!(hazards("lost-update", "broken"), ["sc", "tso", "pso"]);
    assert_eq!(hazards("peterson", "one-mfence"), ["pso"]);
    assert_eq!(hazards("iriw", "plain"), [""; 0]);
    assert_eq!(hazards("aba", "broken"), ["sc", "tso", "pso"]);
    assert_eq!(hazards("bakery", "mfences"), ["pso"]);
    assert_eq!(hazards("mcs", "lock"), ["pso"]);
    assert_eq!(hazards("clh", "lock"), ["pso"]);
    assert_eq!(hazards("cilk-the", "only-worker"), ["tso", "pso"]);
    assert_eq!(hazards("chase-lev", "sfence"), ["tso", "pso"]);
    assert_eq!(hazards("treiber", "no-lock"), ["sc", "tso", "pso"]);
}
