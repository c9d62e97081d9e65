//! The gate: what every change to the project must leave true, beyond its behaviour.
//!
//! Each rule is a test, so `cargo test` is all there is to run before a push.
//! Cargo lets go of its build lock before it runs tests; the cargo started here works in the same target folder and
//! finds Unicorn and all build scripts already built.

mod house {
    mod layout;
    mod licences;
    mod project;
    mod sources;
    mod tokens;
    mod tools;
}
