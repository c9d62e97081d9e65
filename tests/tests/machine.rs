//! The machine, driven choice by choice through its public verbs.
//!
//! Guests are a few instructions each, assembled here. What must be possible and what must never happen are separate tests.

mod machine {
    mod page_tables;
    mod random_guest;
    mod testbed;

    mod apic_base;
    mod atomicity;
    mod breakpoints;
    mod cmpxchg;
    mod code_changes;
    mod control_registers;
    mod decode_table;
    mod determinism;
    mod devices;
    mod drain_order;
    mod draining;
    mod equal_buffers;
    mod fast_engine;
    mod faults;
    mod forwarding;
    mod hardware_interrupts;
    mod interrupts;
    mod memory_types;
    mod pages;
    mod possible_choices;
    mod real_mode;
    mod rings;
    mod schedules;
    mod simd_floats;
    mod snapshots;
    mod spinning;
    mod string_ports;
    mod strings;
    mod system_calls;
    mod table_registers;
    mod tasks;
    mod translations;
}
