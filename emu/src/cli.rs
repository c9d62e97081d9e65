//! The command line: one file in `cli/` for each verb, and what the verbs share.
//!
//! A verb returns the exit code of the process, or a [`Failure`]: bad use or bad input, one message, exit code 2; or a bound
//! that left nothing to report, exit code 3.
//! Output goes through [`Stdout`], which knows that its reader may go away; files through [`OutputFile`], which are whole
//! or not there. Files are read through [`input_file`], which waits for nothing.
//!
//! [`Stdout`]: stdout::Stdout
//! [`OutputFile`]: output_file::OutputFile

mod assembly;
mod check;
mod colour;
mod completions;
mod cut_off;
mod disasm;
mod explore;
mod explored_guest;
mod failure;
mod fence_words;
mod fences;
mod guest;
mod input_file;
mod list;
mod litmus;
mod machine_options;
mod output_file;
mod progress;
mod replayed;
mod run;
mod seeds;
mod stanza;
mod stdout;
mod table;

use clap::{Parser, Subcommand};
use failure::Failure;
use std::process::ExitCode;

/// Bad use or bad input; also what clap exits with.
const BAD_USE: u8 = 2;
/// A bound was reached before an answer.
const UNDECIDED: u8 = 3;

/// An x86 machine with several cores whose store buffers you can see, reorder, record and replay.
///
/// Fencepost runs real machine code on an emulated machine and shows what goes wrong when a fence or a LOCK is missing.
/// Which core steps next and when a store becomes visible is drawn from a seed, so every run can be had again.
#[derive(Parser)]
#[command(name = "fencepost", version, after_long_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

const EXAMPLES: &str = "\
Where do I begin?
  fencepost list                    the programs that come with Fencepost
  fencepost list torn-frame         what one of them shows, and what may come out
  fencepost run torn-frame          runs it once, with the variant `broken`

What does a missing fence look like?
  fencepost run torn-frame/broken --runs 100
      counts what comes out of 100 seeds; each line ends with the command that
      replays one of them: paste it and add --show, or --screenshot torn.png
  fencepost run torn-frame/sfence --runs 100
      the same with the fence

How do I run my own program?
  fencepost run ./kernel.elf --cores 4
      any static x86 or x86-64 ELF executable; programs/BOOT.md is the contract
  runner = \"fencepost run\"
      in .cargo/config.toml makes `cargo run` do it: see `fencepost run --help`

Can it happen at all?
  fencepost explore dekker          every interleaving, and how it goes wrong
  fencepost fences dekker           where fences make it right
  fencepost litmus SB.litmus        the same for litmus tests, as herd7 does

Exit codes: of `run`, see there; else 0 all is well, 1 a check failed or a
violation was found, 2 bad use or bad input, 3 a bound was reached first.";

#[derive(Subcommand)]
enum Verb {
    List(list::List),
    Run(Box<run::Run>),
    Check(check::Check),
    Disasm(disasm::Disasm),
    Explore(Box<explore::Explore>),
    Fences(Box<fences::Fences>),
    Litmus(litmus::Litmus),
    Completions(completions::Completions),
}

/// Runs the verb that the command line asks for.
pub(crate) fn main() -> ExitCode {
    let done = match Cli::try_parse() {
        Ok(cli) => cli.verb.perform(),
        Err(answer) => say(&answer),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(Failure::Refused(problem)) => {
            failure::note(&format!("error: {problem}"));
            ExitCode::from(BAD_USE)
        }
        Err(Failure::Undecided(problem)) => {
            failure::note(&format!("no answer: {problem}"));
            ExitCode::from(UNDECIDED)
        }
        Err(Failure::NobodyReads) => ExitCode::SUCCESS,
    }
}

impl Verb {
    fn perform(self) -> Result<u8, Failure> {
        match self {
            Verb::List(list) => list.perform(),
            Verb::Run(run) => run.perform(),
            Verb::Check(check) => check.perform(),
            Verb::Disasm(disasm) => disasm.perform(),
            Verb::Explore(explore) => explore.perform(),
            Verb::Fences(fences) => fences.perform(),
            Verb::Litmus(litmus) => litmus.perform(),
            Verb::Completions(completions) => completions.perform(),
        }
    }
}

/// Says what clap answers to a command line without a verb to perform: help, the version, or what is wrong with it.
fn say(answer: &clap::Error) -> Result<u8, Failure> {
    match answer.print() {
        Err(error) if !answer.use_stderr() => Err(stdout::failure(error)),
        Ok(()) | Err(_) => Ok(if answer.exit_code() == 0 { 0 } else { BAD_USE }),
    }
}
