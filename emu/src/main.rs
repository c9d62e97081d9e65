//! The `fencepost` command: `fencepost --help` says what it does, `cli.rs` where each verb is.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
