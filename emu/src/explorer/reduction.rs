//! Partial-order reduction: which single step may be taken without trying any other first.
//!
//! The steps chosen here are singleton *persistent sets* (Godefroid, Partial-Order Methods for the Verification of Concurrent
//! Systems, LNCS 1032, 1996, definition 4.1): whatever the others do first, the step stays possible, and it commutes with all
//! of it. A search that follows only persistent sets reaches every state in which nothing more is possible (theorem 4.3), and
//! so every outcome.
//!
//! | step | why everything else commutes with it |
//! |---|---|
//! | a store into the core's own buffer | it changes only the buffer's young end. Drains take from what was there before, under every model: rules 1 to 3 of [`store_buffer`](crate::store_buffer) compare an entry with *older* ones only, so neither write-combining entries nor same-byte order look at it |
//! | SFENCE, a fence with an empty buffer, HLT | it changes only what is the core's own |
//! | a load of what nobody else writes | own drains do not change what the core sees: the youngest entry that covers the load, or memory into which that entry went. Where several entries cover it together and one of them drains, it has to wait, and reads the same when all have drained; no run ends before |
//! | a store or locked instruction on what nobody else accesses, straight to memory | nobody else can tell |
//! | a drain into what nobody else accesses | likewise; it can only make other steps of the core possible |
//! | the arrival of a posted write that does nothing but change its device | later writes arrive after it in any case, and whatever looks at a device pushes it through first ([`board`](crate::board)) |
//! | any step of the only core that is left | own operations and own drains commute, for the same reasons |
//!
//! *Nobody else* is found out, not assumed: [`Sharing`](super::sharing::Sharing) collects who accesses what, and an exploration
//! in which something turned out to be contended is made again with that known, until nothing new turns up. In the last one
//! every access that was taken to be private was the only core's in all states reached; were there a reachable state in
//! which another core accesses the same memory, then the first such state on some path would be reached too, because all
//! steps before it satisfy the table.
//!
//! A core that lets interrupts in has no such step of its own: an interrupt might come before it, and its handler is not
//! looked ahead at. Its private drains are taken first all the same, since no interrupt comes before them.
//!
//! The end of a run by the debug exit or a fault is no such step: it takes all other steps away, so it is tried against all of
//! them. What it leaves of the others' memory depends on how far they had come; so where a run ends that way, only what went
//! out through devices counts as its outcome.
//!
//! A chain of such steps is followed at once, and only the state at its end is stored. Chains are bounded, and end where they
//! come back to a state, so that in a circle of them a state is stored, from which all steps are taken: no step is put off for ever (the cycle proviso; Peled,
//! CAV 1993). Without it a core that waits for ever would hide what the others do.

use super::op::Op;
use super::sharing::Sharing;
use super::state::{State, Step, World};
use crate::core::CoreId;

/// The most steps that are taken for all others before a state is stored: a circle of such steps must be noticed.
const LONGEST_CHAIN: usize = 256;
/// In a chain of fewer steps no circle is looked for; a power of two.
const SHORT_CHAIN: usize = 8;

/// Takes the steps after `state` that stand for all others, a bounded chain of them; tells `taken` each, and the state after it.
pub(super) fn follow(
    world: &mut World,
    sharing: &Sharing,
    state: &mut State,
    mut taken: impl FnMut(&mut World, Step, &State),
) {
    let mut earlier: Option<State> = None;
    for length in 1..=LONGEST_CHAIN {
        if state.stop.is_some() {
            return;
        }
        let Some(step) = single_step(world, sharing, state) else { return };
        *state = world.after(state, step, &mut Vec::new());
        taken(world, step, state);
        if earlier.as_ref() == Some(state) {
            return;
        }
        // Brent's way to notice a circle (BIT 20, 1980): most chains are too short to be worth it.
        if length >= SHORT_CHAIN && length.is_power_of_two() {
            earlier = Some(state.clone());
        }
    }
}

/// A step after which all others are still possible and make no difference, if there is one.
fn single_step(world: &mut World, sharing: &Sharing, state: &State) -> Option<Step> {
    let cores = || (0..state.cores.len()).map(|index| CoreId(index as u8));
    // First of all, since a core that waits for ever would leave no room for it in a chain.
    if world.boards.board(state.board).arrives_quietly() {
        return Some(Step::Arrive);
    }
    // Before the cores' own operations, so that buffers of a long run of private stores stay short.
    for core in cores() {
        let buffer = &state.cores[core.index()].buffer;
        let is_private = |index: &usize| {
            let entry = &buffer.entries()[*index];
            sharing.is_private(entry.address, u64::from(entry.length))
        };
        if let Some(index) = buffer.drainable(world.model).find(is_private) {
            return Some(Step::Drain(core, index as u8));
        }
    }
    for core in cores() {
        if is_own_business(world, sharing, state, core) {
            return Some(Step::Operate(core));
        }
    }
    only_core(world, state)
}

/// Whether the next operation of `core` is possible and nobody else's business.
pub(super) fn is_own_business(world: &mut World, sharing: &Sharing, state: &State, core: CoreId) -> bool {
    let model = world.model;
    let is_private = match world.op(state, core) {
        Op::Nothing | Op::FullFence | Op::StoreFence => true,
        Op::Load(place) => sharing.is_private(place.address, place.length),
        Op::Store(entry) => model.buffers(entry.kind) || sharing.is_private(entry.address, u64::from(entry.length)),
        Op::Locked { loads, stores } => sharing.are_private(loads) && sharing.are_private(stores),
        Op::Device | Op::Priority | Op::Enters | Op::Finished | Op::Diverges | Op::Fault { .. } | Op::Beyond { .. } => {
            false
        }
    };
    is_private && !world.is_open(state, core) && world.can_operate(state, core)
}

/// A step of the only core that can still do anything, when there is only one.
fn only_core(world: &mut World, state: &State) -> Option<Step> {
    let is_open = |index: usize| world.is_open(state, CoreId(index as u8));
    if !world.boards.board(state.board).posted().is_empty() || (0..state.cores.len()).any(is_open) {
        return None;
    }
    let mut left = (0..state.cores.len()).map(|index| CoreId(index as u8)).filter(|core| {
        let is_idle = matches!(world.op(state, *core), Op::Finished | Op::Diverges);
        !is_idle || !state.cores[core.index()].buffer.is_empty()
    });
    let core = left.next().filter(|_| left.next().is_none())?;
    drop(left);
    let is_memory = matches!(
        world.op(state, core),
        Op::Load(_) | Op::Store(_) | Op::Locked { .. } | Op::Finished | Op::Diverges | Op::FullFence
    );
    if !is_memory {
        return None;
    }
    let first = state.cores[core.index()].buffer.drainable(world.model).next();
    match first {
        Some(entry) => Some(Step::Drain(core, entry as u8)),
        None => world.can_operate(state, core).then_some(Step::Operate(core)),
    }
}
