//! Litmus tests: published ones against herd7, ours in `tests/litmus` against what was thought of each, and random ones
//! against a second opinion.

mod litmus {
    mod second_opinion;
    mod suite;

    mod native;
    mod ours;
    mod published;
    mod random;
    mod rules;
}
