//! What a program's stanza says about an outcome.

use fencepost::memory_model::MemoryModel;
use fencepost::programs::Variant;

/// What the stanza says about one outcome under one model.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Judgement {
    /// One that is allowed, and is no bug.
    Expected,
    /// The bug that the program exists to show; allowed.
    Hazard,
    /// Not one that is allowed.
    Unlisted,
}

impl Judgement {
    /// A word for a table.
    pub(super) fn word(self) -> &'static str {
        match self {
            Judgement::Expected => "",
            Judgement::Hazard => "hazard",
            Judgement::Unlisted => "NOT LISTED",
        }
    }
}

/// What `variant` says about `outcome` under `model`; `None` when it says nothing about that model.
pub(super) fn judge(variant: &Variant, model: MemoryModel, outcome: Option<&str>) -> Option<Judgement> {
    let expectation = variant.expectation(model.name())?;
    let listed = expectation.outcomes.iter().find(|listed| Some(listed.text) == outcome);
    Some(match listed {
        Some(listed) if listed.hazard => Judgement::Hazard,
        Some(_) => Judgement::Expected,
        None => Judgement::Unlisted,
    })
}
