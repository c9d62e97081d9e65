//! Guests that do what no guest should: the machine goes on or stops, and says which.

use fencepost::loader::{FLAT_BASE, Image};
use fencepost::machine::{MOST_CORES, Stop};
use fencepost::memory_model::MemoryModel;
use fencepost::runner::Ended;
use fencepost::testbench::{Run, Testbench};
use fencepost::trace::Fault;
use iced_x86::IcedError;
use iced_x86::code_asm::*;

const RAM: u64 = 8 << 20;

type Code<'a> = &'a dyn Fn(&mut CodeAssembler) -> Result<(), IcedError>;

fn bench(code: Code) -> Testbench {
    let mut assembler = CodeAssembler::new(64).expect("x86 has 64-bit code");
    code(&mut assembler).expect("the instructions exist");
    let bytes = assembler.assemble(FLAT_BASE).expect("branches reach their targets");
    Testbench::image(Image::from_flat("anything", bytes)).max_steps(100_000)
}

/// Runs it under every model.
fn check(code: Code, is_right: impl Fn(&Run) -> bool) {
    for model in MemoryModel::ALL {
        let run = bench(code).model(model).run().expect("it fits");
        assert!(is_right(&run), "under {model}: {:?}, {:?} after {} steps", run.ended(), run.stop(), run.steps());
    }
}

fn fault(run: &Run) -> Option<Fault> {
    match run.stop() {
        Some(Stop::Faulted { fault, .. }) => Some(fault),
        Some(Stop::Exited { .. } | Stop::AllHalted | Stop::Reset) | None => None,
    }
}

fn is_exception(run: &Run, expected: u32) -> bool {
    matches!(fault(run), Some(Fault::Exception { vector, .. }) if vector == expected)
}

#[test]
fn a_jump_to_where_nothing_is_executable_is_a_page_fault() {
    for target in [0u64, 0x18_0000, 0xb_8000, 0xe000_0000, 0xfd00_0000, 1 << 40] {
        check(
            &|a| {
                a.mov(rax, target)?;
                a.jmp(rax)
            },
            |run| is_exception(run, 14),
        );
    }
}

#[test]
fn a_jump_to_an_impossible_address_is_a_fault() {
    check(
        &|a| {
            a.mov(rax, 1u64 << 63)?;
            a.jmp(rax)
        },
        |run| fault(run).is_some(),
    );
}

#[test]
fn a_run_off_the_end_of_the_code_is_a_fault() {
    check(&|a| a.nop(), |run| fault(run).is_some());
}

#[test]
fn stores_may_go_wherever_there_is_memory_or_not() {
    // The first 4 GiB are mapped, whether or not something is there.
    check(
        &|a| {
            let mut next = a.create_label();
            a.mov(rbx, RAM - 0x10_0000)?;
            a.set_label(&mut next)?;
            a.mov(qword_ptr(rbx), -1)?;
            a.add(rbx, 0x7_7ff9)?;
            a.bt(rbx, 32u32)?;
            a.jnc(next)?;
            a.hlt()
        },
        |run| run.stop() == Some(Stop::AllHalted),
    );
}

#[test]
fn a_guest_may_wipe_out_everything_under_itself() {
    // From the first byte on: descriptors, boot information, page tables.
    check(
        &|a| {
            a.mov(edi, 0)?;
            a.mov(rcx, -1i64)?;
            a.xor(eax, eax)?;
            a.rep().stosb()
        },
        |run| run.ended() == Ended::StepLimit || fault(run).is_some(),
    );
}

#[test]
fn a_machine_whose_cores_have_all_halted_stops() {
    check(&|a| a.hlt(), |run| run.stop() == Some(Stop::AllHalted));
}

#[test]
fn stores_pending_when_all_halt_become_visible() {
    for model in MemoryModel::ALL {
        let code = |a: &mut CodeAssembler| {
            a.mov(qword_ptr(0x18_0000), 7)?;
            a.hlt()
        };
        let mut run = bench(&code).cores(1).model(model).run().expect("it fits");
        let memory = &run.machine().state().memory;
        assert_eq!(memory.read_u64(fencepost::devices::PhysAddr(0x18_0000)), Some(7));
    }
}

#[test]
fn an_endless_loop_ends_at_the_step_limit() {
    let forever = |a: &mut CodeAssembler| {
        let mut here = a.create_label();
        a.set_label(&mut here)?;
        a.jmp(here)
    };
    check(&forever, |run| run.ended() == Ended::StepLimit && run.stop().is_none() && run.steps() >= 100_000);
}

#[test]
fn a_loop_of_pauses_ends_at_the_step_limit() {
    let forever = |a: &mut CodeAssembler| {
        let mut here = a.create_label();
        a.set_label(&mut here)?;
        a.pause()?;
        a.jmp(here)
    };
    check(&forever, |run| run.ended() == Ended::StepLimit);
}

#[test]
fn a_repeated_instruction_without_end_ends_at_the_step_limit() {
    let forever = |a: &mut CodeAssembler| {
        a.mov(rcx, -1i64)?;
        a.mov(rsi, 0x18_0000u64)?;
        a.rep().lodsb()?;
        a.hlt()
    };
    check(&forever, |run| run.ended() == Ended::StepLimit || fault(run).is_some());
}

#[test]
fn endless_output_is_kept_up_to_a_bound() {
    const STEPS: u64 = 4_000_000;
    const KEPT: usize = 1 << 20;
    let forever = |a: &mut CodeAssembler| {
        let mut here = a.create_label();
        a.mov(edx, 0x3f8)?;
        a.mov(eax, u32::from(b'x'))?;
        a.set_label(&mut here)?;
        a.out(dx, al)?;
        a.jmp(here)
    };
    let run = bench(&forever).cores(1).max_steps(STEPS).run().expect("it fits");
    assert_eq!(run.ended(), Ended::StepLimit);
    let serial = run.serial();
    assert!((KEPT..KEPT + 100).contains(&serial.len()), "{} bytes are kept", serial.len());
    assert!(serial.ends_with(" more bytes not kept]\n"), "and what is not kept is counted");
}

#[test]
fn an_exception_ends_the_run_whatever_the_guest_has_prepared() {
    let prepared: [(u32, Code); 6] = [
        (0, &|a| {
            a.xor(ecx, ecx)?;
            a.div(ecx)
        }),
        (3, &|a| a.int3()),
        (6, &|a| a.ud2()),
        (13, &|a| {
            a.mov(eax, 0xfff8)?;
            a.mov(ds, eax)
        }),
        (14, &|a| {
            a.mov(rbx, 1u64 << 40)?;
            a.lidt(ptr(0x18_0000))?;
            a.mov(eax, dword_ptr(rbx))
        }),
        // No table, no stack, no way to deliver anything.
        (14, &|a| {
            a.lidt(ptr(0x18_0000))?;
            a.lgdt(ptr(0x18_0000))?;
            a.mov(rsp, 1u64 << 40)?;
            a.push(rax)
        }),
    ];
    for (vector, code) in prepared {
        check(code, |run| is_exception(run, vector));
    }
}

/// Each core writes its letter to the serial port once the core before it has; the last exits with its number.
fn in_turn(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let (mut wait, mut turn, mut done) = (a.create_label(), a.create_label(), a.create_label());
    a.set_label(&mut wait)?;
    a.cmp(qword_ptr(0x18_0000), rdi)?;
    a.je(turn)?;
    a.pause()?;
    a.jmp(wait)?;
    a.set_label(&mut turn)?;
    a.mov(edx, 0x3f8)?;
    a.lea(eax, rdi + 0x40)?;
    a.out(dx, al)?;
    a.lock().inc(qword_ptr(0x18_0000))?;
    a.inc(rdi)?;
    a.cmp(rdi, rsi)?;
    a.jne(done)?;
    a.mov(eax, edi)?;
    a.out(0xf4, al)?;
    a.set_label(&mut done)?;
    a.hlt()
}

#[test]
fn from_one_to_sixty_four_cores_take_their_turns() {
    for cores in [1, 2, 3, MOST_CORES as u8] {
        for model in MemoryModel::ALL {
            let bench = bench(&in_turn).cores(cores).model(model).ram(RAM).max_steps(50_000_000);
            let run = bench.run().expect("it fits");
            assert_eq!(run.exit_code(), Some(cores), "{cores} cores under {model}: {:?}", run.stop());
            let greetings: String = (0..cores).map(|core| char::from(core + 0x40)).collect();
            assert_eq!(run.serial(), greetings, "{cores} cores under {model}");
        }
    }
}
