//! What bounds an exploration, and what it says when something was left out.

use super::op::Beyond;
use crate::core::CoreId;
use std::time::Duration;

/// What bounds an exploration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The most states; what is met while the steps of the last few are taken comes on top.
    pub states: usize,
    /// The longest time; `None` for no bound. It, too, is looked at between blocks of states, a fraction of a second each.
    pub time: Option<Duration>,
    /// Whether equivalent orders of steps are left out.
    pub reduces: bool,
    /// How many threads take steps, those of the rayon pool that this is called in. What is found does not depend on it.
    pub threads: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { states: 10_000_000, time: None, reduces: true, threads: 1 }
    }
}

/// Why an exploration is not complete.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cut {
    /// There are more states than allowed.
    States,
    /// More time has passed than allowed.
    Time,
    /// Orders with more preemptions than allowed were not tried.
    Bound,
    /// Only a sample of all orders was tried.
    Sample,
    /// Only the schedule that was given was followed.
    Schedule,
    /// A store found its core's buffer full: orders that need a deeper buffer are missing.
    Depth,
    /// Likewise, and the buffer is as deep as there are.
    Deepest,
    /// So many of the executions drawn had not come to an end when they were given up, and whether they can is not known.
    Unended(u64),
    /// A core was about to do something that is not followed.
    Beyond(Beyond),
}

/// Where exploration does not go on: an instruction, or a device.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize)]
pub struct CutPlace {
    /// Why.
    pub reason: Beyond,
    /// Linear address of the instruction; `None` where none is to blame.
    pub pc: Option<u64>,
    /// Which core is about to execute it, or whose local APIC it is.
    pub core: Option<CoreId>,
    /// The device that does something by itself.
    pub device: Option<&'static str>,
}

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Cut::States => f.write_str("there are more states than allowed"),
            Cut::Bound => f.write_str("orders with more preemptions were not tried"),
            Cut::Sample => f.write_str("only a sample of all orders was tried"),
            Cut::Schedule => f.write_str("only the given schedule was followed"),
            Cut::Depth => f.write_str("a store buffer was full; give it more --depth or --wc-depth"),
            Cut::Deepest => f.write_str(
                "a store buffer was full that cannot be made deeper; let fewer stores in a row go by without MFENCE or LOCK",
            ),
            Cut::Unended(1) => f.write_str("1 execution was given up before its end"),
            Cut::Unended(count) => write!(f, "{count} executions were given up before their end"),
            Cut::Time => f.write_str("it takes more time than allowed"),
            Cut::Beyond(beyond) => write!(f, "a core {beyond}"),
        }
    }
}
