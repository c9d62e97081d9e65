//! Sequential consistency (Lamport 1979): every store is visible to all at once. No processor sold today does this.

use super::Rules;

pub(super) const RULES: Rules = Rules {
    name: "sc",
    summary: "sequential consistency: every store is visible at once",
    buffers: |_| false,
    keeps_order: |_, _| true,
};
