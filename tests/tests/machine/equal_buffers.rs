//! Store buffers as values: those that will drain alike are equal, however they came about.
//!
//! Exploration compares whole states, and a difference that means nothing would cost it a state.

use super::testbed::*;
use fencepost::devices::PhysAddr;
use fencepost::store_buffer::StoreKind::{Ordinary, WriteCombining};
use fencepost::store_buffer::{Entry, StoreBuffer, StoreKind};

/// A buffer with a byte stored at each address, and a fence for each `None`.
fn buffer(kind: StoreKind, stores: &[Option<u64>]) -> StoreBuffer {
    let mut buffer = StoreBuffer::default();
    for store in stores {
        match store {
            Some(address) => buffer.push(Entry::new(PhysAddr(*address), &[1], kind)),
            None => buffer.fence(),
        }
    }
    buffer
}

#[test]
fn a_fence_with_nothing_before_it_leaves_no_trace() {
    for kind in [Ordinary, WriteCombining] {
        let mut drained = buffer(kind, &[Some(X), None, Some(Y), Some(Z)]);
        drained.remove(0);
        assert_eq!(drained, buffer(kind, &[Some(Y), Some(Z)]));
        let mut drained = buffer(kind, &[Some(X), None]);
        drained.remove(0);
        assert_eq!(drained, buffer(kind, &[]));
        assert_eq!(buffer(kind, &[None, None, Some(X)]), buffer(kind, &[Some(X)]));
    }
}

#[test]
fn fences_side_by_side_are_one() {
    assert_eq!(buffer(Ordinary, &[Some(X), None, None, Some(Y)]), buffer(Ordinary, &[Some(X), None, Some(Y)]));
}

#[test]
fn a_fence_outlives_the_store_after_it() {
    let mut shorter = buffer(WriteCombining, &[Some(X), None, Some(Y), Some(Z)]);
    shorter.remove(1);
    assert_eq!(shorter, buffer(WriteCombining, &[Some(X), None, Some(Z)]));
    let mut shorter = buffer(WriteCombining, &[Some(X), None, Some(Y)]);
    shorter.remove(1);
    assert_eq!(shorter, buffer(WriteCombining, &[Some(X), None]));
    let mut shorter = buffer(WriteCombining, &[Some(X), None, Some(Y)]);
    shorter.truncate(1);
    assert_eq!(shorter, buffer(WriteCombining, &[Some(X), None]));
}

#[test]
fn a_fence_after_the_last_store_is_not_a_fence_before_it() {
    let before = buffer(Ordinary, &[Some(X), None, Some(Y)]);
    let after = buffer(Ordinary, &[Some(X), Some(Y), None]);
    let neither = buffer(Ordinary, &[Some(X), Some(Y)]);
    assert!(before != after && before != neither && after != neither);
}
