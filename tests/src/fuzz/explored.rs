//! Programs with interrupts: what exploration finds must be what brute force finds ([`interrupted`](crate::interrupted)).

use crate::interrupted::{Gaps, compare};

pub(super) fn case(seed: u64) -> Result<(), String> {
    // One that is too large for brute force is no case.
    compare(seed, Gaps::ALL).map(drop)
}
