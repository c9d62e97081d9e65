//! Partial store order (SPARC V8 manual, appendix K): stores to different bytes drain in any order.
//!
//! A teaching contrast: it shows what x86 programmers get for free. x86 processors do not do this with ordinary stores.

use super::Rules;

pub(super) const RULES: Rules = Rules {
    name: "pso",
    summary: "partial store order, weaker than x86: stores to different bytes drain in any order",
    buffers: |_| true,
    keeps_order: |_, _| false,
};
