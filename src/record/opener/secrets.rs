//! Secrets of pairs of nodes: finding one out costs as much as a hundred MACs.

use crate::crypto::peer::SharedSecret;

use std::collections::HashMap;

/// One of our keys, by its place, and a peer's public key.
pub(super) type Pair = (usize, [u8; 32]);

/// The secrets of the last pairs; `None` for a peer whose key is none. Two halves take turns, as in
/// [`super::super::verdicts`]: between [`HALF`] and twice as many are known, in 1.7 MB at most.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    young: HashMap<Pair, Option<SharedSecret>>,
    old: HashMap<Pair, Option<SharedSecret>>,
}

/// Pairs that one half remembers: what a large mesh has of nodes.
const HALF: usize = 2_048;

impl Secrets {
    /// The secret of this pair: remembered, or found out by `find_out`.
    pub(super) fn of(
        &mut self,
        pair: Pair,
        find_out: impl FnOnce() -> Option<SharedSecret>,
    ) -> Option<&SharedSecret> {
        let Self { young, old } = self;
        if young.len() >= HALF && !young.contains_key(&pair) {
            *old = std::mem::take(young);
        }
        young.entry(pair).or_insert_with(|| old.remove(&pair).unwrap_or_else(find_out)).as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::peer::NodeKey;

    fn pair(n: u32) -> Pair {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&n.to_le_bytes());
        (0, key)
    }

    #[test]
    fn a_secret_is_found_out_once_and_a_key_that_is_none_as_well() {
        let key = NodeKey::from_expanded(&[8; 64]);
        let mut secrets = Secrets::default();
        assert!(secrets.of(pair(1), || key.shared_secret(key.public_key())).is_some());
        assert!(secrets.of(pair(1), || panic!("again")).is_some());
        assert!(secrets.of(pair(2), || None).is_none());
        assert!(secrets.of(pair(2), || panic!("again")).is_none());
    }

    #[test]
    fn the_memory_is_bounded_and_keeps_what_is_in_use() {
        let mut secrets = Secrets::default();
        let mut found_out = 0;
        for n in 0..u32::try_from(HALF * 5).unwrap() {
            secrets.of(pair(n), || None);
            secrets.of(pair(0), || {
                found_out += 1;
                None
            });
        }
        assert!(secrets.young.len() + secrets.old.len() <= 2 * HALF);
        assert_eq!(found_out, 0, "it was there from the first round on");
    }
}
