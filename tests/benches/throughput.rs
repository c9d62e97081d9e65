//! Guest instructions per second against one bare Unicorn engine running the same loop, in one run.
//!
//! `cargo bench -p fencepost-tests --bench throughput` measures with criterion and then prints the table of ratios that
//! README quotes. Bare Unicorn gets the same memory, the same page tables and the same registers as a core of ours.
//! All cores of a machine share one host thread, so the ratio is that of total guest instructions per second.

#[path = "throughput/loops.rs"]
mod loops;
#[path = "throughput/summary.rs"]
mod summary;

use criterion::{BenchmarkId, Criterion, Throughput};
use fencepost::core::CoreId;
use fencepost::machine::{Machine, Settings};
use fencepost::runner::{Policy, Runner, Slices};
use loops::Loop;
use std::time::Duration;
use unicorn_engine::{Arch, Mode, Prot, RegisterX86, Unicorn};

/// Guest instructions per measured iteration.
const STEPS: u64 = 2_000_000;

/// The slice settings that are measured; `None` is the default policy.
const SLICES: [Option<u64>; 5] = [Some(1), Some(10), Some(100), Some(1000), None];

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1500))
        .configure_from_args();
    for guest in Loop::ALL {
        measure(&mut criterion, guest);
    }
    criterion.final_summary();
    summary::print();
}

fn measure(criterion: &mut Criterion, guest: Loop) {
    let mut group = criterion.benchmark_group(guest.name());
    group.throughput(Throughput::Elements(STEPS));
    let mut bare = bare_unicorn(guest);
    group.bench_function("bare", |bencher| {
        bencher.iter(|| {
            let pc = bare.reg_read(RegisterX86::RIP).expect("RIP is readable");
            // The loop counts RCX down from this number and then runs into HLT.
            bare.reg_write(RegisterX86::RCX, STEPS / guest.instructions()).expect("RCX is writable");
            bare.emu_start(pc, u64::MAX, 0, 0).expect("the loop runs to its HLT");
            bare.reg_write(RegisterX86::RIP, guest.start()).expect("RIP is writable");
        });
    });
    for cores in [1, 2, 4] {
        for slices in SLICES {
            let mut runner = runner(guest, cores, slices);
            let mut goal = 0;
            group.bench_function(BenchmarkId::new(format!("cores={cores}"), label(slices)), |bencher| {
                bencher.iter(|| {
                    goal = runner.steps() + STEPS;
                    runner.run(goal, |machine| {
                        machine.take_events();
                        false
                    })
                });
            });
        }
    }
    group.finish();
}

fn label(slices: Option<u64>) -> String {
    slices.map_or("default".to_owned(), |mean| format!("slice={mean}"))
}

fn runner(guest: Loop, cores: u8, slices: Option<u64>) -> Runner {
    let machine = machine(guest, cores);
    let slices = slices.map_or(Slices::AnyMagnitude, Slices::Around);
    Runner::new(machine, Policy::new(1, slices)).without_record()
}

fn machine(guest: Loop, cores: u8) -> Machine {
    let settings = Settings { cores, ..Settings::default() };
    Machine::new(&guest.image(), settings).expect("the loop fits the default machine")
}

/// One engine with the memory and registers of a core that is about to start the loop.
fn bare_unicorn(guest: Loop) -> Unicorn<'static, ()> {
    let mut machine = machine(guest, 1);
    let state = machine.state();
    let mut engine = Unicorn::new(Arch::X86, Mode::MODE_64).expect("Unicorn opens");
    let ram = state.memory.ram_bytes();
    engine.mem_map(0, ram, Prot::ALL).expect("RAM maps");
    for (start, end) in [(0, 0xa0000), (0xc0000, ram)] {
        let bytes = state.memory.slice(fencepost::devices::PhysAddr(start), end - start).expect("this is RAM");
        engine.mem_write(start, bytes).expect("RAM is writable");
    }
    let cpu = &state.cores[CoreId(0).index()].cpu;
    engine.reg_write_long(RegisterX86::MSR, &msr(0xc000_0080, cpu.efer)).expect("EFER is writable");
    for (register, value) in [
        (RegisterX86::CR4, cpu.cr4),
        (RegisterX86::CR3, cpu.cr3),
        (RegisterX86::CR0, cpu.cr0),
        (RegisterX86::RSP, cpu.gpr[4]),
        (RegisterX86::RDI, 0),
        (RegisterX86::RBX, loops::data_of(0)),
        (RegisterX86::RIP, guest.start()),
    ] {
        engine.reg_write(register, value).expect("registers are writable");
    }
    engine
}

/// Unicorn's way to name a model-specific register: its number, then its value at offset 8.
fn msr(number: u32, value: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&number.to_le_bytes());
    bytes[8..].copy_from_slice(&value.to_le_bytes());
    bytes
}
