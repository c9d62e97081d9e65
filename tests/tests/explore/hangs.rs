//! Cores that wait for ever, faults, and what exploration does not follow.

use super::guests::*;
use fencepost::explorer::region::{NoRegion, Region};
use fencepost::explorer::survey::{Outcome, Survey, Surveyor};
use fencepost::explorer::{Beyond, Cut, Limits, Plan, Strategy};
use fencepost::loader::Image;
use fencepost::machine::{Settings, Stop};
use fencepost::memory_model::MemoryModel;
use fencepost::testbench::Testbench;
use fencepost_tests::guest::{apic, store};
use iced_x86::IcedError;
use iced_x86::code_asm::*;

const TSO: MemoryModel = MemoryModel::TSO;

/// Waits until the word at `address` is `value`.
fn wait_for(a: &mut CodeAssembler, address: u64, value: i32) -> Result<(), IcedError> {
    let mut again = a.create_label();
    a.set_label(&mut again)?;
    a.cmp(dword_ptr(address), value)?;
    a.jne(again)
}

fn has_deadlock(survey: &Survey) -> bool {
    survey.outcomes.keys().any(|outcome| matches!(outcome, Outcome::Deadlock(_)))
}

fn has_livelock(survey: &Survey) -> bool {
    survey.outcomes.keys().any(|outcome| matches!(outcome, Outcome::Livelock(_)))
}

#[test]
fn waiting_for_a_word_that_is_written_ends() {
    let mut guest = cores(&[&|a| a.mov(dword_ptr(X), 1), &|a| wait_for(a, X, 1)]);
    let survey = survey(&mut guest, TSO);
    assert!(survey.is_complete());
    assert_eq!(survey.outcomes.keys().collect::<Vec<_>>(), [&Outcome::AllHalted]);
}

#[test]
fn waiting_for_each_other_is_a_deadlock() {
    let mut guest = cores(&[
        &|a| {
            wait_for(a, Y, 1)?;
            a.mov(dword_ptr(X), 1)
        },
        &|a| {
            wait_for(a, X, 1)?;
            a.mov(dword_ptr(Y), 1)
        },
    ]);
    let survey = survey(&mut guest, TSO);
    assert!(survey.is_complete() && has_deadlock(&survey), "{:?}", outcomes(&survey));
    assert_eq!(survey.outcomes.len(), 1);
}

#[test]
fn a_deadlock_that_only_some_orders_reach_is_found() {
    // Each takes its own lock, then waits for the other's to be free.
    let guest = |mine: u64, theirs: u64| {
        move |a: &mut CodeAssembler| {
            a.mov(eax, 1)?;
            a.xchg(dword_ptr(mine), eax)?;
            wait_for(a, theirs, 0)?;
            a.mov(dword_ptr(mine), 0)
        }
    };
    let (one, other) = (guest(X, Y), guest(Y, X));
    let survey = survey(&mut cores(&[&one, &other]), TSO);
    assert!(has_deadlock(&survey) && survey.outcomes.contains_key(&Outcome::AllHalted), "{:?}", outcomes(&survey));
}

#[test]
fn changing_a_word_for_ever_is_a_livelock() {
    let toggle = |a: &mut CodeAssembler| {
        let mut again = a.create_label();
        a.set_label(&mut again)?;
        a.lock().xor(dword_ptr(X), 1)?;
        a.jmp(again)
    };
    let survey = survey(&mut cores(&[&toggle, &|a| a.mov(eax, dword_ptr(X))]), TSO);
    assert!(survey.is_complete() && has_livelock(&survey), "{:?}", outcomes(&survey));
}

#[test]
fn a_loop_without_memory_is_a_livelock() {
    let forever = |a: &mut CodeAssembler| {
        let mut again = a.create_label();
        a.set_label(&mut again)?;
        a.pause()?;
        a.jmp(again)
    };
    let survey = survey(&mut cores(&[&forever, &|a| a.mov(dword_ptr(X), 1)]), TSO);
    assert!(survey.is_complete() && has_livelock(&survey), "{:?}", outcomes(&survey));
}

#[test]
fn a_long_loop_without_memory_that_ends_is_no_livelock() {
    let count = |a: &mut CodeAssembler| {
        let mut again = a.create_label();
        a.mov(ecx, 1000)?;
        a.set_label(&mut again)?;
        a.dec(ecx)?;
        a.jnz(again)
    };
    let survey = survey(&mut cores(&[&count, &|a| a.mov(dword_ptr(X), 1)]), TSO);
    assert!(survey.is_complete());
    assert_eq!(outcomes(&survey), [Outcome::AllHalted.to_string()]);
}

#[test]
fn many_ways_into_one_hang_are_told_apart_from_it_quickly() {
    // Core 0 takes a lock and keeps it; the others store to words that the other reads, and wait for the lock.
    let words = [Y, Y + 0x40];
    let worker = |index: usize| {
        move |a: &mut CodeAssembler| {
            for round in 1..=8 {
                a.mov(dword_ptr(words[index]), round)?;
                a.mov(eax, dword_ptr(words[1 - index]))?;
            }
            wait_for(a, X, 0)
        }
    };
    let (one, two) = (worker(0), worker(1));
    let survey = survey(&mut cores(&[&|a| a.mov(dword_ptr(X), 1), &one, &two]), TSO);
    assert!(survey.explored.states() > 100_000, "{} states are too few to take long", survey.explored.states());
    assert!(has_deadlock(&survey) && survey.outcomes.contains_key(&Outcome::AllHalted), "{:?}", outcomes(&survey));
}

#[test]
fn a_spinning_core_does_not_hide_what_the_other_does() {
    // Core 0 only ever reads memory of its own; core 1 faults.
    let survey = survey(&mut cores(&[&|a| wait_for(a, Y, 1), &|a| a.ud2()]), TSO);
    assert!(survey.outcomes.keys().any(|it| matches!(it, Outcome::Faulted(_))), "{:?}", outcomes(&survey));
}

#[test]
fn a_fault_in_some_orders_is_found() {
    let divide = |a: &mut CodeAssembler| {
        a.mov(ecx, dword_ptr(X))?;
        a.mov(eax, 1)?;
        a.xor(edx, edx)?;
        a.div(ecx)
    };
    let survey = survey(&mut cores(&[&|a| a.mov(dword_ptr(X), 1), &divide]), TSO);
    let faults = survey.outcomes.keys().filter(|it| matches!(it, Outcome::Faulted(_))).count();
    assert_eq!((faults, survey.outcomes.contains_key(&Outcome::AllHalted)), (1, true));
}

#[test]
fn reading_the_time_is_not_followed_and_not_called_complete() {
    let read_clock = |register: i32| {
        move |a: &mut CodeAssembler| {
            a.mov(al, register)?;
            a.out(0x70, al)?;
            a.in_(al, 0x71)
        }
    };
    let read_count = |a: &mut CodeAssembler| {
        a.mov(eax, apic::TIMER_CURRENT as u32)?;
        a.mov(ecx, dword_ptr(rax))
    };
    let of_time: [Code; 5] = [
        &|a| a.rdtsc(),
        &|a| a.in_(al, 0x40),
        // Counter 2's output, by which a speaker and loops of calibration go.
        &|a| a.in_(al, 0x61),
        &read_clock(0),
        // Whether an update is in progress.
        &read_clock(0x0a),
    ];
    for (number, reads) in of_time.into_iter().enumerate() {
        let survey = survey(&mut cores(&[reads, &|a| a.mov(dword_ptr(X), 1)]), TSO);
        assert_eq!(survey.cuts(), [Cut::Beyond(Beyond::ReadsTime)], "number {number}");
        assert!(!survey.is_complete());
    }
    // A timer that counts since before the region, masked.
    let counts = |a: &mut CodeAssembler| {
        store(a, apic::TIMER_INITIAL, 1000)?;
        a.xchg(bx, bx)?;
        read_count(a)
    };
    let survey_of_count = survey(&mut marked_cores(&[&counts, &|a| a.xchg(bx, bx)]), TSO);
    assert_eq!(survey_of_count.cuts(), [Cut::Beyond(Beyond::ReadsTime)]);
    // What else is read there is no clock.
    let of_other: [Code; 3] = [&read_count, &read_clock(0x0b), &read_clock(0x15)];
    for reads in of_other {
        assert!(survey(&mut cores(&[reads, &|a| a.mov(dword_ptr(X), 1)]), TSO).is_complete());
    }
}

#[test]
fn setting_a_clock_is_not_followed_and_not_called_complete() {
    let set_clock = |register: i32| {
        move |a: &mut CodeAssembler| {
            a.mov(al, register)?;
            a.out(0x70, al)?;
            a.out(0x71, al)
        }
    };
    let of_time: [Code; 4] =
        [&|a| store(a, apic::TIMER_INITIAL, 1000), &|a| a.out(0x42, al), &|a| a.out(0x43, al), &set_clock(0)];
    for (number, writes) in of_time.into_iter().enumerate() {
        let survey = survey(&mut cores(&[writes, &|a| a.mov(dword_ptr(X), 1)]), TSO);
        assert_eq!(survey.cuts(), [Cut::Beyond(Beyond::SetsClock)], "number {number}");
    }
    assert!(survey(&mut cores(&[&set_clock(0x0f), &|a| a.mov(dword_ptr(X), 1)]), TSO).is_complete());
}

#[test]
fn who_waits_for_what_is_not_followed_does_not_hang() {
    let stores = |first: Code| {
        let code = |a: &mut CodeAssembler| {
            first(a)?;
            a.mov(dword_ptr(X), 1)
        };
        survey(&mut cores(&[&code, &|a| wait_for(a, X, 1)]), TSO)
    };
    let firsts: [Code; 2] = [&|a| a.rdtsc(), &|a| a.in_(al, 0x40)];
    for first in firsts {
        let survey = stores(first);
        assert_eq!(survey.cuts(), [Cut::Beyond(Beyond::ReadsTime)]);
        assert!(outcomes(&survey).is_empty(), "{:?}", outcomes(&survey));
    }
}

/// In an entry of the local vector table.
const MASKED: u32 = 1 << 16;

/// A local APIC that is on, and its timer, masked, about to have counted 40.
fn start_timer(a: &mut CodeAssembler) -> Result<(), IcedError> {
    store(a, apic::SVR, apic::ENABLED)?;
    // Division by 1.
    store(a, apic::TIMER_DIVIDE, 0xb)?;
    store(a, apic::LVT_TIMER, MASKED | 0x30)?;
    store(a, apic::TIMER_INITIAL, 40)
}

#[test]
fn what_time_would_have_brought_by_then_is_not_said_to_be_missing() {
    // Steps at devices, so many that the timer is over or is not; then the timer is unmasked.
    for reads in [1, 28, 60] {
        let late = |a: &mut CodeAssembler| {
            start_timer(a)?;
            a.xchg(bx, bx)?;
            (0..reads).try_for_each(|_| a.in_(al, 0x21))?;
            store(a, apic::LVT_TIMER, 0x30)?;
            a.mov(dword_ptr(X), 1)
        };
        let survey = survey(&mut marked_cores(&[&late, &|a| a.xchg(bx, bx)]), TSO);
        assert_eq!(survey.cuts(), [Cut::Beyond(Beyond::RunsTimer)], "{reads} reads");
        assert!(outcomes(&survey).is_empty(), "{:?}", outcomes(&survey));
    }
}

#[test]
fn a_timer_that_only_counts_makes_no_states() {
    let polls = |a: &mut CodeAssembler| {
        let mut again = a.create_label();
        start_timer(a)?;
        a.mov(ebx, apic::TPR as u32)?;
        a.xchg(bx, bx)?;
        a.set_label(&mut again)?;
        a.mov(eax, dword_ptr(rbx))?;
        a.cmp(dword_ptr(X), 1)?;
        a.jne(again)
    };
    let flag = |a: &mut CodeAssembler| {
        a.xchg(bx, bx)?;
        a.mov(dword_ptr(X), 1)
    };
    let survey = survey(&mut marked_cores(&[&polls, &flag]), TSO);
    assert!(survey.is_complete(), "{:?}", survey.cuts());
    assert!(survey.explored.states() < 20, "{} states", survey.explored.states());
}

#[test]
fn a_device_at_work_is_not_followed_even_where_a_core_only_waits() {
    let bench = Testbench::program("virtio-doorbell/mfence").expect("it exists").args("once");
    let settings = bench.current_settings().clone();
    let mut guest = surveyor(bench.loaded_image().clone(), settings, true).expect("a whole guest is a region");
    let survey = survey(&mut guest, TSO);
    assert_eq!(survey.cuts(), [Cut::Beyond(Beyond::RunsTimer)]);
    assert!(!has_deadlock(&survey), "{:?}", outcomes(&survey));
}

#[test]
fn what_is_on_its_way_to_a_device_arrives_before_the_region() {
    let bench = Testbench::program("virtio-doorbell/mfence").expect("it exists");
    let machine = bench.machine().expect("it fits");
    let answer = Region::find(machine, 1_000_000, None).map(drop);
    assert!(matches!(answer, Err(NoRegion::Ended { stop: Stop::Exited { .. }, .. })), "{answer:?}");
}

#[test]
fn a_store_to_code_is_not_followed_and_not_called_complete() {
    let survey = survey(&mut cores(&[&|a| a.mov(byte_ptr(0x10_0000), 0x90)]), TSO);
    assert_eq!(survey.cuts(), [Cut::Beyond(Beyond::StoresToCode)]);
}

/// Core 0 changes an instruction of core 1's, to which core 1 comes at once, or after it has seen a flag. Before that both
/// store and load so many times.
fn patched(waits: bool, rounds: u32) -> Surveyor {
    let assemble = || -> Result<Vec<u8>, IcedError> {
        let mut a = CodeAssembler::new(64)?;
        let (mut reader, mut patched) = (a.create_label(), a.create_label());
        let exchange = |a: &mut CodeAssembler, mine: u64, theirs: u64| -> Result<(), IcedError> {
            for round in 0..rounds {
                a.mov(dword_ptr(mine), round)?;
                a.mov(ecx, dword_ptr(theirs))?;
            }
            Ok(())
        };
        a.cmp(edi, 0)?;
        a.jne(reader)?;
        exchange(&mut a, X + 0x200, X + 0x300)?;
        a.lea(rax, ptr(patched))?;
        a.mov(byte_ptr(rax + 1), 7)?;
        a.mov(dword_ptr(Y), 1)?;
        a.hlt()?;
        a.set_label(&mut reader)?;
        a.nop()?;
        exchange(&mut a, X + 0x300, X + 0x200)?;
        if waits {
            wait_for(&mut a, Y, 1)?;
        }
        a.set_label(&mut patched)?;
        a.mov(eax, 1)?;
        a.mov(dword_ptr(X), eax)?;
        a.hlt()?;
        a.assemble(0x10_0000)
    };
    let image = Image::from_flat("patched", assemble().expect("the code assembles"));
    surveyor(image, Settings { cores: 2, ..Settings::default() }, true).expect("a whole guest is a region")
}

#[test]
fn a_store_to_code_that_is_executed_later_or_elsewhere_is_never_called_complete() {
    for (waits, strategy) in
        [false, true].into_iter().flat_map(|waits| Strategy::ALL[..4].iter().map(move |it| (waits, *it)))
    {
        let explore = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads can be started");
            let plan = Plan { strategy, runs: 20, ..Plan::default() };
            let limits = Limits { threads, ..Limits::default() };
            let mut guest = patched(waits, 0);
            let models = [MemoryModel::PSO, MemoryModel::SC, MemoryModel::TSO];
            let surveys = models.map(|model| pool.install(|| guest.survey(&plan, model, &limits)));
            surveys.map(|survey| (outcomes(&survey), survey.cuts(), survey.explored.states()))
        };
        let alone = explore(1);
        for (outcomes, cuts, _) in &alone {
            assert!(cuts.contains(&Cut::Beyond(Beyond::StoresToCode)), "{strategy:?}: {cuts:?}");
            assert!(outcomes.is_empty(), "{strategy:?}: {outcomes:?} without core 0");
        }
        assert_eq!(alone, explore(4), "{strategy:?}");
    }
}

#[test]
fn a_store_to_code_that_another_thread_comes_to_is_noticed() {
    let explore = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads can be started");
        let limits = Limits { threads, reduces: false, ..Limits::default() };
        let survey = pool.install(|| patched(false, 6).survey(&Plan::default(), MemoryModel::PSO, &limits));
        (outcomes(&survey), survey.cuts(), survey.explored.states(), survey.explored.transitions())
    };
    let alone = explore(1);
    assert!(alone.2 > 5_000, "{} states are too few to be shared out", alone.2);
    assert_eq!(alone.1, [Cut::Beyond(Beyond::StoresToCode)]);
    (0..4).for_each(|_| assert_eq!(alone, explore(4)));
}

#[test]
fn a_buffer_that_cannot_be_deeper_is_not_said_to_need_more_depth() {
    let fill = |a: &mut CodeAssembler| (0..130).try_for_each(|round| a.mov(dword_ptr(X), round));
    let survey = survey(&mut cores(&[&fill, &|a| a.mov(eax, dword_ptr(X))]), TSO);
    assert_eq!(survey.cuts(), [Cut::Deepest]);
    assert!(!Cut::Deepest.to_string().contains("--depth"));
}

#[test]
fn a_long_run_of_private_stores_fills_no_buffer() {
    let count = |a: &mut CodeAssembler| {
        let mut again = a.create_label();
        a.mov(ecx, 1000)?;
        a.set_label(&mut again)?;
        a.mov(dword_ptr(Y), ecx)?;
        a.dec(ecx)?;
        a.jnz(again)
    };
    let survey = survey(&mut cores(&[&count, &|a| a.mov(dword_ptr(X), 1)]), TSO);
    assert!(survey.is_complete(), "{:?}", survey.cuts());
}

#[test]
fn a_violation_is_not_hidden_by_a_run_that_reports_the_same() {
    let survey = survey(&mut cores(&[&|a| a.mov(dword_ptr(X), 1), &reports_the_same]), TSO);
    let outcome = Outcome::Reported("same".into());
    let reached = &survey.outcomes[&outcome];
    assert!(reached.is_violation(&outcome), "{reached:?}");
    assert_eq!(reached.exit_code, Some(1));
}

#[test]
fn a_hang_far_away_is_found_soon() {
    // Thousands of states, none of which can come to an end, lead to cores that wait for ever.
    let words = [X, Y, Y + 0x40];
    let core = |index: usize| {
        move |a: &mut CodeAssembler| {
            for round in 1..=3 {
                a.mov(dword_ptr(words[index]), round)?;
                a.mov(eax, dword_ptr(words[(index + 1) % 3]))?;
            }
            wait_for(a, words[(index + 1) % 3], 99)
        }
    };
    let (one, two, three) = (core(0), core(1), core(2));
    let survey = survey(&mut cores(&[&one, &two, &three]), TSO);
    assert!(survey.explored.states() > 10_000, "{}", survey.explored.states());
    assert!(survey.is_complete() && has_deadlock(&survey), "{:?}", outcomes(&survey));
}
