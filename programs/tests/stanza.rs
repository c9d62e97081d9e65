//! The stanza parser: what it reads, and that it says where and what when it cannot.

#[path = "../build/stanza.rs"]
mod stanza;

use stanza::{Outcome, Stanza, Variant};
use std::path::Path;

const GOOD: &str = "\
//! demo: what it shows
//!
//! Why it happens,
//! in two lines.
//!
//! And a second paragraph.
//!
//! cores: 2
//! variant broken: nothing between them
//!   sc: r0=1
//!   pso, tso: r0=1 | r0=0 !
//! variant fixed: a fence
//!   sc, tso, pso: r0=1
#![no_std]
//! not part of it
";

fn parse(source: &str) -> Result<Stanza, String> {
    stanza::parse("demo", Path::new("demo.rs"), source)
}

fn outcome(text: &str, hazard: bool) -> Outcome {
    Outcome { text: text.into(), hazard }
}

#[test]
fn a_stanza_is_read_whole() {
    let right = vec![outcome("r0=1", false)];
    let both = vec![outcome("r0=1", false), outcome("r0=0", true)];
    let expected = Stanza {
        summary: "what it shows".into(),
        shows: "Why it happens, in two lines.\n\nAnd a second paragraph.".into(),
        cores: 2,
        variants: vec![
            Variant {
                name: "broken".into(),
                shows: "nothing between them".into(),
                expectations: vec![("sc".into(), right.clone()), ("tso".into(), both.clone()), ("pso".into(), both)],
            },
            Variant {
                name: "fixed".into(),
                shows: "a fence".into(),
                expectations: stanza::MODELS.map(|model| (model.into(), right.clone())).into(),
            },
        ],
    };
    assert_eq!(parse(GOOD), Ok(expected));
}

#[test]
fn the_comment_sign_is_the_languages() {
    for (file, sign) in [("demo.c", "//"), ("demo.asm", ";")] {
        let source = GOOD.replace("//!", sign).replace("#![no_std]", "int x;");
        let stanza = stanza::parse("demo", Path::new(file), &source).expect("it is the same stanza");
        assert_eq!(stanza.variants.len(), 2, "in {file}");
    }
}

/// What is changed in the good stanza, the line that must be named, and words of the message.
const MALFORMED: [(&str, &str, usize, &str); 16] = [
    ("//! demo: what it shows", "//! other: what it shows", 1, "expected `demo: one line"),
    ("//! demo: what it shows", "//! demo:", 1, "expected `demo: one line"),
    ("//! cores: 2\n", "", 8, "`cores: N` must stand before the first variant"),
    ("//! cores: 2", "//! cores: two", 8, "N from 1 to 64"),
    ("//! cores: 2", "//! cores: 0", 8, "N from 1 to 64"),
    ("//! cores: 2", "//! cores: 65", 8, "N from 1 to 64"),
    ("variant broken: nothing between them", "broken: nothing between them", 9, "expected `variant NAME"),
    ("variant broken:", "variant Broken:", 9, "a variant's name is made of"),
    ("variant broken: nothing between them", "variant broken", 9, "expected `variant NAME"),
    ("//!   sc: r0=1\n", "", 10, "does not say what may happen under `sc`"),
    ("//!   sc: r0=1\n", "//!   sc r0=1\n", 10, "expected `MODEL, MODEL: OUTCOME"),
    ("sc: r0=1", "arm: r0=1", 10, "`arm` is not a memory model"),
    ("pso, tso:", "pso, sc:", 11, "`sc` is named twice"),
    ("r0=1 | r0=0 !", "r0=1 | !", 11, "an outcome is empty"),
    ("r0=1 | r0=0 !", "r0=1 || r0=0 !", 11, "an outcome is empty"),
    ("variant fixed", "variant broken", 13, "variant `broken` is already there"),
];

#[test]
fn a_malformed_stanza_is_named_with_file_and_line() {
    for (good, bad, line, words) in MALFORMED {
        assert!(GOOD.contains(good), "`{good}` is not in the good stanza");
        let error = parse(&GOOD.replacen(good, bad, 1)).expect_err(bad);
        assert!(error.starts_with(&format!("demo.rs:{line}: ")), "`{bad}`: {error}");
        assert!(error.contains(words), "`{bad}`: {error}");
    }
}

#[test]
fn a_stanza_that_ends_early_is_malformed() {
    let mut whole = 0;
    for (end, _) in GOOD.match_indices('\n') {
        whole += usize::from(parse(&GOOD[..end]).is_ok());
    }
    // Whole is it only after the first variant, after the second, and with what follows the comment.
    assert_eq!(whole, 4);
    assert_eq!(
        parse(""),
        Err("demo.rs:1: the file must start with a comment `demo: one line that says what it shows`".into())
    );
}
