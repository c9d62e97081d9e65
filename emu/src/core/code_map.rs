//! Which pages of guest memory hold code that some engine may have translated.
//!
//! Engines keep translations of code and notice only their own stores to it. So every page is noted here before an engine
//! fetches code from it; fast engines do not write to such pages, and whatever commits to one drops the translations of all
//! engines.

use crate::memory::PAGE;
use fencepost_devices::PhysAddr;
use std::collections::HashSet;

/// The numbers of pages with code.
#[derive(Debug, Default)]
pub(crate) struct CodeMap(HashSet<u64>);

impl CodeMap {
    /// Notes the page of `address`. Returns whether it is new.
    pub(crate) fn note(&mut self, address: PhysAddr) -> bool {
        self.0.insert(address.0 / PAGE)
    }

    /// Whether any of `length` bytes at `address` lies in a page with code.
    pub(crate) fn touches(&self, address: PhysAddr, length: u64) -> bool {
        (address.0 / PAGE..=(address.0 + length - 1) / PAGE).any(|page| self.0.contains(&page))
    }

    /// The pages' addresses, in no order.
    pub(crate) fn pages(&self) -> impl Iterator<Item = PhysAddr> {
        self.0.iter().map(|page| PhysAddr(page * PAGE))
    }

    /// How many pages there are: an engine that remembers it sees whether there are new ones.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }
}
