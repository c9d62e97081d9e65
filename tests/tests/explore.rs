//! Exploration of guest programs: outcomes, proofs, replays, waiting for ever, explanations, fences.

mod explore {
    mod cases;
    mod fences;
    mod guests;
    mod hangs;
    mod images;
    mod interrupts;
    mod memory_types;
    mod programs;
    mod recorded;
    mod replay;
    mod sampling;
    mod second_opinion;
    mod steps;
    mod stories;
    mod strategies;
    mod verdicts;
}
