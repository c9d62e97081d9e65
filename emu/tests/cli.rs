//! The `fencepost` command, through the built binary.

mod cli {
    mod bad_input;
    mod elf;
    mod explore;
    mod fencepost;
    mod input_and_disks;
    mod interactive;
    mod listings;
    mod litmus;
    mod many_runs;
    mod one_run;
    mod outputs;
    mod replay;
}
