//! Numbers for values that several threads meet: equal values get equal numbers, whoever meets them first.
//!
//! Which number a value gets may differ from run to run; nothing that is reported depends on it.

use super::local::fingerprint;
use rustc_hash::FxHashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

/// Values by number.
pub(super) struct Numbering<T>(Mutex<Numbered<T>>);

struct Numbered<T> {
    numbers: FxHashMap<u128, u32>,
    values: Vec<Arc<T>>,
}

impl<T> Default for Numbering<T> {
    fn default() -> Numbering<T> {
        Numbering(Mutex::new(Numbered { numbers: FxHashMap::default(), values: Vec::new() }))
    }
}

impl<T: Hash> Numbering<T> {
    /// The number of `value`.
    pub(super) fn number(&self, value: T) -> (u32, Arc<T>) {
        let name = fingerprint(&value);
        let mut numbered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let next = u32::try_from(numbered.values.len()).expect("there are fewer than 2^32 values");
        let number = *numbered.numbers.entry(name).or_insert(next);
        if number == next {
            numbered.values.push(Arc::new(value));
        }
        (number, Arc::clone(&numbered.values[number as usize]))
    }

    /// The value with this number.
    pub(super) fn value(&self, number: u32) -> Arc<T> {
        let numbered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&numbered.values[number as usize])
    }
}
