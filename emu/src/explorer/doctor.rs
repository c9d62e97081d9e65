//! The fence doctor: where fences make a program right, and which of its fences it does not need.
//!
//! A place for a fence is an instruction, before which the core's buffer must be empty; none is within an instruction that
//! makes several accesses, nor before one that repeats itself, where a fence would stand before the first round only. The sets of places that suffice are
//! found as minimal hitting sets (Reiter, Artificial Intelligence 32, 1987): each violation that is possible with the fences
//! chosen so far is a way along which some core went on with stores in its buffer, and any set that prevents it has a place
//! among the instructions where it did. Every set is verified by exploring the whole program with it.
//!
//! What goes wrong under sequential consistency goes wrong with any fences (SC within TSO within PSO), so that is tried first.
//! Of the program's own fences ([`OwnFence`]) each is judged by exploring the program without it.

use super::limits::{Cut, CutPlace};
use super::own_fence::OwnFence;
use super::survey::{BEGINS_AGAIN, DOES_NOT_END, Judged, NOTHING_SHARED, Surveyor};
use super::toggles::Toggles;
use super::{End, Hangs, Limits};
use crate::memory_model::MemoryModel;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Instant;

/// What the doctor found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Findings {
    /// Whether the program is right as it is.
    pub holds: bool,
    /// Whether a violation was found; if the program does not hold either, a bound was reached first.
    pub violated: bool,
    /// Why explorations were not complete.
    pub cuts: Vec<String>,
    /// Where that was, as far as it was at an instruction or because of a device.
    #[serde(skip)]
    pub cut_places: Vec<CutPlace>,
    /// Each minimal set of places, smallest first; with the program as it is, none is needed.
    pub cures: Vec<Vec<Place>>,
    /// Fences in the program without which it is right as well, each alone. What is said of its own fences is so with the
    /// program as it is, or, where it is not right, with the first of `cures` in place.
    pub redundant: Vec<u64>,
    /// Those of `redundant` that can all go at once, chosen in their order: none of the others can go, too.
    pub removable: Vec<u64>,
    /// Those of `redundant` that are needed once all of `removable` are gone.
    pub needed_then: Vec<u64>,
    /// Fences in the program of which a bound left open whether it needs them, alone or with `removable` gone.
    pub undecided: Vec<u64>,
    /// Fences in the program that are executed.
    pub fences: Vec<u64>,
    /// What each of `fences` is.
    pub kinds: BTreeMap<u64, OwnFence>,
    /// Whether no bound on states, time or explorations was reached.
    pub complete: bool,
    /// Whether there may be minimal sets of more places than were tried.
    pub larger_untried: bool,
    /// A violation that no fence prevents.
    pub incurable: bool,
    /// That violation, or another one, is possible under sequential consistency, too.
    pub in_order: bool,
    /// How many explorations it took.
    pub explorations: usize,
}

/// A place for a fence.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
pub struct Place {
    /// Linear address of the instruction before which the fence stands.
    pub pc: u64,
    /// SFENCE suffices.
    pub store_fence: bool,
}

/// How far the doctor looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Patience {
    /// The most fences in a set.
    pub places: usize,
    /// The most explorations.
    pub explorations: usize,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience { places: 6, explorations: 20_000 }
    }
}

/// What exploring with some fences showed.
enum Verdict {
    Holds,
    /// Not so, along a way on which cores went on at these instructions with stores in their buffers.
    Violated(Way),
    /// A bound was reached.
    Unknown,
}

/// Where cores went on with stores in their buffers, on the way to a violation.
#[derive(Default)]
pub(super) struct Way {
    /// Instructions before which a fence would have kept them.
    pub(super) places: BTreeSet<u64>,
    /// They also did in a round of an instruction that repeats itself, before which one might.
    pub(super) repeats: bool,
}

/// Why not all fences that could help were tried, if so.
const NOT_BEFORE_REPEATED: &str = "a fence before an instruction that repeats itself is not tried";

/// Why one of the guest's own fences could not be judged, if so.
const NOT_TOLD: &str = "what the guest reports inside its region without one of its fences is not known";

/// Finds the minimal sets of fences with which the guest is right under `model`, and the fences it has for nothing.
///
/// The states of `limits` bound each exploration, its time all of them together.
pub fn examine(surveyor: &mut Surveyor, model: MemoryModel, limits: &Limits, patience: &Patience) -> Findings {
    let mut findings = Findings { complete: true, ..Findings::default() };
    let (began, cuts, cut_places) = (Instant::now(), BTreeSet::new(), BTreeSet::new());
    let mut doctor = Doctor { surveyor, model, limits, began, explorations: 0, cuts, cut_places };
    match doctor.verdict(&Toggles::default()) {
        Verdict::Holds => findings.holds = true,
        Verdict::Violated(way) => {
            findings.violated = true;
            findings.in_order = doctor.goes_wrong_in_order();
            findings.incurable = findings.in_order;
            if !findings.incurable {
                doctor.cure(way, patience, &mut findings);
            }
        }
        Verdict::Unknown => findings.complete = false,
    }
    findings.kinds = doctor.surveyor.fences();
    findings.fences = findings.kinds.keys().copied().collect();
    if let Some(right) = right(&findings) {
        doctor.spare(&right, &mut findings);
    }
    findings.explorations = doctor.explorations;
    findings.cuts = doctor.cuts.into_iter().collect();
    findings.cut_places = doctor.cut_places.into_iter().collect();
    findings
}

/// The fences with which the guest is right: none, or those of the first cure; `None` where there is no such thing.
fn right(findings: &Findings) -> Option<Toggles> {
    if findings.holds {
        return Some(Toggles::default());
    }
    let cure = findings.cures.first()?;
    let (store, full) = cure.iter().partition(|place| place.store_fence);
    let addresses = |places: Vec<&Place>| places.into_iter().map(|place| place.pc).collect();
    Some(Toggles { full: addresses(full), store: addresses(store), ..Toggles::default() })
}

struct Doctor<'a> {
    surveyor: &'a mut Surveyor,
    model: MemoryModel,
    limits: &'a Limits,
    began: Instant,
    explorations: usize,
    /// Why explorations were not complete.
    cuts: BTreeSet<String>,
    cut_places: BTreeSet<CutPlace>,
}

impl Doctor<'_> {
    /// Whether the program, which is not right, is not either where no store is ever late.
    fn goes_wrong_in_order(&mut self) -> bool {
        let verdict = |doctor: &mut Self| doctor.verdict_under(&Toggles::default(), MemoryModel::SC);
        self.model == MemoryModel::SC || matches!(verdict(self), Verdict::Violated(_))
    }

    /// All minimal sets, by growing sets along violations, smallest first.
    fn cure(&mut self, first: Way, patience: &Patience, findings: &mut Findings) {
        let mut generation = vec![(BTreeSet::new(), first)];
        let mut cures: Vec<BTreeSet<u64>> = Vec::new();
        let mut tried: HashSet<BTreeSet<u64>> = HashSet::new();
        for _ in 0..patience.places {
            let mut next = Vec::new();
            for (chosen, way) in generation {
                if way.repeats {
                    findings.complete = false;
                    self.cuts.insert(NOT_BEFORE_REPEATED.into());
                }
                // Fences leave a way alone on which nobody goes on with pending stores where one could stand.
                if way.places.is_empty() && !way.repeats {
                    findings.incurable = true;
                    return;
                }
                for place in way.places.difference(&chosen) {
                    let mut set: BTreeSet<u64> = chosen.clone();
                    set.insert(*place);
                    if cures.iter().any(|cure| cure.is_subset(&set)) || !tried.insert(set.clone()) {
                        continue;
                    }
                    if self.explorations >= patience.explorations {
                        findings.complete = false;
                        break;
                    }
                    match self.verdict(&Toggles { full: set.clone(), ..Toggles::default() }) {
                        Verdict::Holds => cures.push(set),
                        Verdict::Violated(way) => next.push((set, way)),
                        Verdict::Unknown => findings.complete = false,
                    }
                }
            }
            generation = next;
        }
        findings.larger_untried = !generation.is_empty();
        // A set may turn out to contain one that was found later in its generation.
        let minimal: Vec<_> =
            cures.iter().filter(|set| !cures.iter().any(|other| other != *set && other.is_subset(set))).collect();
        findings.cures = minimal.into_iter().map(|set| self.weaken(set, findings)).collect();
    }

    /// The same places, with an SFENCE wherever that suffices.
    fn weaken(&mut self, set: &BTreeSet<u64>, findings: &mut Findings) -> Vec<Place> {
        let mut toggles = Toggles { full: set.clone(), ..Toggles::default() };
        for &place in set {
            let mut weaker = toggles.clone();
            weaker.full.remove(&place);
            weaker.store.insert(place);
            match self.verdict(&weaker) {
                Verdict::Holds => toggles = weaker,
                Verdict::Violated(_) => (),
                Verdict::Unknown => findings.complete = false,
            }
        }
        set.iter().map(|&pc| Place { pc, store_fence: toggles.store.contains(&pc) }).collect()
    }

    /// Finds which of the guest's own fences can go when it is `right`.
    fn spare(&mut self, right: &Toggles, findings: &mut Findings) {
        for &fence in &findings.fences {
            match self.verdict(&Toggles { without: BTreeSet::from([fence]), ..right.clone() }) {
                Verdict::Holds => findings.redundant.push(fence),
                Verdict::Violated(_) => (),
                Verdict::Unknown => findings.undecided.push(fence),
            }
        }
        let mut gone = BTreeSet::new();
        for &fence in &findings.redundant {
            let mut without = gone.clone();
            without.insert(fence);
            // The first of them has been tried.
            let is_first = gone.is_empty();
            let toggles = Toggles { without: without.clone(), ..right.clone() };
            match if is_first { Verdict::Holds } else { self.verdict(&toggles) } {
                Verdict::Holds => gone = without,
                // A fence only ever takes ways away: with still more of them gone this one stays needed.
                Verdict::Violated(_) => findings.needed_then.push(fence),
                Verdict::Unknown => findings.undecided.push(fence),
            }
        }
        findings.removable = gone.into_iter().collect();
        findings.complete &= findings.undecided.is_empty();
    }

    fn verdict(&mut self, toggles: &Toggles) -> Verdict {
        self.verdict_under(toggles, self.model)
    }

    fn verdict_under(&mut self, toggles: &Toggles, model: MemoryModel) -> Verdict {
        if self.is_late() {
            return self.given_up();
        }
        self.explorations += 1;
        let time = self.limits.time.map(|time| time.saturating_sub(self.began.elapsed()));
        let explored = self.surveyor.explore_with(toggles, model, &Limits { time, ..*self.limits });
        let mut open = BTreeSet::new();
        for index in 0..explored.finals().len() {
            if self.is_late() {
                return self.given_up();
            }
            match self.surveyor.judge(&explored, index) {
                Judged::Wrong => return Verdict::Violated(self.surveyor.places_on_the_way_to(&explored, index)),
                Judged::Endless => _ = open.insert(DOES_NOT_END),
                Judged::Untold => _ = open.insert(NOT_TOLD),
                Judged::Again => _ = open.insert(BEGINS_AGAIN),
                // Why is among what cut the exploration off.
                Judged::Right | Judged::Cut => (),
            }
        }
        let time = self.limits.time.map(|time| time.saturating_sub(self.began.elapsed()));
        let hangs = self.surveyor.hangs(&explored, &Limits { time, ..*self.limits });
        if let Some(way) = self.surveyor.places_on_the_way_to_a_hang(&hangs, &explored) {
            return Verdict::Violated(way);
        }
        if hangs.is_late {
            return self.given_up();
        }
        if !hangs.unsettled.is_empty() {
            self.cuts.extend(hangs.unsettled.iter().map(ToString::to_string));
            return Verdict::Unknown;
        }
        if explored.is_complete() && explored.witness().is_some_and(|witness| witness.is_hollow()) {
            self.cuts.insert(NOTHING_SHARED.into());
            return Verdict::Unknown;
        }
        self.cuts.extend(explored.cuts().iter().map(ToString::to_string));
        self.cuts.extend(open.iter().map(ToString::to_string));
        self.cut_places.extend(explored.cut_places());
        if explored.is_complete() && open.is_empty() { Verdict::Holds } else { Verdict::Unknown }
    }

    fn is_late(&self) -> bool {
        self.limits.time.is_some_and(|time| self.began.elapsed() >= time)
    }

    fn given_up(&mut self) -> Verdict {
        self.cuts.insert(Cut::Time.to_string());
        Verdict::Unknown
    }
}

impl Surveyor {
    /// The addresses of all fences that were executed in explorations so far, and what they are.
    fn fences(&mut self) -> BTreeMap<u64, OwnFence> {
        let (explorer, _) = self.explorer();
        explorer.world.stage.fences()
    }

    /// What that final state leads to.
    fn judge(&mut self, explored: &super::Explored, index: usize) -> Judged {
        let (explorer, _) = self.explorer();
        match explorer.end_of(explored, index) {
            End::Diverges => Judged::Wrong,
            End::Cut => Judged::Cut,
            End::Over => self.judge_ending(explored, index),
        }
    }

    /// Where cores went on with stores in their buffers, on the way to a final state.
    fn places_on_the_way_to(&mut self, explored: &super::Explored, index: usize) -> Way {
        let number = explored.finals()[index].number;
        self.places(explored, number)
    }

    fn places_on_the_way_to_a_hang(&mut self, hangs: &Hangs, explored: &super::Explored) -> Option<Way> {
        let hang = hangs.proven.first()?;
        Some(self.places(explored, hang.first))
    }

    fn places(&mut self, explored: &super::Explored, number: u32) -> Way {
        let (explorer, start) = self.explorer();
        explorer.places_with_pending_stores(start, explored, number)
    }
}
