//! The bus with real devices on it, through its public verbs.

use fencepost_devices::*;
use proptest::prelude::*;
use std::hash::{DefaultHasher, Hash, Hasher};

const NEW_YEAR: DateTime = DateTime { year: 2025, month: 1, day: 1, hour: 0, minute: 0, second: 0 };

fn board() -> Bus {
    let mut bus = Bus::default();
    bus.attach(Uart16550::default(), Uart16550::REGIONS).expect("COM1 is free");
    bus.attach(DebugConsole, DebugConsole::REGIONS).expect("0xe9 is free");
    bus.attach(DebugExit, DebugExit::REGIONS).expect("0xf4 is free");
    bus.attach(VgaText::default(), VgaText::REGIONS).expect("0xb8000 is free");
    bus.attach(Framebuffer::default(), Framebuffer::REGIONS).expect("0xfd000000 is free");
    bus.attach(Pit8254::default(), Pit8254::REGIONS).expect("0x40 and 0x61 are free");
    bus.attach(I8042::default(), I8042::REGIONS).expect("0x60 and 0x64 are free");
    bus.attach(CmosRtc::new(NEW_YEAR, 1 << 30), CmosRtc::REGIONS).expect("0x70 is free");
    bus.attach(Ata::new([None, None]), Ata::REGIONS).expect("0x1f0 and 0x3f6 are free");
    bus
}

fn hash(bus: &Bus) -> u64 {
    let mut hasher = DefaultHasher::new();
    bus.hash(&mut hasher);
    hasher.finish()
}

#[test]
fn nothing_there_reads_as_all_ones_of_the_width() {
    let mut bus = board();
    for (width, ones) in [(Width::Byte, 0xff), (Width::Word, 0xffff), (Width::Dword, 0xffff_ffff)] {
        let access = bus.read(Space::Ports, 0x1234, width);
        assert_eq!((access.value, access.device), (ones, None));
    }
    assert_eq!(bus.read(Space::Memory, u64::MAX, Width::Qword).value, u64::MAX);
}

#[test]
fn an_access_across_a_regions_end_reaches_nobody() {
    let mut bus = board();
    let access = bus.write(Space::Ports, 0xe9, Width::Word, 0x4142);
    assert_eq!((access.device, access.signals), (None, vec![]));
    assert_eq!(bus.read(Space::Ports, 0x3fe, Width::Dword).value, 0xffff_ffff);
}

#[test]
fn ports_and_memory_are_two_spaces() {
    let mut bus = board();
    assert_eq!(bus.read(Space::Ports, 0xe9, Width::Byte).value, 0xe9);
    assert_eq!(bus.read(Space::Memory, 0xe9, Width::Byte).device, None);
}

#[test]
fn a_wide_access_to_a_byte_device_is_consecutive_bytes_lowest_first() {
    let mut bus = board();
    bus.write(Space::Ports, 0x3d4, Width::Word, 0x2a0f);
    assert_eq!(bus.read(Space::Ports, 0x3d4, Width::Word).value, 0x2a0f, "index, then its data");
    bus.write(Space::Memory, 0xb8000, Width::Qword, 0x0764_0763_0762_0761);
    assert_eq!(bus.device::<VgaText>().map(VgaText::text).as_deref(), Some("abcd\n"));
    assert_eq!(bus.read(Space::Memory, 0xb8002, Width::Dword).value, 0x0763_0762);
}

#[test]
fn a_wide_access_to_a_device_that_takes_it_is_one() {
    let access = board().write(Space::Ports, 0xf4, Width::Dword, 0x1234_5603);
    assert_eq!(access.signals, [Signal::Exit(3)]);
}

#[test]
fn signals_of_a_split_access_come_in_order() {
    let mut bus = board();
    let value = u64::from(Framebuffer::ID) << 32;
    bus.write(Space::Memory, Framebuffer::REGISTERS.0, Width::Qword, value | 0xdead);
    let access = bus.read(Space::Memory, Framebuffer::REGISTERS.0, Width::Qword);
    assert_eq!(access.value, value | u64::from(Framebuffer::ID), "ID, then the WIDTH just written");
}

#[test]
fn a_frame_travels_from_present_to_picture() {
    let mut bus = board();
    for (offset, value) in [(0x04, 1), (0x08, 1), (0x0c, 4), (0x14, 1)] {
        bus.write(Space::Memory, Framebuffer::REGISTERS.0 + offset, Width::Dword, value);
    }
    let access = bus.write(Space::Memory, Framebuffer::REGISTERS.0 + 0x18, Width::Dword, 1);
    let framebuffer = access.device.expect("the framebuffer answers");
    let signals = bus.memory_read(framebuffer, Framebuffer::PIXELS, &[3, 2, 1, 0]);
    assert_eq!(signals, [Signal::FrameReady { number: 1 }]);
    let picture = bus.device::<Framebuffer>().and_then(Framebuffer::picture);
    assert_eq!(picture.map(|picture| picture.rgb), Some(vec![1, 2, 3]));
}

#[test]
fn overlap_is_refused_with_both_names_and_leaves_the_bus_as_it_was() {
    let mut bus = board();
    let before = bus.clone();
    let regions = [Region::ports(Port(0x100), 4), Region::ports(Port(0x3ff), 2)];
    let error = bus.attach(DebugExit, &regions).expect_err("COM1 is there");
    assert_eq!(error.to_string(), "debugexit at port 0x3ff..=0x400 overlaps uart0 at port 0x3f8..=0x3ff");
    assert_eq!(bus, before);
}

#[test]
fn a_device_may_not_overlap_itself() {
    let error = Bus::default().attach(DebugConsole, &[DebugConsole::REGIONS[0]; 2]);
    let words = "debugcon at port 0xe9..=0xe9 overlaps debugcon at port 0xe9..=0xe9";
    assert_eq!(error.map_err(|error| error.to_string()), Err(words.into()));
}

#[test]
fn a_region_must_have_a_length_and_end_inside_its_space() {
    let outside = [
        Region::ports(Port(0xffff), 2),
        Region::ports(Port(1), 0),
        Region::memory(PhysAddr(u64::MAX), 2),
        Region::memory(PhysAddr(0), 2).at_offset(u64::MAX),
    ];
    for region in outside {
        let refused = Bus::default().attach(DebugConsole, &[region]);
        assert!(matches!(refused, Err(AttachError::OutsideSpace { .. })), "{region}");
    }
    Bus::default().attach(DebugConsole, &[Region::ports(Port(0xffff), 1)]).expect("the last port");
}

#[test]
fn addresses_are_described_by_device_and_register() {
    let bus = board();
    let described = |space, address| bus.describe(space, address);
    assert_eq!(described(Space::Ports, 0x3f8), "uart0 > THR");
    assert_eq!(described(Space::Ports, 0x3fd), "uart0 > LSR");
    assert_eq!(described(Space::Ports, 0xf5), "debugexit > CODE");
    assert_eq!(described(Space::Memory, 0xfd00_0018), "framebuffer > PRESENT");
    assert_eq!(described(Space::Ports, 0x1234), "port 0x1234");
    assert_eq!(described(Space::Memory, 0xfd00_1000), "memory 0xfd001000");
}

#[test]
fn decode_gives_the_offset_the_device_is_told() {
    let bus = board();
    let offset = |space, address| bus.decode(space, address).map(|(_, offset)| offset);
    assert_eq!(offset(Space::Ports, 0x3fd), Some(5));
    assert_eq!(offset(Space::Ports, 0x3d5), Some(VgaText::MEMORY_BYTES + 1));
    assert_eq!(offset(Space::Ports, 0x3d6), None);
}

#[test]
fn a_clone_is_equal_hashes_alike_and_goes_its_own_way() {
    let original = board();
    let mut copy = original.clone();
    assert_eq!((&copy, hash(&copy)), (&original, hash(&original)));
    copy.write(Space::Ports, 0x3ff, Width::Byte, 1);
    assert_ne!(copy, original);
    assert_ne!(hash(&copy), hash(&original));
    assert_eq!(original, board());
}

#[test]
fn devices_of_different_types_are_not_equal() {
    let [mut one, mut other] = [Bus::default(), Bus::default()];
    let regions = [Region::ports(Port(0), 4)];
    one.attach(DebugConsole, &regions).expect("nobody is there");
    other.attach(DebugExit, &regions).expect("nobody is there");
    assert_ne!(one, other);
}

const WIDTHS: [Width; 4] = [Width::Byte, Width::Word, Width::Dword, Width::Qword];

/// Any access, near a device more often than not.
fn accesses() -> impl Strategy<Value = (Space, u64, Width, Option<u64>)> {
    let ports = prop_oneof![0x3f6..0x402u64, 0xe8..0xfau64, 0x3d2..0x3d8u64, any::<u64>()];
    let memory = prop_oneof![0xb7ff8..0xc0008u64, 0xfcff_fff8..0xfd00_0030u64, any::<u64>()];
    let place =
        prop_oneof![ports.prop_map(|port| (Space::Ports, port)), memory.prop_map(|address| (Space::Memory, address)),];
    let value = proptest::option::of(prop_oneof![0..40u64, any::<u64>()]);
    (place, prop::sample::select(&WIDTHS), value)
        .prop_map(|((space, address), width, value)| (space, address, width, value))
}

proptest! {
    #[test]
    fn no_access_panics_or_reads_more_than_its_width(
        accesses in prop::collection::vec(accesses(), 1..200)
    ) {
        let mut bus = board();
        for (space, address, width, value) in accesses {
            let access = match value {
                Some(value) => bus.write(space, address, width, value),
                None => bus.read(space, address, width),
            };
            prop_assert_eq!(access.value & !width.mask(), 0);
            prop_assert_eq!(access.device, bus.decode(space, address).map(|(id, _)| id).and(access.device));
            bus.describe(space, address);
            answer_dma(&mut bus, access);
        }
        bus.device::<VgaText>().map(VgaText::picture).expect("the screen is on the board");
        bus.device::<Framebuffer>().map(Framebuffer::picture).expect("the framebuffer is on the board");
    }

    #[test]
    fn equal_histories_make_equal_states(accesses in prop::collection::vec(accesses(), 1..50)) {
        let [mut one, mut other] = [board(), board()];
        for (space, address, width, value) in accesses {
            for bus in [&mut one, &mut other] {
                match value {
                    Some(value) => bus.write(space, address, width, value),
                    None => bus.read(space, address, width),
                };
            }
        }
        prop_assert_eq!(hash(&one), hash(&other));
        prop_assert_eq!(one, other);
    }
}

/// Plays the machine: answers each read of memory with zeroes.
fn answer_dma(bus: &mut Bus, access: Access) {
    for signal in access.signals {
        if let Signal::ReadMemory { address, length } = signal {
            let device = access.device.expect("only a device signals");
            bus.memory_read(device, address, &vec![0; length as usize]);
        }
    }
}
