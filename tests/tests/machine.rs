//! The machine, driven choice by choice through its public verbs.
//!
//! Guests are a few instructions each, assembled here. What must be possible and what must never happen are separate tests.

mod machine {
    mod page_tables;
    mod testbed;

    mod atomicity;
    mod code_changes;
    mod decode_table;
    mod drain_order;
    mod draining;
    mod fast_engine;
    mod faults;
    mod forwarding;
    mod pages;
    mod schedules;
    mod strings;
}
