use super::*;
use crate::fuzz;
use proptest::prelude::*;

/// The values of a mode's registers, `WIDTH` to `FORMAT`.
type Registers = [u32; 4];

fn write(device: &mut Framebuffer, offset: u64, value: u32) -> Vec<Signal> {
    device.write(offset, Width::Dword, value.into())
}

fn read(device: &mut Framebuffer, offset: u64) -> u32 {
    low_half(device.read(offset, Width::Dword).0)
}

fn enabled(mode: Registers) -> Framebuffer {
    let mut device = Framebuffer::default();
    for (offset, value) in [WIDTH, HEIGHT, PITCH, FORMAT].into_iter().zip(mode) {
        write(&mut device, offset, value);
    }
    write(&mut device, ENABLE, 1);
    device
}

/// Presents `memory` in `mode` and gives the picture.
fn shown(mode: Registers, memory: &[u8]) -> Picture {
    let mut device = enabled(mode);
    write(&mut device, PRESENT, 1);
    device.memory_read(Framebuffer::PIXELS, memory);
    device.picture().expect("a frame was latched")
}

#[test]
fn the_id_register_spells_fpfb() {
    assert_eq!(read(&mut Framebuffer::default(), ID), 0x4246_5046);
}

#[test]
fn present_asks_for_the_visible_span_and_the_answer_is_the_frame() {
    let mut device = enabled([2, 2, 4, 2]);
    assert_eq!(write(&mut device, PRESENT, 0), [Signal::ReadMemory { address: PhysAddr(0xe000_0000), length: 6 }]);
    assert_eq!([device.frames(), read(&mut device, PRESENT).into()], [0, 0], "not latched yet");
    let signals = device.memory_read(Framebuffer::PIXELS, &[1, 2, 99, 99, 3, 4]);
    assert_eq!(signals, [Signal::FrameReady { number: 1 }]);
    assert_eq!([device.frames(), read(&mut device, PRESENT).into()], [1, 1]);
    let picture = device.picture().expect("a frame was latched");
    assert_eq!(picture.rgb, [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4], "padding is not shown");
}

#[test]
fn a_frame_has_the_mode_it_was_presented_in() {
    let mut device = enabled([2, 1, 2, 2]);
    write(&mut device, PRESENT, 0);
    write(&mut device, WIDTH, 1);
    write(&mut device, PRESENT, 0);
    device.memory_read(Framebuffer::PIXELS, &[1, 2]);
    assert_eq!(device.picture().map(|picture| picture.width), Some(2));
    let signals = device.memory_read(Framebuffer::PIXELS, &[1]);
    assert_eq!(signals, [Signal::FrameReady { number: 2 }]);
    assert_eq!(device.picture().map(|picture| picture.width), Some(1));
}

#[test]
fn every_format_reads_its_primary_colours() {
    let xrgb = shown([3, 1, 12, 0], &[0, 0, 255, 0, 0, 255, 0, 0, 255, 0, 0, 0]);
    let rgb565 = shown([3, 1, 6, 1], &[0x00, 0xf8, 0xe0, 0x07, 0x1f, 0x00]);
    assert_eq!(xrgb.rgb, [255, 0, 0, 0, 255, 0, 0, 0, 255]);
    assert_eq!(rgb565, xrgb);
    assert_eq!(shown([2, 1, 2, 2], &[0, 255]).rgb, [0, 0, 0, 255, 255, 255]);
}

#[test]
fn the_checksum_covers_visible_bytes_only_and_stays_until_the_next_frame() {
    let mut device = enabled([3, 3, 5, 2]);
    assert_eq!(read(&mut device, FRAME_CRC), 0);
    write(&mut device, PRESENT, 0);
    device.memory_read(Framebuffer::PIXELS, b"123..456..789");
    write(&mut device, WIDTH, 1);
    assert_eq!(read(&mut device, FRAME_CRC), 0xcbf4_3926);
}

#[test]
fn what_does_not_fit_is_refused_and_says_so_until_a_present_is_accepted() {
    let refused: [Registers; 8] = [
        [0, 1, 4, 0],
        [1, 0, 4, 0],
        [2, 1, 7, 0],
        [1, 1, 4, 3],
        [1024, 1025, 4096, 0],
        [u32::MAX, 1, u32::MAX, 0],
        [1, u32::MAX, u32::MAX, 2],
        [u32::MAX; 4],
    ];
    for mode in refused {
        let mut device = enabled(mode);
        assert_eq!(write(&mut device, PRESENT, 1), [], "{mode:?}");
        assert_eq!(read(&mut device, STATUS), 1, "{mode:?}");
    }
    let mut device = enabled([1024, 1024, 4096, 0]);
    write(&mut device, ENABLE, 0);
    assert_eq!(write(&mut device, PRESENT, 1), [], "disabled");
    assert_eq!(read(&mut device, STATUS), 1);
    write(&mut device, ENABLE, 1);
    let all = Signal::ReadMemory { address: Framebuffer::PIXELS, length: Framebuffer::PIXEL_BYTES };
    assert_eq!(write(&mut device, PRESENT, 1), [all], "exactly fits");
    assert_eq!(read(&mut device, STATUS), 0);
}

#[test]
fn only_aligned_double_words_reach_a_register() {
    let mut device = enabled([5, 1, 4, 0]);
    device.write(WIDTH, Width::Word, 1);
    device.write(WIDTH + 1, Width::Dword, 1);
    assert_eq!(read(&mut device, WIDTH), 5);
    assert_eq!(read(&mut device, WIDTH + 1), u32::MAX);
    assert_eq!(device.read(WIDTH, Width::Byte).0 & 0xff, 0xff);
    assert_eq!(read(&mut device, 0x24), u32::MAX, "reserved");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(fuzz::cases()))]

    #[test]
    fn any_guest_is_stood(run in fuzz::runs(0x30, &[0, 1, 2, 0x0a, 0x0e, 0x0f])) {
        fuzz::check(Framebuffer::default(), &run, |_, _| Vec::new());
    }
}
