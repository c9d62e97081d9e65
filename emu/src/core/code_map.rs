//! Which pages of guest memory hold code that some engine may have translated.
//!
//! Engines keep translations of code and notice only their own stores to it. So every page is noted here before an engine
//! fetches code from it; fast engines do not write to such pages, and whatever commits to one drops the translations of all
//! engines.

use crate::memory::PAGE;
use fencepost_devices::PhysAddr;

/// A bit for each page, from address 0 to the last page with code.
#[derive(Debug, Default)]
pub(crate) struct CodeMap {
    words: Vec<u64>,
    count: usize,
}

impl CodeMap {
    /// Notes the page of `address`. Returns whether it is new.
    pub(crate) fn note(&mut self, address: PhysAddr) -> bool {
        let (word, bit) = place(address.0 / PAGE);
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        let is_new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        self.count += usize::from(is_new);
        is_new
    }

    /// Whether any of `length` bytes at `address` lies in a page with code.
    pub(crate) fn touches(&self, address: PhysAddr, length: u64) -> bool {
        (address.0 / PAGE..=(address.0 + length - 1) / PAGE).any(|page| self.has(page))
    }

    /// The pages' addresses.
    pub(crate) fn pages(&self) -> impl Iterator<Item = PhysAddr> {
        let words = (0..).zip(&self.words).filter(|(_, word)| **word != 0);
        let pages = words.flat_map(|(index, _)| 64 * index..64 * (index + 1));
        pages.filter(|&page| self.has(page)).map(|page| PhysAddr(page * PAGE))
    }

    /// How many pages there are: an engine that remembers it sees whether there are new ones.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    fn has(&self, page: u64) -> bool {
        let (word, bit) = place(page);
        self.words.get(word).is_some_and(|word| word & bit != 0)
    }
}

fn place(page: u64) -> (usize, u64) {
    ((page / 64) as usize, 1 << (page % 64))
}
