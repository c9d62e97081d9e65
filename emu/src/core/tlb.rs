//! The translation lookaside buffer of a core: translations it goes on using until it is told not to (SDM 3A 5.10; 4.10 in
//! older editions).
//!
//! It is part of a machine's state, whatever an engine has cached besides: a translation is noted when an access has first
//! needed it, and is then used, stale or not, until
//!
//! - INVLPG for its page, or a page fault at it (5.10.4.1);
//! - MOV to CR3, or a task switch that changes CR3: all but global ones, which CR4.PGE makes (5.10.2.4);
//! - a change of CR4.PGE or CR4.PAE, paging turned off, a write to an MTRR, INIT: all of them;
//! - an access that it does not allow, or a first write, which a processor looks up anew in memory (5.8, 5.10.2.3);
//! - a younger one in its place: there are as many as in the second level of a processor of the family that CPUID names,
//!   1024 for data in 128 sets of 8; and 512 for code in 64 sets. In a full set the oldest goes.
//!
//! Code is noted when it is executed, not when an engine translates it: so it does not matter which engine that was.
//! Left out: what processors note by speculation, caches of paging structures (tables above the last are read anew),
//! process-context identifiers.

use super::memory_types::PageType;
use super::paging::{DIRTY, GLOBAL, Leaf, Mode, NO_EXECUTE, USER, WRITABLE};
use crate::memory::{Memory, PAGE};
use fencepost_devices::PhysAddr;
use std::ops::Range;

/// Translations in a set.
const WAYS: usize = 8;
/// Sets for data, and behind them sets for code.
const DATA_SETS: usize = 128;
const CODE_SETS: usize = 64;

/// The sizes of pages: 4 KiB, 2 MiB, 4 MiB, 1 GiB.
const SIZES: [u64; 4] = [PAGE, 2 << 20, 4 << 20, 1 << 30];

const CR0_WP: u64 = 1 << 16;
const CR4_PAE: u64 = 1 << 5;
const CR4_PGE: u64 = 1 << 7;

bitflags::bitflags! {
    /// What an engine may do with a page. The shim knows the same bits.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(crate) struct Allowed: u32 {
        const READ = 1;
        const WRITE = 2;
        const EXECUTE = 4;
    }
}

/// An access that needs a translation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Access {
    pub(crate) linear: u64,
    /// Exactly one.
    pub(crate) kind: Allowed,
    pub(crate) is_user: bool,
}

impl Access {
    fn side(self) -> Side {
        if self.kind == Allowed::EXECUTE { Side::Code } else { Side::Data }
    }
}

/// What translations are for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    Data,
    Code,
}

/// What an engine is told about a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Page {
    /// The physical address that the access is about.
    pub(crate) physical: PhysAddr,
    pub(crate) bytes: u64,
    pub(crate) allowed: Allowed,
    /// What its entry said of its memory type when it was noted.
    pub(crate) kind: PageType,
}

/// What is no longer noted, so that whoever cached it must forget it too.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Lost {
    /// The page with this linear address.
    pub(crate) page: Option<u64>,
    /// And others.
    pub(crate) more: bool,
    /// Translations of code among them.
    pub(crate) code: bool,
}

impl Lost {
    /// Everything.
    pub(crate) const ALL: Lost = Lost { page: None, more: true, code: true };

    /// Whether anything is lost.
    pub(crate) fn is_some(self) -> bool {
        self.page.is_some() || self.more
    }

    /// Both losses in one.
    pub(crate) fn and(self, other: Lost) -> Lost {
        let mut both = self;
        other.page.into_iter().for_each(|page| both.lose(page));
        both.more |= other.more;
        both.code |= other.code;
        both
    }

    fn lose(&mut self, page: u64) {
        self.more |= self.page.is_some_and(|lost| lost != page);
        self.page = Some(page);
    }
}

/// One translation. All zero where there is none.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Entry {
    /// The page's linear address; in its lower bits 1 more than the index of its size.
    page: u64,
    /// The frame's physical address; in its lower bits rights and dirtiness as in a page table entry, and
    /// [`ENTRY_NO_EXECUTE`]; in bits 5 to 3 the type that it chooses from IA32_PAT.
    frame: u64,
}

/// Where in `Entry::frame` the memory type is.
const TYPE_SHIFT: u32 = 3;

/// Bit 9 of `Entry::frame`, where there is no room for bit 63.
const ENTRY_NO_EXECUTE: u64 = 1 << 9;

/// A core's translation lookaside buffer.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Tlb {
    /// Sets of [`WAYS`], the oldest first and empty places last.
    entries: Vec<Entry>,
}

impl Default for Tlb {
    fn default() -> Tlb {
        Tlb { entries: vec![Entry::default(); (DATA_SETS + CODE_SETS) * WAYS] }
    }
}

impl std::fmt::Debug for Tlb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.entries.iter().filter(|entry| entry.is_some())).finish()
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#x} -> {:#x}", self.page, self.frame)
    }
}

impl Entry {
    fn new(leaf: &Leaf, linear: u64, mode: &Mode, kind: PageType) -> Entry {
        let size = SIZES.iter().position(|&bytes| bytes == leaf.bytes).expect("a page has one of four sizes");
        let mut flags = leaf.allowed & (WRITABLE | USER) | leaf.entry & DIRTY;
        if mode.cr4 & CR4_PGE != 0 {
            flags |= leaf.entry & GLOBAL;
        }
        if leaf.allowed & NO_EXECUTE != 0 {
            flags |= ENTRY_NO_EXECUTE;
        }
        flags |= kind.bits() << TYPE_SHIFT;
        Entry { page: linear & !(leaf.bytes - 1) | (size as u64 + 1), frame: leaf.frame | flags }
    }

    fn is_some(self) -> bool {
        self.page != 0
    }

    fn has(self, flag: u64) -> bool {
        self.frame & flag != 0
    }

    fn size(self) -> usize {
        (self.page & (PAGE - 1)) as usize - 1
    }

    fn bytes(self) -> u64 {
        SIZES[self.size()]
    }

    fn kind(self) -> PageType {
        PageType::from_bits(self.frame >> TYPE_SHIFT)
    }

    fn linear(self) -> u64 {
        self.page & !(PAGE - 1)
    }

    fn covers(self, linear: u64) -> bool {
        self.is_some() && linear & !(self.bytes() - 1) == self.linear()
    }

    fn physical(self, linear: u64) -> PhysAddr {
        PhysAddr(self.frame & !(PAGE - 1) | linear & (self.bytes() - 1))
    }

    /// What a program may do with the page now (SDM 3A 5.6.1); a page that is not dirty is looked up anew to write to it.
    fn allowed(self, mode: &Mode, is_user: bool) -> Allowed {
        if is_user && !self.has(USER) {
            return Allowed::empty();
        }
        let may_write = self.has(WRITABLE) || !is_user && mode.cr0 & CR0_WP == 0;
        let mut allowed = Allowed::READ;
        allowed.set(Allowed::WRITE, may_write && self.has(DIRTY));
        allowed.set(Allowed::EXECUTE, !self.has(ENTRY_NO_EXECUTE));
        allowed
    }
}

impl Tlb {
    /// The noted translation that `access` uses; `None` when the processor looks into memory, because there is none or it
    /// does not allow the access.
    pub(crate) fn look_up(&self, access: Access, mode: &Mode) -> Option<Page> {
        let entry = self.find(access.side(), access.linear)?;
        let is_allowed = entry.allowed(mode, access.is_user).contains(access.kind);
        is_allowed.then(|| self.page(entry, access, mode))
    }

    /// What page tables, which allow `access`, say of its page, with `pat` in IA32_PAT. `None` when they lie where there is
    /// no memory.
    pub(crate) fn walk(&self, access: Access, mode: &Mode, pat: u64, memory: &Memory) -> Option<Page> {
        let leaf = mode.leaf(memory, access.linear)?;
        let kind = match access.side() {
            Side::Data => PageType::chosen_by(leaf.entry, pat),
            Side::Code => PageType::WRITE_BACK,
        };
        Some(self.page(Entry::new(&leaf, access.linear, mode, kind), access, mode))
    }

    /// Page tables have been walked for `access`, which they allow: notes what they say, or, at a fetch, only that what was
    /// noted is void.
    pub(crate) fn note_walk(&mut self, access: Access, mode: &Mode, pat: u64, memory: &Memory, lost: &mut Lost) {
        let Some(leaf) = mode.leaf(memory, access.linear) else { return };
        match access.side() {
            Side::Data => {
                let kind = PageType::chosen_by(leaf.entry, pat);
                self.insert(Side::Data, Entry::new(&leaf, access.linear, mode, kind), lost);
            }
            Side::Code => self.forget_on(Side::Code, access.linear, lost),
        }
    }

    /// The instruction bytes at `linear` are executed: notes where they are, if that is not known. `false` when it cannot be.
    pub(crate) fn note_fetch(&mut self, linear: u64, mode: &Mode, memory: &Memory, lost: &mut Lost) -> bool {
        if self.has_code(linear, mode) {
            return true;
        }
        let Some(leaf) = mode.leaf(memory, linear) else { return false };
        self.insert(Side::Code, Entry::new(&leaf, linear, mode, PageType::WRITE_BACK), lost);
        // An engine may have fetched ahead, before this was what page tables said.
        lost.lose(linear & !(PAGE - 1));
        true
    }

    /// Whether it is noted where the code at `linear` is, or need not be.
    pub(crate) fn has_code(&self, linear: u64, mode: &Mode) -> bool {
        !mode.is_paging() || self.find(Side::Code, linear).is_some()
    }

    /// The physical address of `linear` as the core would find it, noted or in memory.
    pub(crate) fn translate(&self, side: Side, linear: u64, mode: &Mode, memory: &Memory) -> Option<PhysAddr> {
        let noted = mode.is_paging().then(|| self.find(side, linear)).flatten();
        noted.map_or_else(|| mode.translate(memory, linear), |entry| Some(entry.physical(linear)))
    }

    /// Reads up to `bytes.len()` bytes of code at `linear`; returns how many are mapped memory.
    pub(crate) fn fetch(&self, linear: u64, mode: &Mode, memory: &Memory, bytes: &mut [u8]) -> usize {
        let mut done = 0;
        while done < bytes.len() {
            let at = linear.wrapping_add(done as u64);
            let length = ((PAGE - at % PAGE) as usize).min(bytes.len() - done);
            let Some(physical) = self.translate(Side::Code, at, mode, memory) else { break };
            if !memory.read(physical, &mut bytes[done..done + length]) {
                break;
            }
            done += length;
        }
        done
    }

    /// INVLPG, or a page fault: forgets the page that `linear` lies in.
    pub(crate) fn forget_page(&mut self, linear: u64, lost: &mut Lost) {
        self.forget_on(Side::Data, linear, lost);
        self.forget_on(Side::Code, linear, lost);
    }

    fn forget_on(&mut self, side: Side, linear: u64, lost: &mut Lost) {
        for size in 0..SIZES.len() {
            let set = set_of(side, linear, size);
            if self.retain(set, |entry| !(entry.size() == size && entry.covers(linear))) {
                lost.lose(linear & !(PAGE - 1));
                lost.code |= side == Side::Code;
            }
        }
    }

    /// CR0, CR3 or CR4 of the core, or all of them, have been written, and were `before`.
    pub(crate) fn forget_for(&mut self, before: &Mode, after: &Mode, writes_cr3: bool) {
        let is_turned_off = before.is_paging() && !after.is_paging();
        if is_turned_off || (before.cr4 ^ after.cr4) & (CR4_PGE | CR4_PAE) != 0 {
            self.forget_all();
        } else if writes_cr3 {
            for set in 0..DATA_SETS + CODE_SETS {
                self.retain(set * WAYS..(set + 1) * WAYS, |entry| entry.has(GLOBAL));
            }
        }
    }

    /// Forgets everything, global or not.
    pub(crate) fn forget_all(&mut self) {
        self.entries.fill(Entry::default());
    }

    /// Whether anything noted is not what page tables say now.
    pub(crate) fn is_stale(&self, mode: &Mode, pat: u64, memory: &Memory) -> bool {
        self.stale(mode, pat, memory).next().is_some()
    }

    /// Whether everything that is noted in `before` and not what page tables say is noted here, too.
    pub(crate) fn keeps_stale_of(&self, before: &Tlb, mode: &Mode, pat: u64, memory: &Memory) -> bool {
        before.stale(mode, pat, memory).all(|(index, entry)| {
            let set = index / WAYS * WAYS;
            self.entries[set..set + WAYS].contains(&entry)
        })
    }

    /// What page tables say otherwise, and the place of each.
    fn stale(&self, mode: &Mode, pat: u64, memory: &Memory) -> impl Iterator<Item = (usize, Entry)> {
        let noted = self.entries.iter().copied().enumerate().filter(|(_, entry)| entry.is_some());
        noted.filter(move |&(index, entry)| {
            let Some(leaf) = mode.leaf(memory, entry.linear()) else { return true };
            let kind =
                if index < DATA_SETS * WAYS { PageType::chosen_by(leaf.entry, pat) } else { PageType::WRITE_BACK };
            let now = Entry::new(&leaf, entry.linear(), mode, kind);
            // A page may have become dirty since then.
            now.page != entry.page || now.frame & !DIRTY != entry.frame & !DIRTY || entry.has(DIRTY) && !now.has(DIRTY)
        })
    }

    fn find(&self, side: Side, linear: u64) -> Option<Entry> {
        (0..SIZES.len()).find_map(|size| {
            let set = &self.entries[set_of(side, linear, size)];
            set.iter().copied().find(|entry| entry.is_some() && entry.size() == size && entry.covers(linear))
        })
    }

    /// What an engine may cache of `entry`: what the other side knows the same way, too, unless data's type matters.
    fn page(&self, entry: Entry, access: Access, mode: &Mode) -> Page {
        let of_data = Allowed::READ | Allowed::WRITE;
        let (own, other, side) = match access.side() {
            Side::Data => (of_data, Allowed::EXECUTE, Side::Code),
            Side::Code => (Allowed::EXECUTE, of_data, Side::Data),
        };
        let physical = entry.physical(access.linear);
        let mut allowed = entry.allowed(mode, access.is_user) & own;
        let is_plain = |entry: Entry| entry.kind() == PageType::WRITE_BACK;
        let twin = self.find(side, access.linear).filter(|twin| twin.physical(access.linear) == physical);
        if let Some(twin) = twin.filter(|&twin| is_plain(twin) && is_plain(entry)) {
            allowed |= twin.allowed(mode, access.is_user) & other;
        }
        Page { physical, bytes: entry.bytes(), allowed, kind: entry.kind() }
    }

    /// Notes `entry` in place of one for the same page, or as the youngest of its set.
    fn insert(&mut self, side: Side, entry: Entry, lost: &mut Lost) {
        let set = &mut self.entries[set_of(side, entry.linear(), entry.size())];
        if let Some(same) = set.iter_mut().find(|old| old.page == entry.page) {
            let gains_only = same.frame | DIRTY == entry.frame | DIRTY;
            *same = entry;
            if !gains_only {
                lost.lose(entry.linear());
            }
            return;
        }
        match set.iter_mut().find(|place| !place.is_some()) {
            Some(place) => *place = entry,
            None => {
                lost.lose(set[0].linear());
                lost.code |= side == Side::Code;
                set.rotate_left(1);
                set[WAYS - 1] = entry;
            }
        }
    }

    /// Keeps what is to be kept of a set, in order. Returns whether anything was not.
    fn retain(&mut self, set: Range<usize>, keeps: impl Fn(Entry) -> bool) -> bool {
        let set = &mut self.entries[set];
        let mut kept = 0;
        for index in 0..WAYS {
            let entry = set[index];
            if entry.is_some() && keeps(entry) {
                set.swap(kept, index);
                kept += 1;
            }
        }
        let removed = set[kept..].iter().any(|entry| entry.is_some());
        set[kept..].fill(Entry::default());
        removed
    }
}

/// The places where a page of size `size` with `linear` in it may be noted.
fn set_of(side: Side, linear: u64, size: usize) -> Range<usize> {
    let number = (linear / SIZES[size]) as usize;
    let set = match side {
        Side::Data => number % DATA_SETS,
        Side::Code => DATA_SETS + number % CODE_SETS,
    };
    set * WAYS..(set + 1) * WAYS
}
