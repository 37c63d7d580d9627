//! A bounded map of what was used last.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

/// Remembers at most `bound` entries: two generations, of which the older one is forgotten as a
/// whole when the younger one is full. What is asked for moves to the younger one.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    half: usize,
}

impl<K: Eq + Hash, V> Recent<K, V> {
    pub(super) fn new(bound: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), half: (bound / 2).max(1) }
    }

    pub(super) fn get<Q>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        if !self.young.contains_key(key) {
            let (key, value) = self.old.remove_entry(key)?;
            self.insert(key, value);
        }
        self.young.get_mut(key)
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= self.half && !self.young.contains_key(&key) {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert(key, value);
    }

    pub(super) fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_holds_more_than_its_bound() {
        let mut recent = Recent::new(10);
        for n in 0..1_000 {
            recent.insert(n, n);
            assert!(recent.young.len() + recent.old.len() <= 10);
        }
        assert_eq!(recent.get(&999), Some(&mut 999));
        assert_eq!(recent.get(&0), None);
    }

    #[test]
    fn what_is_asked_for_stays() {
        let mut recent = Recent::new(10);
        for n in 0..1_000 {
            recent.insert(n, n);
            assert!(recent.get(&0).is_some(), "forgotten after {n}");
        }
    }

    #[test]
    fn writing_what_is_there_forgets_nothing() {
        let mut recent = Recent::new(4);
        for n in [0, 1, 2, 3] {
            recent.insert(n, n);
        }
        recent.insert(3, 4);
        assert_eq!(recent.get(&0), Some(&mut 0));
        assert_eq!(recent.get(&3), Some(&mut 4));
    }

    #[test]
    fn after_clear_nothing_is_known() {
        let mut recent = Recent::new(2);
        recent.insert("a".to_owned(), 1);
        recent.insert("b".to_owned(), 2);
        recent.clear();
        assert_eq!(recent.get("a"), None);
        assert_eq!(recent.get("b"), None);
    }
}
