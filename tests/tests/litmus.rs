//! Litmus tests: published ones against herd7, ours in `tests/litmus` against what was thought of each.

mod litmus {
    mod suite;

    mod ours;
    mod published;
    mod rules;
}
