//! Loading and starting images that no program of ours is: 32-bit ELF, segments with rights, several segments a page.

use fencepost::loader::{Format, Image, Location};
use fencepost::machine::{Machine, Settings, Stop};
use fencepost::testbench::Testbench;
use fencepost::trace::Fault;

const TEXT: u32 = 0x10_0000;

/// One loadable segment: address, content, size in memory, flags (1 execute, 2 write, 4 read).
type Segment<'a> = (u32, &'a [u8], u32, u32);

/// A 32-bit ELF executable entered at [`TEXT`] (ELF specification, figures 1-3 and 2-1).
fn elf32(segments: &[Segment]) -> Vec<u8> {
    let headers = 52 + 32 * segments.len();
    let mut file = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let word = |file: &mut Vec<u8>, value: u32| file.extend(value.to_le_bytes());
    let half = |file: &mut Vec<u8>, value: u16| file.extend(value.to_le_bytes());
    half(&mut file, 2); // ET_EXEC
    half(&mut file, 3); // EM_386
    for value in [1, TEXT, 52, 0, 0] {
        word(&mut file, value);
    }
    for value in [52, 32, segments.len() as u16, 40, 0, 0] {
        half(&mut file, value);
    }
    let mut offset = headers as u32;
    for &(address, content, size, flags) in segments {
        for value in [1, offset, address, address, content.len() as u32, size, flags, 1] {
            word(&mut file, value);
        }
        offset += content.len() as u32;
    }
    for (_, content, _, _) in segments {
        file.extend_from_slice(content);
    }
    file
}

#[test]
fn a_32_bit_image_starts_in_protected_mode_with_the_core_in_edi() {
    // mov eax, edi; shl eax, 1; add eax, esi; push eax; pop eax; cmp edi, 0; jne halt; mov eax, [edx+16] (cores); out 0xf4, al
    let code = [
        0x89, 0xf8, 0xd1, 0xe0, 0x01, 0xf0, 0x50, 0x58, 0x83, 0xff, 0x00, 0x75, 0x05, 0x8b, 0x42, 0x10, 0xe6, 0xf4,
        0xf4,
    ];
    let image =
        Image::from_elf("elf32", elf32(&[(TEXT, &code, code.len() as u32, 5)])).expect("the image is well formed");
    assert_eq!(image.format(), Format::Elf32);
    let run = Testbench::image(image).cores(3).seed(1).run().expect("the image fits");
    assert_eq!(run.stop(), Some(Stop::Exited { code: 3 }));
}

#[test]
fn the_rest_of_a_segment_is_zero() {
    // mov eax, [0x101000]; out 0xf4, al; mov eax, [0x101004]; (never reached)
    let code = [0xa1, 0x04, 0x10, 0x10, 0x00, 0xe6, 0xf4];
    let data = [7, 7, 7, 7];
    let file = elf32(&[(TEXT, &code, 7, 5), (TEXT + 0x1000, &data, 8, 6)]);
    let run = Testbench::image(Image::from_elf("bss", file).expect("well formed")).cores(1).run().expect("it fits");
    assert_eq!(run.exit_code(), Some(0));
}

#[test]
fn a_core_that_returns_from_its_entry_point_halts() {
    let image = Image::from_elf("ret", elf32(&[(TEXT, &[0xc3], 1, 5)])).expect("well formed");
    let run = Testbench::image(image).cores(2).run().expect("it fits");
    assert_eq!(run.stop(), Some(Stop::AllHalted));
}

#[test]
fn an_image_that_reaches_into_the_machines_own_memory_or_the_stacks_is_refused() {
    let settings = Settings::default();
    for address in [0x1000, settings.ram_bytes as u32 - 0x1000] {
        let file = elf32(&[(TEXT, &[0xf4], 1, 5), (address, &[0], 0x1000, 6)]);
        let image = Image::from_elf("far", file).expect("well formed");
        let message = Machine::new(&image, settings.clone()).err().expect("it does not fit").to_string();
        assert!(message.contains(&format!("{address:#x}")), "the message names the segment: {message}");
    }
}

#[test]
fn plain_memory_cannot_be_executed_in_long_mode() {
    // mov eax, 0x300000; jmp rax
    let jump = Image::from_flat("jump", vec![0xb8, 0x00, 0x00, 0x30, 0x00, 0xff, 0xe0]);
    let run = Testbench::image(jump).cores(1).run().expect("it fits");
    let Some(Stop::Faulted { pc, fault: Fault::Exception { vector, .. }, .. }) = run.stop() else {
        panic!("the jump faults, it does not end with {:?}", run.stop());
    };
    assert_eq!((pc, vector), (0x30_0000, 14));
}

#[test]
fn a_flat_image_has_no_symbols_even_if_its_bytes_are_an_elf_file() {
    let program = fencepost::programs::find("hello").expect("it is built in");
    let elf = Image::from_elf("hello", program.image.to_vec()).expect("it is an executable");
    assert!(!elf.symbols().all().is_empty());
    let flat = Image::from_flat("hello", program.image.to_vec());
    assert!(flat.symbols().all().is_empty());
    assert_eq!(flat.symbols().locate(elf.entry()), Location::default());
}

#[test]
fn a_label_without_a_size_names_nothing_beyond_its_section() {
    let Some(program) = fencepost::programs::find("hello-asm") else {
        eprintln!("skipped: hello-asm is left out where there is no nasm");
        return;
    };
    let image = Image::from_elf("hello-asm", program.image.to_vec()).expect("it is an executable");
    let symbols = image.symbols();
    let print = symbols.find("print").expect("the assembler says where it is").address;
    assert_eq!(symbols.locate(print + 2).function, Some(("print".into(), 2)));
    let last = symbols.all().iter().map(|symbol| symbol.address).max().expect("there are symbols");
    assert_eq!(symbols.locate(last + (1 << 30)).function, None);
}
