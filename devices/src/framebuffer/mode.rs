//! How the bytes of the pixel memory are laid out.

use crate::Picture;

/// The mode registers as the guest wrote them, sensible or not.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Mode {
    pub(super) width: u32,
    pub(super) height: u32,
    /// Bytes from one row to the next.
    pub(super) pitch: u32,
    pub(super) format: u32,
}

/// How a pixel is written in memory, little endian: the values of the `FORMAT` register.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u32)]
enum Format {
    /// 4 bytes: blue, green, red, unused.
    Xrgb8888 = 0,
    /// 2 bytes: 5 bits red at the top, 6 bits green, 5 bits blue.
    Rgb565 = 1,
    /// 1 byte: 0 black, 255 white.
    Grey8 = 2,
}

impl Mode {
    /// Bytes from the first visible one to the last, if the mode makes sense.
    ///
    /// Not compared with the size of any memory; fits because all factors are 32 bits wide.
    pub(super) fn span(&self) -> Option<u64> {
        let row = u64::from(self.width) * Format::from_register(self.format)?.bytes();
        let pitch = u64::from(self.pitch);
        let rows_before_last = u64::from(self.height).checked_sub(1)?;
        (row > 0 && row <= pitch).then(|| pitch * rows_before_last + row)
    }

    /// The visible bytes out of `bytes`, which are [`Mode::span`] long: rows without the padding between them.
    pub(super) fn visible(&self, bytes: &[u8]) -> Vec<u8> {
        assert_eq!(Some(bytes.len() as u64), self.span(), "the answer has the length asked for");
        let row = self.width as usize * self.known_format().bytes() as usize;
        bytes.chunks(self.pitch as usize).flat_map(|line| &line[..row]).copied().collect()
    }

    /// The picture that visible bytes make.
    pub(super) fn picture(&self, visible: &[u8]) -> Picture {
        let format = self.known_format();
        let pixels = visible.chunks_exact(format.bytes() as usize);
        let rgb = pixels.flat_map(|pixel| format.rgb(pixel)).collect();
        Picture { width: self.width, height: self.height, rgb }
    }

    fn known_format(&self) -> Format {
        Format::from_register(self.format).expect("a mode is checked before a frame is read")
    }
}

impl Format {
    /// Length of a pixel in bytes.
    const fn bytes(self) -> u64 {
        match self {
            Format::Xrgb8888 => 4,
            Format::Rgb565 => 2,
            Format::Grey8 => 1,
        }
    }

    fn from_register(value: u32) -> Option<Format> {
        [Format::Xrgb8888, Format::Rgb565, Format::Grey8].into_iter().find(|&format| format as u32 == value)
    }

    /// Red, green, blue of one pixel of [`Format::bytes`] bytes.
    fn rgb(self, pixel: &[u8]) -> [u8; 3] {
        match self {
            Format::Xrgb8888 => [pixel[2], pixel[1], pixel[0]],
            Format::Rgb565 => {
                let [low, high] = [pixel[0], pixel[1]];
                [widen_5(high >> 3), widen_6((high & 7) << 3 | low >> 5), widen_5(low & 0x1f)]
            }
            Format::Grey8 => [pixel[0]; 3],
        }
    }
}

/// 5 bits as 8: the top bits repeated below, so that all ones become all ones.
fn widen_5(bits: u8) -> u8 {
    bits << 3 | bits >> 2
}

fn widen_6(bits: u8) -> u8 {
    bits << 2 | bits >> 4
}
