//! What can happen next: `choices` lists it, `apply` agrees, and what cannot happen leaves no trace.

use super::page_tables::*;
use super::random_guest::*;
use super::testbed::*;
use fencepost::choice::Choice;
use fencepost::core::CoreId;
use fencepost::machine::{Machine, NotPossible};
use iced_x86::IcedError;
use iced_x86::code_asm::*;

/// Whatever anyone could ask of a machine with up to three cores.
fn imaginable() -> Vec<Choice> {
    let of_core = |core: CoreId| {
        let runs = [0, 1, 40].map(|steps| [true, false].map(|drained| Choice::Run { core, steps, drained }));
        let drains = (0..20).chain([255]).map(move |entry| Choice::Drain { core, entry });
        runs.into_iter().flatten().chain([Choice::Access { core }, Choice::Interrupt { core }]).chain(drains)
    };
    [0, 1, 2, 3, 64, 255].map(CoreId).into_iter().flat_map(of_core).chain([Choice::Arrive, Choice::Pass]).collect()
}

/// Whether `choice` can happen in the machine's present state.
fn is_possible(machine: &Machine, choice: Choice) -> bool {
    let state = machine.outer_state();
    let core_of = |core: CoreId| state.cores.get(core.index());
    let runs = |core| core_of(core).is_some_and(|core| !core.is_halted());
    state.stop.is_none()
        && match choice {
            Choice::Run { core, steps, .. } => runs(core) && steps > 0,
            Choice::Access { core } => runs(core),
            Choice::Drain { core, entry } => core_of(core).is_some_and(|core| {
                let mut drainable = core.buffer.drainable(machine.settings().model);
                drainable.any(|index| index == usize::from(entry))
            }),
            Choice::Arrive => !state.board.posted().is_empty(),
            // These guests have no interrupts and no device that does anything by itself.
            Choice::Interrupt { .. } | Choice::Pass => false,
            Choice::Type { byte } => fencepost::devices::I8042::can_type(byte.into()),
            Choice::Receive { .. } | Choice::Mouse { .. } => true,
        }
}

/// Everything impossible is refused, and nothing of it is seen in the state, the trace or the events.
fn check_refusals(machine: &mut Machine) {
    machine.take_events();
    let before = (machine.snapshot().hash(), machine.trace_hash());
    let listed = machine.choices();
    for choice in imaginable().into_iter().filter(|&choice| !is_possible(machine, choice)).collect::<Vec<_>>() {
        assert!(!listed.contains(&choice), "{choice:?} is listed");
        assert_eq!(machine.apply(choice), Err(NotPossible(choice)));
    }
    assert_eq!((machine.snapshot().hash(), machine.trace_hash()), before);
    assert_eq!(machine.take_events(), []);
}

/// Everything listed can be applied.
fn check_listed(machine: &mut Machine) {
    let before = machine.snapshot();
    for choice in machine.choices() {
        assert!(is_possible(machine, choice), "{choice:?} is listed");
        machine.apply(choice).expect("what is listed can happen");
        machine.restore(&before);
    }
}

/// Everything that can happen in one step is listed, an instruction's last access aside.
fn check_complete(machine: &mut Machine) {
    let listed = machine.choices();
    for choice in imaginable() {
        let is_single = match choice {
            Choice::Run { steps, drained, .. } => steps == 1 && !drained,
            Choice::Access { .. } => false,
            Choice::Drain { .. } | Choice::Arrive | Choice::Interrupt { .. } | Choice::Pass => true,
            // Always possible, and so not listed.
            Choice::Type { .. } | Choice::Receive { .. } | Choice::Mouse { .. } => false,
        };
        assert!(!is_single || listed.contains(&choice) == is_possible(machine, choice), "{choice:?} among {listed:?}");
    }
}

#[test]
fn along_random_runs_what_is_listed_is_what_can_happen() {
    for seed in 0..12 {
        let model = [SC, TSO, PSO][seed as usize % 3];
        let mut machine = Machine::new(&talking_image(3, seed), settings(model, 3)).expect("the image fits");
        let mut numbers = Numbers(seed);
        for moment in 0..150 {
            if moment % 10 == 0 {
                check_refusals(&mut machine);
                check_listed(&mut machine);
            }
            check_complete(&mut machine);
            let choices = machine.choices();
            if choices.is_empty() {
                break;
            }
            machine.apply(numbers.pick(&choices)).expect("what is listed can happen");
        }
    }
}

#[test]
fn nothing_is_possible_once_the_machine_has_stopped() {
    for end in
        [&|a: &mut CodeAssembler| a.ud2(), &|a: &mut CodeAssembler| a.out(0xf4, al), &|a: &mut CodeAssembler| a.nop()]
            as [Code; 3]
    {
        let mut t = Testbed::new(TSO, &[end]);
        t.run(0);
        assert!(t.machine.stop().is_some());
        assert_eq!(t.machine.choices(), []);
        check_refusals(&mut t.machine);
    }
}

#[test]
fn a_halted_core_takes_no_steps_but_its_stores_drain() {
    let mut t = Testbed::new(TSO, &[&|a| a.mov(qword_ptr(X), 1), &|a| a.nop()]);
    t.run(0);
    let run = |core| Choice::Run { core: CoreId(core), steps: 1, drained: false };
    assert_eq!(t.machine.choices(), [Choice::Drain { core: CoreId(0), entry: 0 }, run(1)]);
    check_refusals(&mut t.machine);
}

#[test]
fn a_refusal_names_the_choice() {
    let mut t = Testbed::new(TSO, &[&|a| a.nop()]);
    let refused = t.machine.apply(Choice::Drain { core: CoreId(0), entry: 3 }).expect_err("the buffer is empty");
    assert_eq!(refused.to_string(), "`0d3` is not possible at this point");
}

/// Whether the next access of core 0 is listed.
fn lists_access(t: &mut Testbed) -> bool {
    t.machine.choices().contains(&Choice::Access { core: CoreId(0) })
}

fn point_to_memory(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.mov(esi, X as u32)?;
    a.mov(edi, Z as u32)?;
    a.mov(ebx, (LAST - 3) as u32)?;
    a.mov(ecx, 2)?;
    a.mov(ebp, Z as u32)
}

#[test]
fn an_instruction_with_several_accesses_offers_them_one_by_one() {
    let several: [Code; 18] = [
        &|a| a.add(qword_ptr(rsi), 1),
        &|a| a.inc(byte_ptr(rsi)),
        &|a| a.cmpxchg(qword_ptr(rsi), rax),
        &|a| a.cmpxchg16b(xmmword_ptr(rsi)),
        &|a| a.xadd(dword_ptr(rsi), eax),
        &|a| a.push(qword_ptr(rsi)),
        &|a| a.pop(qword_ptr(rsi)),
        &|a| a.call(qword_ptr(rsi)),
        &|a| a.movsb(),
        &|a| a.rep().movsq(),
        &|a| a.cmpsd(),
        &|a| a.movups(xmm0, xmmword_ptr(rsi)),
        &|a| a.movaps(xmmword_ptr(rsi), xmm0),
        &|a| a.mov(rax, qword_ptr(rsi + 60)),
        &|a| a.mov(word_ptr(rsi + 63), ax),
        &|a| a.mov(qword_ptr(rbx), rax),
        &|a| a.fxsave(byte_ptr(rsi)),
        &|a| a.enter(16, 2),
    ];
    for (index, code) in several.into_iter().enumerate() {
        let code = |a: &mut CodeAssembler| {
            point_to_memory(a)?;
            code(a)
        };
        let mut t = paged(TSO, &[&code]);
        t.steps(0, 5);
        let clock = t.core(0).clock;
        assert!(lists_access(&mut t), "instruction {index}");
        t.access(0);
        assert_eq!(t.core(0).clock, clock, "instruction {index} has another access");
        assert!(lists_access(&mut t), "instruction {index}, begun");
    }
}

#[test]
fn a_round_of_a_repeated_string_instruction_offers_its_accesses() {
    let rounds: [Code; 3] = [&|a| a.rep().stosw(), &|a| a.rep().lodsw(), &|a| a.repne().scasw()];
    for (index, code) in rounds.into_iter().enumerate() {
        let code = |a: &mut CodeAssembler| {
            point_to_memory(a)?;
            a.mov(edi, LINE_END as u32)?;
            a.mov(esi, LINE_END as u32)?;
            code(a)
        };
        let mut t = Testbed::new(TSO, &[&code]);
        t.steps(0, 7);
        assert!(lists_access(&mut t), "instruction {index} crosses a line");
    }
}

#[test]
fn an_indivisible_instruction_offers_no_access() {
    let single: [Code; 10] = [
        &|a| a.nop(),
        &|a| a.mov(qword_ptr(rsi), rax),
        &|a| a.mov(rax, qword_ptr(rsi + 56)),
        &|a| a.lock().add(qword_ptr(rsi + 63), rax),
        &|a| a.lock().cmpxchg16b(xmmword_ptr(rsi)),
        &|a| a.xchg(qword_ptr(rsi), rax),
        &|a| a.push(rax),
        &|a| a.lea(rax, qword_ptr(rsi)),
        &|a| a.stosb(),
        &|a| a.prefetcht0(byte_ptr(rsi + 63)),
    ];
    for (index, code) in single.into_iter().enumerate() {
        let code = |a: &mut CodeAssembler| {
            point_to_memory(a)?;
            code(a)
        };
        let mut t = Testbed::new(TSO, &[&code]);
        t.steps(0, 5);
        assert!(!lists_access(&mut t), "instruction {index}");
        let clock = t.core(0).clock;
        t.access(0);
        assert_eq!(t.core(0).clock, clock + 1, "instruction {index} retires by its access");
    }
}

#[test]
fn in_random_programs_every_instruction_that_can_be_interrupted_offers_it() {
    for seed in 0..100 {
        let machine = Machine::new(&random_image(1, seed), settings(TSO, 1)).expect("the image fits");
        let mut t = Testbed { machine };
        while !t.core(0).is_halted() && t.core(0).clock < 1000 {
            let (clock, pc, is_listed) = (t.core(0).clock, t.pc(0), lists_access(&mut t));
            t.access(0);
            let name =
                t.machine.instruction_at(CoreId(0), pc).map_or_else(String::new, |instruction| instruction.to_string());
            assert!(is_listed || t.core(0).clock > clock, "`{name}` of program {seed}, at {pc:#x}");
            if t.core(0).clock == clock {
                t.step(0);
            }
        }
    }
}
