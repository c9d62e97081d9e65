//! A set of the 256 vectors, as the in-service, trigger mode and interrupt request registers hold it.

/// One bit a vector (SDM 3A 11.8.4).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Vectors([u32; 8]);

impl Vectors {
    /// The 32 vectors from 32 times `index` on, as the register of that number reads.
    pub(super) fn word(&self, index: u8) -> u32 {
        self.0.get(usize::from(index)).copied().unwrap_or(0)
    }

    pub(super) fn contains(&self, vector: u8) -> bool {
        self.word(vector / 32) & bit(vector) != 0
    }

    pub(super) fn set(&mut self, vector: u8, member: bool) {
        let word = &mut self.0[usize::from(vector / 32)];
        if member { *word |= bit(vector) } else { *word &= !bit(vector) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0 == [0; 8]
    }

    /// The member of the highest priority, which is the highest number.
    pub(super) fn highest(&self) -> Option<u8> {
        (0..8u8).rev().find_map(|index| {
            let [top, ..] = self.word(index).checked_ilog2()?.to_le_bytes();
            Some(32 * index + top)
        })
    }
}

const fn bit(vector: u8) -> u32 {
    1 << (vector % 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_member_is_found_wherever_it_is() {
        let mut vectors = Vectors::default();
        assert_eq!(vectors.highest(), None);
        for vector in 0..=255 {
            vectors.set(vector, true);
            assert_eq!(vectors.highest(), Some(vector));
        }
        vectors.set(255, false);
        assert_eq!(vectors.highest(), Some(254));
        assert_eq!([vectors.word(0), vectors.word(7)], [u32::MAX, u32::MAX >> 1]);
    }
}
