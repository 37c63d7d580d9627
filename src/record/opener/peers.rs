//! Nodes that were heard, by the first byte of their keys.

use std::collections::BTreeMap;

/// Public keys of nodes that were heard: the last [`A_HASH`] of each first byte, 8,192 in all, in
/// 300 KB at most. Anyone can make keys up, and so drive others out that begin alike; those with whom
/// our nodes have written go last, and who was driven out is known again once it is heard.
#[derive(Debug, Default)]
pub(super) struct Peers {
    by_hash: BTreeMap<u8, Vec<Known>>,
}

#[derive(Debug)]
struct Known {
    key: [u8; 32],
    proven: bool,
}

/// Nodes remembered for one first byte: twice what a mesh of 4,096 nodes has on average.
const A_HASH: usize = 32;

impl Peers {
    /// A node was heard.
    pub(super) fn hear(&mut self, key: &[u8; 32]) {
        let [hash, ..] = key;
        let known = self.by_hash.entry(*hash).or_default();
        let proven = match known.iter().position(|known| known.key == *key) {
            Some(at) => known.remove(at).proven,
            None => false,
        };
        if known.len() >= A_HASH {
            let last = known.iter().rposition(|known| !known.proven);
            known.remove(last.unwrap_or(known.len() - 1));
        }
        known.insert(0, Known { key: *key, proven });
    }

    /// One of our nodes and this one have written to each other.
    pub(super) fn prove(&mut self, key: &[u8; 32]) {
        let [hash, ..] = key;
        let known = self.by_hash.get_mut(hash).into_iter().flatten();
        known.filter(|known| known.key == *key).for_each(|known| known.proven = true);
    }

    /// The nodes whose key begins so, and whether they are proven; these come first, and then those
    /// that were heard last.
    pub(super) fn of(&self, hash: u8) -> impl Iterator<Item = ([u8; 32], bool)> {
        let known = self.by_hash.get(&hash).map(Vec::as_slice).unwrap_or_default();
        let those = move |proven| known.iter().filter(move |known| known.proven == proven);
        those(true).chain(those(false)).map(|known| (known.key, known.proven))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(hash: u8, n: u8) -> [u8; 32] {
        let mut key = [n; 32];
        key[0] = hash;
        key
    }

    fn numbers(peers: &Peers, hash: u8) -> Vec<u8> {
        peers.of(hash).map(|(key, _)| key[1]).collect()
    }

    #[test]
    fn who_was_heard_last_comes_first_and_the_proven_before_all() {
        let mut peers = Peers::default();
        for n in [1, 2, 3, 1] {
            peers.hear(&key(7, n));
        }
        peers.hear(&key(8, 9));
        assert_eq!((numbers(&peers, 7), numbers(&peers, 8)), (vec![1, 3, 2], vec![9]));
        peers.prove(&key(7, 2));
        peers.hear(&key(7, 3));
        assert_eq!(numbers(&peers, 7), [2, 3, 1]);
        assert!(numbers(&peers, 9).is_empty());
    }

    #[test]
    fn the_longest_unheard_is_forgotten_and_the_proven_last() {
        let mut peers = Peers::default();
        peers.hear(&key(7, 0));
        peers.prove(&key(7, 0));
        for n in 1..=200 {
            peers.hear(&key(7, n));
        }
        let known = numbers(&peers, 7);
        assert_eq!((known.len(), known[0], known[1], known[31]), (A_HASH, 0, 200, 170));
        for (n, _) in known.iter().zip(0..) {
            peers.prove(&key(7, *n));
        }
        peers.hear(&key(7, 201));
        assert_eq!(numbers(&peers, 7).len(), A_HASH);
    }
}
