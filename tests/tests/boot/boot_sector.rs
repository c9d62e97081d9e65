//! Boot sectors in real mode, and the BIOS they call.

use super::memory::{state, text, u16_at, u32_at, u64_at};
use fencepost::core::Activity;
use fencepost::loader::{Image, Protocol};
use fencepost::machine::{Settings, Stop};
use fencepost::testbench::{Run, Testbench};
use iced_x86::IcedError;
use iced_x86::code_asm::*;

/// The first sector of a disk, as a boot sector that executes what `write` assembles.
fn sector(write: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>) -> Image {
    let mut assembler = CodeAssembler::new(16).expect("there is a 16-bit mode");
    write(&mut assembler).expect("the code assembles");
    let mut disk = assembler.assemble(0x7c00).expect("the code assembles");
    assert!(disk.len() <= 510, "the code fits into a sector");
    disk.resize(512, 0);
    disk[510..].copy_from_slice(&[0x55, 0xaa]);
    Image::recognise("disk.img", disk).expect("it is a boot sector")
}

/// Ends the run with AL as exit code.
fn exit(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.out(0xf4, al)
}

/// Prints `words` by teletype.
fn print(a: &mut CodeAssembler, words: &str) -> Result<(), IcedError> {
    words.bytes().try_for_each(|byte| {
        a.mov(ax, 0x0e00 | u32::from(byte))?;
        a.int(0x10)
    })
}

fn run(image: Image) -> Run {
    Testbench::image(image).cores(1).seed(1).run().expect("the image fits")
}

#[test]
fn it_starts_at_7c00_with_the_disk_in_dl_and_a_stack() {
    let image = sector(|a| {
        a.push(0x1234)?;
        a.pop(ax)?;
        a.cmp(ax, 0x1234)?;
        let mut failed = a.create_label();
        a.jne(failed)?;
        a.mov(al, dl)?;
        exit(a)?;
        a.set_label(&mut failed)?;
        a.mov(al, 1)?;
        exit(a)
    });
    assert_eq!(image.protocol(), Protocol::BootSector);
    assert_eq!(run(image).stop(), Some(Stop::Exited { code: 0x80 }));
}

#[test]
fn core_0_is_alone_and_the_others_await_their_start_up() {
    let settings = Settings { cores: 3, ..Settings::default() };
    let state = state(&sector(|a| a.hlt()), &settings);
    let activities: Vec<Activity> = state.cores.iter().map(|core| core.activity).collect();
    assert_eq!(activities, [Activity::Running, Activity::AwaitsStartUp, Activity::AwaitsStartUp]);
    let cpu = &state.cores[1].cpu;
    assert_eq!((cpu.linear_pc(), cpu.cr0, cpu.rflags), (0xffff_fff0, 0x6000_0010, 2));
}

#[test]
fn teletype_writes_to_the_serial_port_and_the_screen() {
    let image = sector(|a| {
        print(a, "Hallo\r\nWxlt\x08\x08\x08e\r\n")?;
        a.mov(al, 0)?;
        exit(a)
    });
    let run = run(image);
    assert_eq!(run.exit_code(), Some(0));
    assert_eq!(run.serial(), "Hallo\r\nWxlt\x08\x08\x08e\r\n");
    assert_eq!(run.screen_text(), "Hallo\nWelt\n");
}

#[test]
fn the_screen_scrolls_when_the_cursor_leaves_it() {
    let image = sector(|a| {
        print(a, "first\r\nsecond")?;
        a.mov(cx, 24)?;
        let mut again = a.create_label();
        a.set_label(&mut again)?;
        print(a, "\r\n")?;
        a.loop_(again)?;
        print(a, "last")?;
        a.mov(al, 0)?;
        exit(a)
    });
    let screen = run(image).screen_text();
    assert_eq!(screen, format!("second\n{}last\n", "\n".repeat(23)));
}

#[test]
fn the_cursor_can_be_set_and_read() {
    let image = sector(|a| {
        a.mov(ax, 0x0200)?;
        a.mov(bx, 0)?;
        a.mov(dx, 0x0305)?;
        a.int(0x10)?;
        print(a, "x")?;
        a.mov(ax, 0x0300)?;
        a.int(0x10)?;
        // Row 3, column 6.
        a.mov(al, dh)?;
        a.shl(al, 4)?;
        a.or(al, dl)?;
        exit(a)
    });
    let run = run(image);
    assert_eq!(run.exit_code(), Some(0x36));
    assert_eq!(run.screen_text(), "\n\n\n     x\n");
}

#[test]
fn e820_lists_free_and_reserved_memory() {
    let image = sector(|a| {
        let (mut next, mut end) = (a.create_label(), a.create_label());
        a.mov(di, 0x8000)?;
        a.xor(ebx, ebx)?;
        a.mov(es, bx)?;
        a.set_label(&mut next)?;
        a.mov(eax, 0xe820)?;
        a.mov(edx, 0x534d_4150)?;
        a.mov(ecx, 20)?;
        a.int(0x15)?;
        a.jc(end)?;
        a.add(di, cx)?;
        a.test(ebx, ebx)?;
        a.jnz(next)?;
        a.set_label(&mut end)?;
        a.mov(ax, di)?;
        exit(a)
    });
    let mut run = run(image);
    assert_eq!(run.exit_code(), Some(6 * 20));
    let memory = &run.machine().state().memory;
    let map: Vec<(u64, u64, u32)> = (0..6)
        .map(|index| 0x8000 + 20 * index)
        .map(|at| (u64_at(memory, at), u64_at(memory, at + 8), u32_at(memory, at + 16)))
        .collect();
    assert_eq!(
        map,
        [
            (0, 0x9_fc00, 1),
            (0x9_fc00, 0x400, 2),
            (0xf_0000, 0x1_0000, 2),
            (0x10_0000, 7 << 20, 1),
            (0xfec0_0000, 0x1000, 2),
            (0xfee0_0000, 0x1000, 2),
        ]
    );
}

#[test]
fn other_services_tell_memory_sizes_equipment_and_time() {
    let image = sector(|a| {
        a.int(0x12)?;
        a.mov(word_ptr(0x8000), ax)?;
        a.int(0x11)?;
        a.mov(word_ptr(0x8002), ax)?;
        a.mov(ah, 0x88)?;
        a.int(0x15)?;
        a.mov(word_ptr(0x8004), ax)?;
        a.mov(ax, 0xe801)?;
        a.int(0x15)?;
        a.mov(word_ptr(0x8006), cx)?;
        a.mov(word_ptr(0x8008), dx)?;
        // A tick of the timer, by hand.
        a.int(0x08)?;
        a.mov(ah, 0)?;
        a.int(0x1a)?;
        a.mov(word_ptr(0x800a), dx)?;
        a.mov(ax, 0x2401)?;
        a.int(0x15)?;
        a.mov(byte_ptr(0x800c), ah)?;
        // A service that is not there.
        a.mov(ax, 0xc0de)?;
        a.int(0x15)?;
        a.mov(byte_ptr(0x800d), ah)?;
        a.mov(al, 0)?;
        a.adc(al, 0)?;
        exit(a)
    });
    let run_of = Testbench::image(image).cores(1).ram(64 << 20).run();
    let mut run = run_of.expect("the image fits");
    assert_eq!(run.exit_code(), Some(1), "the last service leaves carry set");
    let memory = &run.machine().state().memory;
    let words: Vec<u16> = (0..7).map(|index| u16_at(memory, 0x8000 + 2 * index)).collect();
    // The timer may have ticked by itself, too.
    assert!((1..=3).contains(&words[5]), "{} ticks", words[5]);
    assert_eq!([&words[..5], &words[6..]].concat(), [639, 0x226, 63 << 10, 15 << 10, 48 << 4, 0x8600]);
}

#[test]
fn the_boot_sector_itself_can_be_read() {
    let image = sector(|a| {
        a.mov(ax, 0x0201)?;
        a.mov(cx, 1)?;
        a.mov(dh, 0)?;
        a.mov(bx, 0x8000)?;
        a.int(0x13)?;
        a.mov(al, 0)?;
        a.adc(al, ah)?;
        exit(a)
    });
    assert_eq!(run(image).exit_code(), Some(0), "neither carry nor a status");
}

#[test]
fn the_bios_has_a_jump_a_date_and_a_model_where_every_bios_has() {
    let state = state(&sector(|a| a.hlt()), &Settings::default());
    let tail = super::memory::bytes(&state.memory, 0xf_fff0, 16);
    assert_eq!((tail[0], tail[14]), (0xea, 0xfc));
    assert!(text(&state.memory, 0xf_fff5).starts_with("01/01/"));
}

/// A disk of 40 sectors: the boot sector, and sectors filled with their numbers.
fn disk(write: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>) -> Image {
    let first = sector(write).disks()[0].to_vec();
    let rest = (1..40).flat_map(|number| [number; 512]);
    Image::recognise("disk.img", first.into_iter().chain(rest).collect()).expect("it is a boot sector")
}

#[test]
fn sectors_are_read_by_chs_and_by_lba() {
    let image = disk(|a| {
        let mut failed = a.create_label();
        // Two sectors from cylinder 0, head 0, sector 3 to 0000:8000.
        a.mov(ax, 0x0202)?;
        a.mov(cx, 3)?;
        a.mov(dx, 0x0080)?;
        a.mov(bx, 0x8000)?;
        a.int(0x13)?;
        a.jc(failed)?;
        // The last sector to 0000:9000, by a packet below the stack.
        a.mov(si, 0x7000)?;
        for (offset, word) in [0x10, 1, 0x9000, 0, 39, 0, 0, 0].into_iter().enumerate() {
            a.mov(word_ptr(si + 2 * offset), word)?;
        }
        a.mov(ax, 0x4200)?;
        a.mov(dl, 0x80)?;
        a.int(0x13)?;
        a.jc(failed)?;
        a.mov(al, 0)?;
        exit(a)?;
        a.set_label(&mut failed)?;
        a.mov(al, 1)?;
        exit(a)
    });
    let mut run = run(image);
    assert_eq!(run.exit_code(), Some(0));
    let memory = &run.machine().state().memory;
    let at = |address| super::memory::bytes(memory, address, 512).to_vec();
    assert_eq!([at(0x8000), at(0x8200), at(0x9000)], [vec![2; 512], vec![3; 512], vec![39; 512]]);
}

#[test]
fn the_disks_geometry_is_told_without_asking_the_drive() {
    let image = disk(|a| {
        a.mov(ax, 0x0800)?;
        a.mov(dx, 0x0080)?;
        a.int(0x13)?;
        a.mov(word_ptr(0x8000), cx)?;
        a.mov(word_ptr(0x8002), dx)?;
        a.mov(ax, 0x1500)?;
        a.mov(dx, 0x0080)?;
        a.int(0x13)?;
        a.mov(word_ptr(0x8004), dx)?;
        a.mov(al, ah)?;
        exit(a)
    });
    let mut run = run(image);
    assert_eq!(run.exit_code(), Some(3), "a fixed disk");
    let memory = &run.machine().state().memory;
    let words = [0, 2, 4].map(|offset| u16_at(memory, 0x8000 + offset));
    assert_eq!(words, [0x003f, 0x0f01, 40]);
}
