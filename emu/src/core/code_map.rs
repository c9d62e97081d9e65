//! Which pages of guest memory hold code that some engine has translated.
//!
//! Engines keep translations of code and notice only their own stores to it. So every page that code was fetched from is
//! noted here; fast engines write-protect such pages, and whatever commits to one drops the translations of all engines.

use crate::memory::PAGE;
use fencepost_devices::PhysAddr;
use std::collections::HashSet;

/// Pages with translated code, in the order they were found.
#[derive(Debug, Default)]
pub(crate) struct CodeMap {
    pages: Vec<PhysAddr>,
    known: HashSet<u64>,
}

impl CodeMap {
    /// Notes the page of `address`. Returns whether it is new.
    pub(crate) fn note(&mut self, address: PhysAddr) -> bool {
        let page = address.0 / PAGE;
        let is_new = self.known.insert(page);
        if is_new {
            self.pages.push(PhysAddr(page * PAGE));
        }
        is_new
    }

    /// Whether any of `length` bytes at `address` lies in a page with code.
    pub(crate) fn touches(&self, address: PhysAddr, length: u64) -> bool {
        (address.0 / PAGE..=(address.0 + length - 1) / PAGE).any(|page| self.known.contains(&page))
    }

    /// Page addresses, oldest first; an engine remembers how many it has dealt with.
    pub(crate) fn pages(&self) -> &[PhysAddr] {
        &self.pages
    }
}
