//! A node of the simulated mesh.

use super::dice::Dice;
use crate::crypto::advert::Identity;
use crate::crypto::peer::NodeKey;
use crate::packet::payload::app_data::{Fields, NodeType, Position};
use crate::packet::payload::{Advert, AppData};
use crate::packet::{Packet, Path, Payload};

/// Somebody with a radio.
#[derive(Clone, Debug)]
pub(super) struct Node {
    identity: Identity,
    key: NodeKey,
    pub(super) name: String,
    pub(super) role: Role,
    position: Option<Position>,
    /// The size of the path hashes that its packets gather.
    pub(super) hash_size: u8,
    /// Its own clock: the last second in which it spoke.
    spoke_s: u32,
}

/// What kind of node it is, as in its advert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Companion = 1,
    Repeater = 2,
    Room = 3,
    Sensor = 4,
}

/// Roles in turn; the first node is a repeater, so that there always is one.
const ROLES: [Role; 10] = [
    Role::Repeater,
    Role::Companion,
    Role::Companion,
    Role::Repeater,
    Role::Companion,
    Role::Room,
    Role::Repeater,
    Role::Companion,
    Role::Sensor,
    Role::Repeater,
];

/// Where the mesh is: half a degree around San José, on land and sea alike.
const CENTRE: Position = Position { lat_e6: 37_363_000, lon_e6: -121_929_000 };
const REACH_E6: i32 = 500_000;

/// Names are at most 23 bytes beside a position (firmware `MAX_ADVERT_DATA_SIZE`).
const PLACES: [&str; 12] = [
    "Ridge", "Harbor", "Summit", "Mill", "Depot", "Garden", "Tower", "Creek", "Station", "Orchard",
    "Bridge", "Quarry",
];

impl Node {
    /// The mesh's `n`th node.
    pub(super) fn new(n: usize, dice: &mut Dice) -> Self {
        let identity = identity(dice);
        let role = ROLES[n % ROLES.len()];
        // People with a companion mostly do not say where they are.
        let silent = role == Role::Companion && n % 3 != 0;
        let mut around = |centre: i32| centre + dice.between(-REACH_E6, REACH_E6);
        let position = (!silent)
            .then(|| Position { lat_e6: around(CENTRE.lat_e6), lon_e6: around(CENTRE.lon_e6) });
        Self {
            key: identity.node_key(),
            identity,
            name: format!("Sim {} {n}", PLACES[n % PLACES.len()]),
            role,
            position,
            hash_size: [1, 1, 1, 1, 2, 1, 1, 3][n % 8],
            spoke_s: 0,
        }
    }

    pub(super) fn public_key(&self) -> [u8; 32] {
        self.identity.public_key()
    }

    /// The second of its clock in which it speaks now, later than ever before.
    pub(super) fn tick(&mut self, clock_s: u32) -> u32 {
        self.spoke_s = clock_s.max(self.spoke_s.saturating_add(1));
        self.spoke_s
    }

    /// Its advert, flooded, as it leaves the node.
    pub(super) fn advert(&mut self, clock_s: u32) -> Vec<u8> {
        let timestamp = self.tick(clock_s);
        let app_data = AppData::Fields(Fields {
            node_type: NodeType::from_nibble(self.role as u8),
            position: self.position,
            feature1: None,
            feature2: None,
            named: true,
            tail: self.name.as_bytes(),
        });
        let public_key = &self.public_key();
        let unsigned = Advert { public_key, timestamp, signature: &[0; 64], app_data, beyond: &[] };
        let signature = &self.identity.sign(&unsigned.signed());
        let advert = Payload::Advert(Advert { signature, ..unsigned });
        let path = Path::new(self.hash_size, &[]).unwrap_or_default();
        Packet::flood(None, path, advert).to_bytes()
    }

    /// MAC and ciphertext of what only the other one shall read.
    pub(super) fn seal_for(&self, other: &Self, plain: &[u8]) -> ([u8; 2], Vec<u8>) {
        let secret = self.key.shared_secret(&other.public_key());
        secret.map(|secret| secret.seal(plain)).unwrap_or_default()
    }
}

/// A new identity, as the firmware makes one: a key that begins with 00 or FF is thrown again.
pub(super) fn identity(dice: &mut Dice) -> Identity {
    loop {
        let identity = Identity::from_seed(&dice.bytes());
        if !matches!(identity.public_key()[0], 0x00 | 0xFF) {
            return identity;
        }
    }
}
