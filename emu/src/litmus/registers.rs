//! Registers by name.

use iced_x86::Register;
use std::collections::HashMap;
use std::sync::LazyLock;

/// Registers that instructions may name, by lower-case name.
static NAMES: LazyLock<HashMap<String, Register>> = LazyLock::new(|| {
    let known = Register::values().filter(|register| {
        register.is_gpr() || register.is_segment_register() || register.is_xmm() || register.is_mm()
    });
    known.map(|register| (format!("{register:?}").to_lowercase(), register)).collect()
});

/// The register called `name`, in any case.
pub(super) fn named(name: &str) -> Option<Register> {
    NAMES.get(&name.to_lowercase()).copied()
}

/// The general register called `name`, in any case: what a condition may look at. AH and the like lie in the middle of
/// another and are none.
pub(super) fn find(name: &str) -> Option<Register> {
    use Register::{AH, BH, CH, DH};
    named(name).filter(|register| register.is_gpr() && ![AH, BH, CH, DH].contains(register))
}

/// Whether `name`, in any case, is a register's, so that no variable can have it.
pub(super) fn is_reserved(name: &str) -> bool {
    named(name).is_some() || is_instruction_pointer(name)
}

/// Whether `name`, in any case, is the instruction pointer's.
pub(super) fn is_instruction_pointer(name: &str) -> bool {
    ["rip", "eip"].iter().any(|pointer| name.eq_ignore_ascii_case(pointer))
}
