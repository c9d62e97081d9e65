//! What every device owes to every guest: random accesses, input and time, and what must hold after each.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use proptest::prelude::*;

use crate::{Device, Irq, Signal, Ticks, Width};

/// How many random runs a device is given in each test: a sample, or as many as `FENCEPOST_CASES` says:
///
/// ```text
/// FENCEPOST_CASES=100000 cargo test --release -p fencepost-devices guest
/// ```
///
/// # Panics
/// It does not say a number.
pub(crate) fn cases() -> u32 {
    let asked = std::env::var("FENCEPOST_CASES").ok();
    asked.map_or(256, |asked| asked.parse().expect("FENCEPOST_CASES is a number"))
}

/// One thing that happens to a device.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Read { offset: u64, width: Width },
    Write { offset: u64, width: Width, value: u64 },
    Host([u8; 4]),
    Wait { ticks: u64 },
    WaitForEvent,
}

/// Random runs over a device with registers at the offsets below `offsets`, whose guests like to write `favourites`.
pub(crate) fn runs(offsets: u64, favourites: &'static [u8]) -> impl Strategy<Value = Vec<Step>> {
    // Mostly the registers there are; a device must also stand offsets that no region of it has.
    let offset = prop_oneof![20 => 0..offsets, 1 => any::<u64>()].boxed();
    let width =
        prop_oneof![8 => Just(Width::Byte), 2 => Just(Width::Word), 2 => Just(Width::Dword), 1 => Just(Width::Qword)];
    let width = width.boxed();
    let value = prop_oneof![any::<u64>(), prop::sample::select(favourites).prop_map(u64::from)];
    let step = prop_oneof![
        4 => (offset.clone(), width.clone()).prop_map(|(offset, width)| Step::Read { offset, width }),
        8 => (offset, width, value).prop_map(|(offset, width, value)| {
            Step::Write { offset, width, value: value & width.mask() }
        }),
        2 => any::<[u8; 4]>().prop_map(Step::Host),
        // Any magnitude from one tick to days.
        3 => (0..44_u32, any::<u64>()).prop_map(|(bits, ticks)| Step::Wait { ticks: ticks & ((1 << bits) - 1) }),
        3 => Just(Step::WaitForEvent),
    ];
    prop::collection::vec(step, 0..200)
}

/// Lets a run happen to `device`; `host` is what the world outside does to it.
///
/// # Panics
/// The device broke the contract.
pub(crate) fn check<D: Device + Clone + Eq + Hash>(
    mut device: D,
    run: &[Step],
    host: impl Fn(&mut D, [u8; 4]) -> Vec<Signal>,
) {
    let mut now = Ticks(0);
    let mut raised = HashSet::new();
    for step in run {
        let before = device.clone();
        let signals = match *step {
            Step::Read { offset, width } => device.read(offset, width).1,
            Step::Write { offset, width, value } => device.write(offset, width, value),
            Step::Host(bytes) => host(&mut device, bytes),
            Step::Wait { ticks } => wait(&mut device, &mut now, ticks),
            Step::WaitForEvent => match device.next_event() {
                Some(event) => wait_until(&mut device, &mut now, event),
                None => Vec::new(),
            },
        };
        follow(&mut raised, &signals);
        let event = device.next_event();
        assert!(event.is_none_or(|event| event > now), "{event:?} is not after {now:?}: {before:?}");
        let copy = device.clone();
        assert!(copy == device && hash(&copy) == hash(&device), "a clone differs: {device:?}");
        assert!(!format!("{device:?}").is_empty(), "a device shows its state");
        for offset in 0..16 {
            assert!(!device.register(offset).is_empty(), "a register has a name");
        }
    }
}

fn wait(device: &mut impl Waits, now: &mut Ticks, ticks: u64) -> Vec<Signal> {
    let then = Ticks(now.0 + ticks);
    wait_until(device, now, then)
}

/// Short names for what `wait_until` needs.
trait Waits: Device + Clone + Eq {}
impl<D: Device + Clone + Eq> Waits for D {}

/// Waits in one go, and compares with waiting in two.
fn wait_until(device: &mut impl Waits, now: &mut Ticks, then: Ticks) -> Vec<Signal> {
    let mut in_two = device.clone();
    let half = Ticks(now.0 + (then.0 - now.0) / 2);
    let early = in_two.advance(half);
    if device.next_event().is_none_or(|event| event > half) {
        assert_eq!(early, [], "nothing happens before the next event");
    }
    in_two.advance(then);
    let signals = device.advance(then);
    assert!(format!("{in_two:?}") == format!("{device:?}"), "time makes a difference in pieces: {device:?}");
    *now = then;
    signals
}

/// A line that is raised twice or lowered twice would confuse an interrupt controller.
fn follow(raised: &mut HashSet<Irq>, signals: &[Signal]) {
    for signal in signals {
        match signal {
            Signal::RaiseIrq(irq) => assert!(raised.insert(*irq), "{irq} is raised already"),
            Signal::LowerIrq(irq) => assert!(raised.remove(irq), "{irq} is not raised"),
            _ => {}
        }
    }
}

fn hash(device: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    device.hash(&mut hasher);
    hasher.finish()
}
