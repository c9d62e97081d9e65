//! What cores and devices are to each other: posted writes, reads of nothing, what the machine answers itself, and the end.

use super::testbed::*;
use fencepost::choice::Choice;
use fencepost::core::{CoreId, cpuid};
use fencepost::devices::{Framebuffer, Picture};
use fencepost::loader::Image;
use fencepost::machine::{Machine, Stop};
use fencepost::trace::Event;
use iced_x86::IcedError;
use iced_x86::code_asm::*;

/// The framebuffer's registers.
const REGISTERS: u64 = Framebuffer::REGISTERS.0;
const WIDTH: u64 = REGISTERS + 0x04;
const HEIGHT: u64 = REGISTERS + 0x08;
/// Neither memory nor a device, and a port without one.
const NOTHING: u64 = 0xc000_0000;
const NO_PORT: u16 = 0x80;

/// Stores `value` to the 32-bit device register at `address`.
fn post(a: &mut CodeAssembler, address: u64, value: u32) -> Result<(), IcedError> {
    a.mov(ebx, address as u32)?;
    a.mov(dword_ptr(rbx), value)
}

fn framebuffer(t: &mut Testbed) -> Framebuffer {
    t.state().board.bus().device::<Framebuffer>().expect("every board has one").clone()
}

/// Addresses of the writes on their way to devices, oldest first.
fn posted(t: &mut Testbed) -> Vec<u64> {
    t.state().board.posted().iter().map(|write| write.address.0).collect()
}

/// What happened, apart from what the cores did.
fn outer_events(t: &mut Testbed) -> Vec<Event> {
    let mut events = t.events();
    events.retain(|event| !matches!(event, Event::Ran { .. } | Event::Accessed { .. } | Event::Halted { .. }));
    events
}

fn arrived(core: u8, address: u64, value: u64) -> Event {
    Event::Arrived { core: CoreId(core), address, width: 4, value }
}

#[test]
fn a_posted_write_arrives_only_by_its_choice() {
    let code = |a: &mut CodeAssembler| {
        post(a, WIDTH, 77)?;
        a.mov(qword_ptr(X), 1)?;
        a.mov(rax, qword_ptr(Y))?;
        a.mfence()?;
        a.lock().inc(qword_ptr(X))?;
        a.xor(eax, eax)?;
        a.cpuid()?;
        a.sfence()
    };
    for (steps, drained) in [(1, false), (1, true), (1000, false), (1000, true)] {
        let mut t = Testbed::new(TSO, &[&code, &|a| a.mov(qword_ptr(Y), 1)]);
        let before = framebuffer(&mut t);
        while !t.core(0).is_halted() {
            t.apply(Choice::Run { core: CoreId(0), steps, drained });
        }
        t.finish(1);
        t.drain_all(0);
        assert_eq!((posted(&mut t), framebuffer(&mut t)), (vec![WIDTH], before.clone()));
        t.events();
        t.apply(Choice::Arrive);
        assert_eq!(posted(&mut t), [0; 0]);
        assert_ne!(framebuffer(&mut t), before);
        assert_eq!(t.events(), [arrived(0, WIDTH, 77)]);
    }
}

#[test]
fn posted_writes_of_all_cores_arrive_first_in_first_out() {
    let mut t = Testbed::new(TSO, &[&|a| post(a, WIDTH, 1), &|a| post(a, HEIGHT, 2), &|a| post(a, WIDTH, 3)]);
    for core in [1, 0, 2] {
        t.run(core);
    }
    t.events();
    for _ in 0..3 {
        t.apply(Choice::Arrive);
    }
    assert_eq!(t.events(), [arrived(1, HEIGHT, 2), arrived(0, WIDTH, 1), arrived(2, WIDTH, 3)]);
}

#[test]
fn an_uncached_read_and_any_port_access_push_posted_writes_through_first() {
    let (core, address, port) = (CoreId(1), WIDTH, NO_PORT);
    let port_read = |width| Event::PortRead { core, port, width, value: u64::MAX >> (64 - 8 * u32::from(width)) };
    let port_written = |width| Event::PortWritten { core, port, width, value: 0 };
    let pushers: [(Code, Event); 7] = [
        (&|a| a.mov(eax, dword_ptr(rbx)), Event::DeviceRead { core, address, width: 4, value: 77 }),
        (&|a| a.in_(al, NO_PORT as u32), port_read(1)),
        (&|a| a.in_(eax, dx), port_read(4)),
        (&|a| a.insw(), port_read(2)),
        (&|a| a.out(NO_PORT as u32, al), port_written(1)),
        (&|a| a.out(dx, ax), port_written(2)),
        (&|a| a.outsd(), port_written(4)),
    ];
    for (pusher, event) in pushers {
        let other = |a: &mut CodeAssembler| {
            a.xor(eax, eax)?;
            a.mov(edx, u32::from(NO_PORT))?;
            a.mov(ebx, WIDTH as u32)?;
            a.mov(esi, Y as u32)?;
            a.mov(edi, Y as u32)?;
            a.mov(qword_ptr(X), 1)?;
            pusher(a)
        };
        let mut t = Testbed::new(TSO, &[&|a| post(a, WIDTH, 77), &other]);
        t.steps(0, 2);
        t.steps(1, 6);
        t.events();
        t.step(1);
        let events = outer_events(&mut t);
        assert!(
            matches!(events[0], Event::Drained { address: X, .. }),
            "the core's own buffer drains first: {events:?}"
        );
        assert_eq!(events[1..3], [arrived(0, WIDTH, 77), event]);
        assert_eq!(posted(&mut t), [0; 0]);
    }
}

#[test]
fn an_uncached_write_drains_first_and_pushes_nothing() {
    let code = |a: &mut CodeAssembler| {
        post(a, HEIGHT, 1)?;
        a.mov(ecx, PIXELS as u32)?;
        a.mov(dword_ptr(rcx), 2)?;
        a.mov(qword_ptr(X), 3)?;
        post(a, WIDTH, 4)
    };
    for model in [TSO, PSO] {
        let mut t = Testbed::new(model, &[&code]);
        t.steps(0, 6);
        t.events();
        t.step(0);
        let events = outer_events(&mut t);
        let is_drained = |event: &Event, at| matches!(event, Event::Drained { address, .. } if *address == at);
        assert!(is_drained(&events[0], PIXELS) && is_drained(&events[1], X), "{events:?}");
        assert_eq!(events[2..], [Event::Posted { core: CoreId(0), address: WIDTH, width: 4, value: 4 }]);
        assert_eq!((posted(&mut t), t.pending(0)), (vec![HEIGHT, WIDTH], vec![]));
    }
}

/// Latches a frame of one byte.
fn present_one_pixel(a: &mut CodeAssembler) -> Result<(), IcedError> {
    for (register, value) in [(WIDTH, 1), (HEIGHT, 1), (REGISTERS + 0x0c, 1), (REGISTERS + 0x10, 2)] {
        post(a, register, value)?;
    }
    post(a, REGISTERS + 0x14, 1)?;
    post(a, REGISTERS + 0x18, 1)
}

fn store_pixel(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.mov(ebx, PIXELS as u32)?;
    a.mov(byte_ptr(rbx), 0xaa)
}

/// The frame of a machine whose core 0 presents after it and core 1 have stored a pixel; `before_arrival` comes in between.
fn presented(code: Code, before_arrival: impl Fn(&mut Testbed)) -> Picture {
    let mut t = Testbed::new(TSO, &[code, &store_pixel]);
    t.run(1);
    t.run(0);
    before_arrival(&mut t);
    while !t.state().board.posted().is_empty() {
        t.apply(Choice::Arrive);
    }
    assert!(t.events().contains(&Event::FrameReady { number: 1 }));
    framebuffer(&mut t).picture().expect("a frame was latched")
}

#[test]
fn a_frame_shows_what_has_drained_when_the_write_arrives() {
    let black = presented(&present_one_pixel, |_| ());
    let grey = presented(&present_one_pixel, |t| t.drain_all(1));
    assert_ne!(black, grey, "the other core's pixel drains between the write and its arrival, or does not");
    let own = |a: &mut CodeAssembler| {
        store_pixel(a)?;
        present_one_pixel(a)
    };
    assert_eq!(presented(&own, |_| ()), grey, "the presenting core's own pixel has drained");
}

#[test]
fn a_load_of_nothing_gives_all_ones_and_an_event() {
    // The engine cuts 8 bytes into two accesses.
    let loads: [(Code, u64, u8); 4] = [
        (&|a| a.mov(al, byte_ptr(rbx)), 0xff, 1),
        (&|a| a.mov(ax, word_ptr(rbx)), 0xffff, 2),
        (&|a| a.mov(eax, dword_ptr(rbx)), 0xffff_ffff, 4),
        (&|a| a.mov(rax, qword_ptr(rbx)), u64::MAX, 4),
    ];
    for (load, expected, width) in loads {
        let code = |a: &mut CodeAssembler| {
            a.xor(eax, eax)?;
            a.mov(ebx, NOTHING as u32)?;
            load(a)
        };
        let mut t = Testbed::new(TSO, &[&code]);
        t.steps(0, 3);
        assert_eq!(t.rax(0), expected);
        let ones = u64::MAX >> (64 - 8 * width);
        let events = outer_events(&mut t);
        let core = CoreId(0);
        assert!(events.contains(&Event::Unanswered { core, address: NOTHING, port: false }), "{events:?}");
        assert!(events.contains(&Event::DeviceRead { core, address: NOTHING, width, value: ones }), "{events:?}");
    }
}

#[test]
fn a_store_to_nothing_leaves_an_event_when_it_arrives() {
    let mut t = Testbed::new(TSO, &[&|a| post(a, NOTHING, 1)]);
    t.run(0);
    let unanswered = Event::Unanswered { core: CoreId(0), address: NOTHING, port: false };
    assert!(!t.events().contains(&unanswered));
    t.apply(Choice::Arrive);
    assert_eq!(t.events(), [arrived(0, NOTHING, 1), unanswered]);
}

#[test]
fn a_port_without_a_device_gives_all_ones_and_an_event() {
    let reads: [(Code, u64); 3] = [
        (&|a| a.in_(al, NO_PORT as u32), 0x1122_3344_5566_77ff),
        (&|a| a.in_(ax, NO_PORT as u32), 0x1122_3344_5566_ffff),
        (&|a| a.in_(eax, NO_PORT as u32), 0xffff_ffff),
    ];
    for (read, expected) in reads {
        let code = |a: &mut CodeAssembler| {
            a.mov(rax, 0x1122_3344_5566_7788u64)?;
            read(a)
        };
        let mut t = Testbed::new(TSO, &[&code]);
        t.steps(0, 2);
        assert_eq!(t.rax(0), expected);
        let unanswered = Event::Unanswered { core: CoreId(0), address: u64::from(NO_PORT), port: true };
        assert!(t.events().contains(&unanswered));
    }
}

#[test]
fn ins_stores_what_the_port_says_and_its_store_waits_in_the_buffer() {
    let code = |a: &mut CodeAssembler| {
        a.mov(edx, u32::from(NO_PORT))?;
        a.mov(edi, X as u32)?;
        a.mov(ecx, 3)?;
        a.rep().insb()
    };
    for model in [SC, TSO, PSO] {
        let mut t = Testbed::new(model, &[&code]);
        t.steps(0, 4);
        assert_eq!(t.pending(0), if model == SC { vec![] } else { vec![(X, 1, 0xff)] });
        t.finish(0);
        assert_eq!((t.memory(X), t.gpr(0, 7)), (0x00ff_ffff, X + 3), "under {model}");
    }
}

#[test]
fn outs_writes_what_the_core_itself_sees() {
    let code = |a: &mut CodeAssembler| {
        a.mov(edx, 0xe9)?;
        a.mov(esi, X as u32)?;
        a.mov(ecx, 2)?;
        a.mov(word_ptr(X), i32::from(u16::from_le_bytes(*b"hi")))?;
        a.rep().outsb()
    };
    let mut t = Testbed::new(TSO, &[&code]);
    t.run(0);
    let mut events = t.events();
    events.retain(|event| matches!(event, Event::DebugConsole { .. }));
    assert_eq!(events, [Event::DebugConsole { byte: b'h' }, Event::DebugConsole { byte: b'i' }]);
}

#[test]
fn the_serial_port_sends_what_is_written_to_it() {
    let code = |a: &mut CodeAssembler| {
        a.mov(edx, 0x3f8)?;
        a.mov(al, b'!' as i32)?;
        a.out(dx, al)
    };
    let mut t = Testbed::new(TSO, &[&code]);
    t.run(0);
    assert!(t.events().contains(&Event::Serial { byte: b'!' }));
}

#[test]
fn rdtsc_reads_the_cores_own_clock() {
    let code = |a: &mut CodeAssembler| {
        a.nop()?;
        a.rdtsc()?;
        a.mov(rbp, rax)?;
        a.rdtscp()
    };
    for other_steps in [0, 500] {
        let spin = |a: &mut CodeAssembler| {
            let mut again = a.create_label();
            a.nop()?;
            a.set_label(&mut again)?;
            a.jmp(again)
        };
        let mut t = Testbed::new(TSO, &[&code, &spin]);
        let clock = t.core(0).clock;
        if other_steps > 0 {
            t.steps(1, other_steps);
        }
        t.steps(0, 4);
        assert_eq!((t.gpr(0, 5), t.rax(0), t.gpr(0, 2), t.gpr(0, 1)), (clock + 1, clock + 3, 0, 0));
        assert_eq!(t.core(0).clock, clock + 4);
    }
}

#[test]
fn rdtsc_says_the_same_in_a_fast_run() {
    let code = |a: &mut CodeAssembler| {
        let mut again = a.create_label();
        a.mov(ecx, 100)?;
        a.set_label(&mut again)?;
        a.rdtsc()?;
        a.mov(rbp, rax)?;
        a.dec(ecx)?;
        a.jnz(again)?;
        a.nop()
    };
    for (steps, drained) in [(5000, true), (5000, false), (1, true), (30, true)] {
        let mut t = Testbed::new(TSO, &[&code]);
        let clock = t.core(0).clock;
        while !t.core(0).is_halted() {
            t.apply(Choice::Run { core: CoreId(0), steps, drained });
        }
        assert_eq!((t.gpr(0, 5), t.core(0).clock), (clock + 1 + 99 * 4, clock + 403), "slices of {steps}");
    }
}

/// What each core's RDRAND gives, three times; core 1 goes first or last.
fn random_numbers(is_reversed: bool) -> [[u64; 3]; 2] {
    let code = |a: &mut CodeAssembler| {
        a.rdrand(rax)?;
        a.rdseed(rbx)?;
        a.rdrand(rbp)
    };
    let mut t = Testbed::new(TSO, &[&code, &code]);
    for core in if is_reversed { [1, 0] } else { [0, 1] } {
        t.run(core);
    }
    [0, 1].map(|core| [0, 3, 5].map(|register| t.gpr(core, register)))
}

#[test]
fn rdrand_gives_each_core_a_sequence_of_its_own_that_nobody_else_disturbs() {
    let numbers = random_numbers(false);
    assert_eq!(numbers, random_numbers(true));
    let mut all = numbers.concat();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 6, "they differ: {numbers:x?}");
}

#[test]
fn rdrand_sets_carry_and_clears_the_other_flags() {
    let code = |a: &mut CodeAssembler| {
        a.mov(rax, -1i64)?;
        a.cmp(rax, rax)?;
        a.rdrand(ax)
    };
    let mut t = Testbed::new(TSO, &[&code]);
    t.steps(0, 3);
    assert_eq!(t.rax(0) >> 16, u64::MAX >> 16, "16 bits of the register have changed");
    // CF, PF, AF, ZF, SF, OF.
    assert_eq!(t.core(0).cpu.rflags & 0x8d5, 1);
}

#[test]
fn cpuid_tells_the_same_everywhere_and_each_core_its_own_number() {
    for (eax_in, ecx_in) in [(0, 0), (1, 0), (7, 0), (0x8000_0001, 0), (0x1234_5678, 9)] {
        let code = |a: &mut CodeAssembler| {
            a.mov(eax, eax_in)?;
            a.mov(ecx, ecx_in)?;
            a.cpuid()
        };
        let mut t = Testbed::new(TSO, &[&code, &code]);
        for core in [0, 1] {
            t.run(core);
            let found = [0, 3, 1, 2].map(|register| t.gpr(core, register) as u32);
            assert_eq!(found, cpuid::leaf(eax_in, ecx_in, CoreId(core), 2), "leaf {eax_in:#x} on core {core}");
        }
    }
}

/// A machine whose two cores have halted; a store of core 0 and a posted write of core 1 are on their way.
fn halted_with_something_pending() -> Testbed {
    let mut t = Testbed::new(TSO, &[&|a| a.mov(qword_ptr(X), 1), &|a| post(a, WIDTH, 7)]);
    t.run(0);
    t.run(1);
    t
}

#[test]
fn when_all_cores_have_halted_the_machine_stops_only_after_everything_pending_is_out() {
    let (drain, arrive) = (Choice::Drain { core: CoreId(0), entry: 0 }, Choice::Arrive);
    for order in [[drain, arrive], [arrive, drain]] {
        let mut t = halted_with_something_pending();
        assert_eq!((t.machine.stop().copied(), t.machine.choices()), (None, vec![drain, arrive]));
        t.apply(order[0]);
        assert_eq!((t.machine.stop().copied(), t.machine.choices()), (None, vec![order[1]]));
        t.apply(order[1]);
        assert_eq!((t.machine.stop().copied(), t.machine.choices()), (Some(Stop::AllHalted), vec![]));
    }
}

#[test]
fn a_machine_with_a_running_core_goes_on() {
    let mut t = Testbed::new(TSO, &[&|a| a.nop(), &|a| a.nop()]);
    t.run(0);
    assert_eq!(t.machine.stop(), None);
    t.run(1);
    assert_eq!(t.machine.stop(), Some(&Stop::AllHalted));
}

#[test]
fn returning_from_the_entry_point_halts_the_core() {
    let image = Image::from_flat("return", vec![0xc3]);
    let mut t = Testbed { machine: Machine::new(&image, settings(TSO, 2)).expect("the image fits") };
    for core in [0, 1] {
        // RET, CLI, HLT.
        t.steps(core, 3);
        assert!(t.core(core).is_halted());
    }
    assert_eq!(t.machine.stop(), Some(&Stop::AllHalted));
}

#[test]
fn when_the_guest_exits_every_buffer_drains_before_memory_is_judged() {
    let exit = |a: &mut CodeAssembler| {
        a.mov(al, 3)?;
        a.out(0xf4, al)
    };
    let mut t = Testbed::new(TSO, &[&exit, &|a| a.mov(qword_ptr(X), 1)]);
    t.step(1);
    t.run(0);
    assert_eq!(t.machine.stop(), Some(&Stop::Exited { code: 3 }));
    assert_eq!((t.memory(X), t.pending(1), t.machine.choices()), (1, vec![], vec![]));
}

/// Instructions whose stores the engine makes in C functions, at [`NOTHING`], in the middle of a long run.
#[test]
fn a_long_store_to_device_space_arrives_from_a_long_run_as_well() -> Result<(), IcedError> {
    type Store = fn(&mut CodeAssembler) -> Result<(), IcedError>;
    let stores: [Store; 5] = [
        |a| a.fstp(tbyte_ptr(rbx)),
        |a| a.fnstenv(ptr(rbx)),
        |a| a.fxsave(ptr(rbx)),
        |a| a.cmpxchg16b(xmmword_ptr(rbx)),
        |a| a.maskmovdqu(xmm0, xmm0),
    ];
    for (number, store) in stores.into_iter().enumerate() {
        let mut a = CodeAssembler::new(64)?;
        a.fld1()?;
        a.pcmpeqd(xmm0, xmm0)?;
        a.mov(ebx, NOTHING as u32)?;
        a.mov(edi, NOTHING as u32)?;
        for _ in 0..64 {
            a.nop()?;
        }
        store(&mut a)?;
        // HLT is not for the fast engine, nor is anything in its block: it stands in one of its own.
        let mut end = a.create_label();
        a.jmp(end)?;
        a.set_label(&mut end)?;
        a.hlt()?;
        let image = Image::from_flat("store", a.assemble(fencepost::loader::FLAT_BASE)?);
        let mut t = Testbed::of_image(&image, fencepost::machine::Settings { cores: 1, ..Default::default() });
        t.apply(Choice::Run { core: CoreId(0), steps: 100, drained: true });
        assert!(!t.state().board.posted().is_empty(), "store {number} is on its way to where nothing is");
    }
    Ok(())
}
