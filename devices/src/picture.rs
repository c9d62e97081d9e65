//! A picture of a screen, as a PNG file or as text for a terminal.

mod terminal;

/// Rows of pixels, top row first.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Picture {
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Red, green, blue of each pixel: `3 * width * height` bytes.
    pub rgb: Vec<u8>,
}

/// A picture is enlarged for viewing until a row has this many pixels, about a quarter of a common screen.
const VIEWING_WIDTH: u32 = 480;

impl Picture {
    /// The picture as a PNG file, each pixel a square of `scale` pixels (0 counts as 1).
    ///
    /// Equal pictures give equal bytes, on every host.
    pub fn to_png(&self, scale: u32) -> Vec<u8> {
        let scale = scale.max(1);
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, self.width * scale, self.height * scale);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_compression(png::Compression::Balanced);
        encoder
            .write_header()
            .and_then(|mut writer| writer.write_image_data(&self.enlarged(scale as usize)))
            .expect("a picture has pixels, and writing to memory does not fail");
        file
    }

    /// The integer factor that makes a small picture comfortable to look at; 1 for a large one.
    pub fn viewing_scale(&self) -> u32 {
        VIEWING_WIDTH.div_ceil(self.width.max(1))
    }

    /// Red, green, blue of the pixel in column `x`, row `y`; `None` outside.
    pub fn pixel(&self, x: u32, y: u32) -> Option<[u8; 3]> {
        if x >= self.width || y >= self.height {
            return None;
        }
        let at = 3 * (y as usize * self.width as usize + x as usize);
        self.rgb[at..].first_chunk().copied()
    }

    pub(crate) fn enlarged(&self, scale: usize) -> Vec<u8> {
        let mut rgb = Vec::with_capacity(self.rgb.len() * scale * scale);
        for row in self.rgb.chunks_exact(3 * self.width as usize) {
            let wide: Vec<u8> = row.chunks_exact(3).flat_map(|pixel| pixel.repeat(scale)).collect();
            rgb.extend(wide.repeat(scale));
        }
        rgb
    }
}

#[cfg(test)]
mod tests;
