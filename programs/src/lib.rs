//! The guest software: programs built for the bare machine, each with what it shows and what may come out.
//!
//! A program is one file in `guest/demos/src/bin`; its header comment is the table's row and this package's build script
//! does the rest (the stanza's grammar is in `build/stanza.rs`).
//! The page a C or assembler author needs is `BOOT.md`.
//!
//! ```
//! let program = fencepost_programs::find("store-buffering").expect("it is built in");
//! assert_eq!(program.cores, 2);
//! assert!(program.variants.iter().any(|variant| variant.name == "mfence"));
//! ```
#![forbid(unsafe_code)]

use std::fmt;

include!(concat!(env!("OUT_DIR"), "/programs.rs"));

/// A guest program, ready to be loaded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Program {
    /// What to call it on a command line.
    pub name: &'static str,
    /// One line.
    pub summary: &'static str,
    /// What it shows and why; blank lines part paragraphs.
    pub shows: &'static str,
    /// How many cores it is written for, 1 to 64.
    pub cores: u32,
    /// An ELF64 executable with symbols and, except for assembler, line numbers; the file names in it are relative to the
    /// project's root, so that every checkout builds the same bytes.
    pub image: &'static [u8],
    /// Its source file, relative to the project's root.
    pub source: &'static str,
    /// How it can be run; the first is the default.
    pub variants: &'static [Variant],
}

/// One way to run a program; its name is the program's command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variant {
    /// For example `mfence`.
    pub name: &'static str,
    /// One line.
    pub shows: &'static str,
    /// One for each memory model.
    pub expectations: &'static [Expectation],
}

/// What may come out under one memory model: nothing but these, and each hazard is seen sooner or later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// `sc`, `tso` or `pso`.
    pub model: &'static str,
    /// The outcomes the model allows.
    pub outcomes: &'static [Outcome],
}

/// A line a program may print as its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// For example `r0=0 r1=0`.
    pub text: &'static str,
    /// Whether this is the bug the program exists to show; its exit code is then 1.
    pub hazard: bool,
}

/// Every program, sorted by name.
pub fn all() -> &'static [Program] {
    PROGRAMS
}

/// The program of this name.
pub fn find(name: &str) -> Option<&'static Program> {
    PROGRAMS.iter().find(|program| program.name == name)
}

/// Leaves out the image, which would fill screens.
impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, cores, source, .. } = self;
        let mut program = f.debug_struct("Program");
        program.field("name", name).field("cores", cores).field("source", source);
        program.finish_non_exhaustive()
    }
}

impl Program {
    /// The variant of this name.
    pub fn variant(&self, name: &str) -> Option<&'static Variant> {
        self.variants.iter().find(|variant| variant.name == name)
    }
}

impl Variant {
    /// What may come out under this model (`sc`, `tso` or `pso`).
    pub fn expectation(&self, model: &str) -> Option<&'static Expectation> {
        self.expectations.iter().find(|expectation| expectation.model == model)
    }
}

impl Expectation {
    /// Whether the model lets the bug show.
    pub fn has_hazard(&self) -> bool {
        self.outcomes.iter().any(|outcome| outcome.hazard)
    }
}
