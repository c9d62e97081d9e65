//! Preemption bounding: everything with at most `bound` switches away from a core that could have gone on.
//!
//! (Musuvathi and Qadeer, Iterative Context Bounding for Systematic Testing of Multithreaded Programs, PLDI 2007.) Most bugs
//! need few preemptions, and there are far fewer orders with few of them. Switches away from a core that waits, spins in one
//! place or has ended cost nothing, nor do drains: only the order in which cores execute is bounded, not how late stores become
//! visible.
//!
//! What is found is there; so are hangs, since a state some of whose steps were cut off is taken to have a way out. What is not
//! found needs more preemptions, unless nothing was cut off: then this is complete, too.

use super::{Plan, Rules};
use crate::explorer::found::Found;
use crate::explorer::limits::Limits;
use crate::explorer::sharing::Sharing;
use crate::explorer::state::{State, World};
use crate::explorer::switches::{Count, Switches};

/// Its row.
pub(super) const RULES: Rules =
    Rules { name: "bounded", summary: "All with at most --bound preemptions, fewest first", explore };

fn explore(world: &mut World, first: &State, plan: &Plan, limits: &Limits) -> Found {
    // What nobody shares is not known before everything is explored: only stores into buffers go first.
    let sharing = Sharing::everything();
    let (count, bound) = (Count::Preemptions, Some(plan.bound));
    Switches { world, sharing: &sharing, count, bound, limits }.search(first, None).0
}
