//! Guest memory as the host holds it: page-aligned, zeroed, at an address that never changes, shared by all engines.

use crate::memory::PAGE;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::hash::{Hash, Hasher};
use std::ptr::NonNull;

/// A block of guest memory.
///
/// Engines read and write it through raw pointers while they run; the host's own slices are never alive at that time,
/// because whoever runs an engine holds the machine mutably.
pub(crate) struct HostMemory {
    /// What the allocator gave: a little more than is used.
    allocated: NonNull<u8>,
    /// The first byte used, at the start of a page.
    first: NonNull<u8>,
    length: usize,
}

// SAFETY: the block is owned, and nothing in it is tied to a thread.
unsafe impl Send for HostMemory {}
// SAFETY: through a shared reference the block can only be read.
unsafe impl Sync for HostMemory {}

impl HostMemory {
    /// `length` zero bytes, a positive multiple of a page. The host commits them when they are first touched.
    pub(crate) fn zeroed(length: u64) -> HostMemory {
        let layout = layout(length as usize);
        // SAFETY: the layout's size is not zero, as `layout` asserts.
        let allocated = unsafe { alloc_zeroed(layout) };
        let allocated = NonNull::new(allocated).unwrap_or_else(|| handle_alloc_error(layout));
        // SAFETY: the block has a page more than `length`, so the next start of a page and `length` bytes lie in it.
        let first = unsafe { allocated.add(allocated.align_offset(PAGE as usize)) };
        HostMemory { allocated, first, length: length as usize }
    }

    /// The whole block.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the allocation has `length` initialised bytes and lives as long as `self`.
        unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.length) }
    }

    /// The whole block, to change.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.first.as_ptr(), self.length) }
    }

    /// Where the block is, for an engine to map.
    pub(crate) fn pointer(&self) -> *mut u8 {
        self.first.as_ptr()
    }

    /// Takes over the content of `other`, which has the same length; pages that are equal are not touched.
    pub(crate) fn copy_from(&mut self, other: &HostMemory) {
        assert_eq!(self.length, other.length, "memory is copied between machines of the same size");
        for (to, from) in self.bytes_mut().chunks_mut(PAGE as usize).zip(other.bytes().chunks(PAGE as usize)) {
            if to != from {
                to.copy_from_slice(from);
            }
        }
    }
}

impl Drop for HostMemory {
    fn drop(&mut self) {
        // SAFETY: allocated in `zeroed` with the same layout; engines that point here are dropped first (see `Machine`).
        unsafe { dealloc(self.allocated.as_ptr(), layout(self.length)) }
    }
}

impl Clone for HostMemory {
    fn clone(&self) -> HostMemory {
        let mut copy = HostMemory::zeroed(self.length as u64);
        copy.copy_from(self);
        copy
    }
}

impl PartialEq for HostMemory {
    fn eq(&self, other: &HostMemory) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for HostMemory {}

impl Hash for HostMemory {
    /// Hashes the pages that are not all zero, with their numbers.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.length.hash(state);
        let zero = [0; PAGE as usize];
        for (number, page) in self.bytes().chunks(PAGE as usize).enumerate() {
            if page != zero {
                number.hash(state);
                state.write(page);
            }
        }
    }
}

impl std::fmt::Debug for HostMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HostMemory({} KiB)", self.length / 1024)
    }
}

/// A page more than `length`, to begin at a page. Asked for with that alignment, allocators clear the block by hand, and all
/// of it is committed; without, the host gives pages that read as zero until they are written.
fn layout(length: usize) -> Layout {
    assert!(length > 0 && length.is_multiple_of(PAGE as usize), "guest memory is whole pages, at least one");
    Layout::from_size_align(length + PAGE as usize, 1).expect("the size fits the address space")
}
