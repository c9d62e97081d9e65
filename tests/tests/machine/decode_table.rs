//! The decode table, as a table of bytes: `tests/data/decode.txt`.

use fencepost::core::decode::{classify, decode};
use iced_x86::{Formatter, NasmFormatter};

#[test]
fn every_encoding_has_the_class_and_text_of_the_table() {
    let table = include_str!("../../data/decode.txt");
    let mut bits = 64;
    let mut wrong = Vec::new();
    for line in table.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.strip_prefix("bits ") {
            Some(number) => bits = number.parse().expect("bits are 16, 32 or 64"),
            None => wrong.extend(check(line, bits)),
        }
    }
    assert!(wrong.is_empty(), "these lines should read:\n{}", wrong.join("\n"));
}

/// The line as it should be, when `line` is not.
fn check(line: &str, bits: u32) -> Option<String> {
    let hex = line.split('|').next().expect("a line has a first column").trim();
    let bytes: Vec<u8> =
        hex.split(' ').map(|byte| u8::from_str_radix(byte, 16).expect("bytes are hexadecimal")).collect();
    let (class, text) = match decode(&bytes, 0x1000, bits) {
        Some(instruction) => {
            assert_eq!(instruction.len(), bytes.len(), "`{line}` should be one instruction");
            let mut text = String::new();
            NasmFormatter::new().format(&instruction, &mut text);
            (format!("{:?}", classify(&instruction)), text)
        }
        None => ("none".to_owned(), "(not an instruction)".to_owned()),
    };
    let right = format!("{hex:<21} | {class:<17} | {text}");
    (line != right).then_some(right)
}
