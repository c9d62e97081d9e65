//! Random numbers that are the same everywhere.

/// A generator (SplitMix64, OOPSLA 2014).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// An index into something of `length`, which is not 0.
    pub(crate) fn index(&mut self, length: usize) -> usize {
        self.below(length as u64) as usize
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.index(from.len())]
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }

    /// A number of any magnitude, small ones as likely as large ones.
    pub(crate) fn magnitude(&mut self) -> u64 {
        let bits = self.below(64);
        self.next() >> bits
    }

    /// A number that is likely to be a limit of something.
    pub(crate) fn limit(&mut self) -> u64 {
        let edge = 1u64.rotate_left(self.below(64) as u32);
        let near = edge.wrapping_add(self.below(5)).wrapping_sub(2);
        match self.below(4) {
            0 => self.magnitude(),
            1 => near.wrapping_neg(),
            _ => near,
        }
    }
}
