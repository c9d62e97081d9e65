use super::*;
use crate::fuzz;
use proptest::prelude::*;
use std::sync::Arc;

const RAISE: Signal = Signal::RaiseIrq(Irq(14));
const LOWER: Signal = Signal::LowerIrq(Irq(14));

const READY: u8 = 0x50;
const READY_WITH_DATA: u8 = 0x58;
const FAILED: u8 = 0x51;

/// A disk whose sectors are full of the low byte of their number.
fn disk(sectors: usize) -> Disk {
    let image: Vec<u8> = (0..sectors * SECTOR_BYTES).map(|at| (at / SECTOR_BYTES) as u8).collect();
    Disk::new(Arc::from(image))
}

fn one_drive(sectors: usize) -> Ata {
    Ata::new([Some(disk(sectors)), None])
}

fn write(ata: &mut Ata, offset: u64, value: u8) -> Vec<Signal> {
    ata.write(offset, Width::Byte, value.into())
}

fn read(ata: &mut Ata, offset: u64) -> u8 {
    ata.read(offset, Width::Byte).0 as u8
}

/// The register without taking note of an interrupt.
fn alternate_status(ata: &mut Ata) -> u8 {
    read(ata, ALTERNATE_STATUS_DEVICE_CONTROL)
}

/// Waits until the drive is no longer busy.
fn wait(ata: &mut Ata) -> Vec<Signal> {
    assert_eq!(alternate_status(ata) & 0x80, 0x80, "a command takes time");
    let event = ata.next_event().expect("busy has an end");
    ata.advance(event)
}

/// Writes registers 2 to 6 and a command.
fn command(ata: &mut Ata, [count, low, mid, high, device]: [u8; 5], code: u8) -> Vec<Signal> {
    let registers = (SECTOR_COUNT..).zip([count, low, mid, high, device, code]);
    registers.flat_map(|(offset, byte)| write(ata, offset, byte)).collect()
}

/// As `command`, with a 48-bit address.
fn command_48(ata: &mut Ata, count: u16, lba: u64, code: u8) {
    let [low, mid, high, low_2, mid_2, high_2, ..] = lba.to_le_bytes();
    let [count, count_2] = count.to_le_bytes();
    for (offset, byte) in (SECTOR_COUNT..).zip([count_2, low_2, mid_2, high_2]) {
        write(ata, offset, byte);
    }
    command(ata, [count, low, mid, high, 0x40], code);
}

fn words(ata: &mut Ata, count: usize) -> Vec<u16> {
    (0..count).map(|_| ata.read(DATA, Width::Word).0 as u16).collect()
}

fn fill(ata: &mut Ata, sectors: usize, byte: u8) {
    for _ in 0..sectors * SECTOR_BYTES / 4 {
        ata.write(DATA, Width::Dword, u32::from_le_bytes([byte; 4]).into());
    }
}

fn changed(ata: &Ata) -> Vec<(u64, u8)> {
    let disk = ata.disk(0).expect("device 0 is there");
    disk.changed_sectors().map(|(lba, sector)| (lba, sector[0])).collect()
}

/// Status and Error after a command of which no data is moved.
fn result(ata: &mut Ata, registers: [u8; 5], code: u8) -> (u8, u8) {
    command(ata, registers, code);
    wait(ata);
    (read(ata, STATUS_COMMAND), read(ata, ERROR_FEATURES))
}

#[test]
fn xv6_reads_a_block() {
    let mut ata = one_drive(16);
    write(&mut ata, ALTERNATE_STATUS_DEVICE_CONTROL, 0);
    assert_eq!(read(&mut ata, STATUS_COMMAND) & 0xc0, 0x40);
    assert_eq!(command(&mut ata, [1, 5, 0, 0, 0xe0], 0x20), []);
    assert_eq!(alternate_status(&mut ata), 0x80);
    assert_eq!(wait(&mut ata), [RAISE], "the interrupt is later than the command");
    assert_eq!(ata.read(STATUS_COMMAND, Width::Byte), (READY_WITH_DATA.into(), vec![LOWER]));
    for _ in 0..SECTOR_BYTES / 4 {
        assert_eq!(ata.read(DATA, Width::Dword), (0x0505_0505, vec![]));
    }
    assert_eq!((read(&mut ata, STATUS_COMMAND), ata.next_event()), (READY, None));
}

#[test]
fn xv6_writes_two_sectors_without_waiting() {
    let mut ata = one_drive(16);
    command(&mut ata, [2, 7, 0, 0, 0xe0], 0x30);
    assert_eq!(alternate_status(&mut ata), READY_WITH_DATA);
    fill(&mut ata, 1, 0xaa);
    assert_eq!(wait(&mut ata), [RAISE]);
    assert_eq!(read(&mut ata, STATUS_COMMAND), READY_WITH_DATA, "the second is wanted");
    fill(&mut ata, 1, 0xbb);
    assert_eq!(wait(&mut ata), [RAISE]);
    assert_eq!(read(&mut ata, STATUS_COMMAND), READY);
    assert_eq!(changed(&ata), [(7, 0xaa), (8, 0xbb)]);
}

#[test]
fn xv6_finds_that_there_is_no_second_disk() {
    let mut ata = one_drive(16);
    write(&mut ata, DEVICE, 0xf0);
    assert_eq!(read(&mut ata, STATUS_COMMAND), 0);
    write(&mut ata, STATUS_COMMAND, 0xec);
    assert_eq!((read(&mut ata, STATUS_COMMAND), ata.next_event()), (0, None));
    write(&mut ata, DEVICE, 0xe0);
    assert_eq!(read(&mut ata, STATUS_COMMAND), READY);
}

#[test]
fn a_channel_without_drives_is_never_busy() {
    let mut ata = Ata::new([None, None]);
    write(&mut ata, STATUS_COMMAND, 0x90);
    assert_eq!(read(&mut ata, STATUS_COMMAND), 0x7f);
}

#[test]
fn identify_describes_the_drive() {
    let mut ata = one_drive(20_000);
    command(&mut ata, [0, 0, 0, 0, 0xa0], 0xec);
    wait(&mut ata);
    let words = words(&mut ata, 256);
    assert_eq!(read(&mut ata, STATUS_COMMAND), READY, "all of it is read");
    assert_eq!((words[1], words[3], words[6]), (19, 16, 63));
    assert_eq!([words[60], words[61], words[100], words[101]], [20_000, 0, 20_000, 0]);
    let model: Vec<u8> = words[27..47].iter().flat_map(|word| word.to_be_bytes()).collect();
    assert_eq!(String::from_utf8_lossy(&model).trim_end(), "FENCEPOST DISK");
    assert_eq!((words[49] & 0x100, words[63], words[88]), (0, 0, 0), "no DMA");
    assert_eq!(words[83] & 0xc000, 0x4000);
    let sum = words.iter().flat_map(|word| word.to_le_bytes()).fold(0, u8::wrapping_add);
    assert_eq!((sum, words[255] & 0xff), (0, 0xa5));
}

#[test]
fn several_sectors_interrupt_each() {
    let mut ata = one_drive(300);
    command(&mut ata, [3, 10, 0, 0, 0xe0], 0x20);
    for sector in 10..13 {
        assert_eq!(wait(&mut ata), [RAISE]);
        read(&mut ata, STATUS_COMMAND);
        assert_eq!(words(&mut ata, 256), [sector << 8 | sector; 256]);
    }
    assert_eq!(read(&mut ata, STATUS_COMMAND), READY);
}

#[test]
fn a_count_of_zero_is_256_sectors() {
    let mut ata = one_drive(256);
    command(&mut ata, [0, 0, 0, 0, 0xe0], 0x20);
    for _ in 0..256 {
        wait(&mut ata);
        words(&mut ata, 256);
    }
    assert_eq!(read(&mut ata, STATUS_COMMAND), READY);
    let whole = result(&mut ata, [0, 0, 0, 0, 0xe0], 0x40);
    assert_eq!((whole, result(&mut ata, [0, 1, 0, 0, 0xe0], 0x40)), ((READY, 0x01), (FAILED, 0x10)));
}

#[test]
fn cylinder_head_and_sector_follow_the_geometry() {
    let mut ata = one_drive(100);
    assert_eq!(result(&mut ata, [10, 0, 0, 0, 0xa1], 0x91), (READY, 0x01), "2 heads of 10 sectors");
    command(&mut ata, [1, 3, 2, 0, 0xa1], 0x20);
    wait(&mut ata);
    assert_eq!(words(&mut ata, 1), [0x3434], "(2 * 2 + 1) * 10 + 3 - 1 is 52");
    assert_eq!(result(&mut ata, [1, 0, 0, 0, 0xa0], 0x40), (FAILED, 0x10), "there is no sector 0");
    assert_eq!(result(&mut ata, [1, 11, 0, 0, 0xa0], 0x40), (FAILED, 0x10));
    assert_eq!(result(&mut ata, [1, 1, 0, 0, 0xa2], 0x40), (FAILED, 0x10), "nor a head 2");
    assert_eq!(result(&mut ata, [1, 1, 5, 0, 0xa0], 0x40), (FAILED, 0x10), "nor a cylinder 5");
    assert_eq!(result(&mut ata, [0, 0, 0, 0, 0xa0], 0x10), (READY, 0x01), "RECALIBRATE");
}

#[test]
fn addresses_of_48_bits_are_written_in_two_halves() {
    let mut ata = one_drive(600);
    command_48(&mut ata, 2, 0x201, 0x24);
    wait(&mut ata);
    assert_eq!(words(&mut ata, 256), [0x0101; 256]);
    wait(&mut ata);
    assert_eq!(words(&mut ata, 256), [0x0202; 256]);
    command_48(&mut ata, 1, 0x257, 0x34);
    fill(&mut ata, 1, 0xee);
    wait(&mut ata);
    assert_eq!(changed(&ata), [(0x257, 0xee)]);
    command_48(&mut ata, 1, 1 << 32, 0x24);
    wait(&mut ata);
    assert_eq!([read(&mut ata, STATUS_COMMAND), read(&mut ata, ERROR_FEATURES)], [FAILED, 0x10]);
}

#[test]
fn hob_shows_the_first_half_until_a_register_is_written() {
    let mut ata = one_drive(1);
    write(&mut ata, LBA_LOW, 0x12);
    write(&mut ata, LBA_LOW, 0x34);
    write(&mut ata, ALTERNATE_STATUS_DEVICE_CONTROL, 0x80);
    assert_eq!(read(&mut ata, LBA_LOW), 0x12);
    write(&mut ata, LBA_MID, 0);
    assert_eq!(read(&mut ata, LBA_LOW), 0x34);
}

#[test]
fn multiple_moves_a_block_for_each_interrupt() {
    let mut ata = one_drive(64);
    assert_eq!(result(&mut ata, [5, 0, 0, 0, 0xe0], 0xc4), (FAILED, 0x04), "not set up");
    assert_eq!(result(&mut ata, [3, 0, 0, 0, 0xe0], 0xc6), (FAILED, 0x04), "no power of two");
    assert_eq!(result(&mut ata, [4, 0, 0, 0, 0xe0], 0xc6), (READY, 0x01));
    command(&mut ata, [6, 8, 0, 0, 0xe0], 0xc4);
    assert_eq!(wait(&mut ata), [RAISE]);
    read(&mut ata, STATUS_COMMAND);
    assert_eq!(words(&mut ata, 4 * 256).last(), Some(&0x0b0b));
    assert_eq!(wait(&mut ata), [RAISE], "the rest is a short block");
    assert_eq!(words(&mut ata, 2 * 256).last(), Some(&0x0d0d));
    assert_eq!(read(&mut ata, STATUS_COMMAND), READY);
    command(&mut ata, [6, 8, 0, 0, 0xe0], 0xc5);
    fill(&mut ata, 4, 1);
    wait(&mut ata);
    fill(&mut ata, 2, 2);
    wait(&mut ata);
    assert_eq!(changed(&ata), [(8, 1), (9, 1), (10, 1), (11, 1), (12, 2), (13, 2)]);
}

#[test]
fn a_request_past_the_end_and_an_unknown_command_fail() {
    let mut ata = one_drive(16);
    assert_eq!(result(&mut ata, [2, 15, 0, 0, 0xe0], 0x20), (FAILED, 0x10));
    assert_eq!(result(&mut ata, [1, 16, 0, 0, 0xe0], 0x30), (FAILED, 0x10));
    assert_eq!(result(&mut ata, [0, 0, 0, 0, 0xe0], 0xc8), (FAILED, 0x04), "READ DMA");
    assert_eq!(result(&mut ata, [0, 0, 0, 0, 0xe0], 0x00), (FAILED, 0x04), "NOP always fails");
    assert_eq!(result(&mut ata, [0, 0, 0, 0, 0xe0], 0xe7), (READY, 0x01), "and the next command is fine");
}

#[test]
fn set_features_takes_pio_and_caches_only() {
    let mut ata = one_drive(16);
    let mut set = |feature, value| {
        write(&mut ata, ERROR_FEATURES, feature);
        result(&mut ata, [value, 0, 0, 0, 0xe0], 0xef)
    };
    for (feature, value) in [(0x03, 0x0c), (0x03, 0x00), (0x02, 0), (0x82, 0), (0xaa, 0), (0x55, 0)] {
        assert_eq!(set(feature, value), (READY, 0x01), "{feature:#x} {value:#x}");
    }
    for (feature, value) in [(0x03, 0x45), (0x03, 0x22), (0x05, 0)] {
        assert_eq!(set(feature, value), (FAILED, 0x04), "{feature:#x} {value:#x}");
    }
}

#[test]
fn a_software_reset_leaves_the_signature() {
    let mut ata = Ata::new([Some(disk(4)), Some(disk(8))]);
    command(&mut ata, [9, 9, 9, 9, 0xf0], 0x20);
    write(&mut ata, ALTERNATE_STATUS_DEVICE_CONTROL, 0x04);
    assert_eq!((alternate_status(&mut ata), ata.next_event()), (0x80, None), "as long as the bit is set");
    write(&mut ata, ALTERNATE_STATUS_DEVICE_CONTROL, 0x00);
    assert_eq!(wait(&mut ata), [], "no interrupt");
    let registers = [ERROR_FEATURES, SECTOR_COUNT, LBA_LOW, LBA_MID, LBA_HIGH].map(|offset| read(&mut ata, offset));
    assert_eq!(registers, [1, 1, 1, 0, 0]);
    assert_eq!(read(&mut ata, STATUS_COMMAND), READY);
}

#[test]
fn the_diagnostic_finds_both_drives_in_order() {
    let mut ata = Ata::new([Some(disk(4)), Some(disk(8))]);
    assert_eq!(result(&mut ata, [0, 9, 9, 9, 0xf0], 0x90), (READY, 0x01));
    assert_eq!([LBA_MID, LBA_HIGH, DEVICE].map(|offset| read(&mut ata, offset)), [0, 0, 0xa0]);
}

#[test]
fn nien_holds_the_interrupt_back() {
    let mut ata = one_drive(4);
    write(&mut ata, ALTERNATE_STATUS_DEVICE_CONTROL, 0x02);
    command(&mut ata, [0, 0, 0, 0, 0xe0], 0xe7);
    assert_eq!(wait(&mut ata), []);
    assert_eq!(write(&mut ata, ALTERNATE_STATUS_DEVICE_CONTROL, 0x00), [RAISE], "it was pending");
    assert_eq!(ata.read(ALTERNATE_STATUS_DEVICE_CONTROL, Width::Byte), (READY.into(), vec![]), "and stays so");
    assert_eq!(write(&mut ata, DEVICE, 0xf0), [LOWER], "only the selected drive drives the line");
    assert_eq!(write(&mut ata, DEVICE, 0xe0), [RAISE]);
    assert_eq!(ata.read(STATUS_COMMAND, Width::Byte), (READY.into(), vec![LOWER]));
}

#[test]
fn a_new_command_takes_the_interrupt_of_the_last_one_back() {
    let mut ata = one_drive(4);
    command(&mut ata, [0, 0, 0, 0, 0xe0], 0xe7);
    wait(&mut ata);
    assert_eq!(write(&mut ata, STATUS_COMMAND, 0xe7), [LOWER]);
    assert_eq!(wait(&mut ata), [RAISE]);
}

#[test]
fn device_1_has_its_own_disk() {
    let mut ata = Ata::new([Some(disk(4)), Some(disk(8))]);
    command(&mut ata, [1, 7, 0, 0, 0xf0], 0x30);
    fill(&mut ata, 1, 0x77);
    wait(&mut ata);
    assert_eq!(changed(&ata), []);
    assert_eq!(ata.disk(1).map(|disk| disk.sector(7)[0]), Some(0x77));
    assert_eq!(ata.disk(2), None);
}

#[test]
fn a_snapshot_keeps_its_own_sectors() {
    let mut ata = one_drive(4);
    let before = ata.clone();
    command(&mut ata, [1, 0, 0, 0, 0xe0], 0x30);
    fill(&mut ata, 1, 0xff);
    assert_eq!((changed(&before), changed(&ata)), (vec![], vec![(0, 0xff)]));
}

/// Commands, and values that reach the sectors of a small disk.
const COMMANDS: [u8; 28] = [
    0x00, 0x01, 0x02, 0x03, 0x04, 0x07, 0x10, 0x20, 0x24, 0x29, 0x30, 0x34, 0x39, 0x40, 0x42, 0x70, 0x90, 0x91, 0xa0,
    0xb0, 0xc4, 0xc5, 0xc6, 0xe0, 0xe0, 0xf0, 0xec, 0xef,
];

/// A guest that knows its business: a whole command, or a run over the Data register.
fn driver(ata: &mut Ata, [kind, code, lba, count]: [u8; 4]) -> Vec<Signal> {
    let code = COMMANDS[usize::from(code) % COMMANDS.len()];
    match kind % 4 {
        0 => (0..64 * u64::from(count)).flat_map(|word| ata.write(DATA, Width::Dword, word)).collect(),
        1 => (0..64 * u64::from(count)).flat_map(|_| ata.read(DATA, Width::Word).1).collect(),
        _ => command(ata, [count % 8, lba % 16, 0, 0, 0xe0 | kind & 0x10], code),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(fuzz::cases()))]

    #[test]
    fn any_guest_is_stood(run in fuzz::runs(9, &COMMANDS)) {
        fuzz::check(Ata::new([Some(disk(16)), Some(disk(5))]), &run, driver);
        fuzz::check(one_drive(16), &run, driver);
    }
}
