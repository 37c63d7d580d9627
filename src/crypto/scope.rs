//! Region scopes: transport code 1 is a keyed hash of the payload (firmware `TransportKey`).

use super::{Mac, keyed_mac, name_key};

use hmac::Mac as _;

/// The regions whose scope codes we can tell, one prepared HMAC state each.
#[derive(Clone, Default)]
pub struct Regions(Vec<Region>);

#[derive(Clone)]
struct Region {
    name: String,
    mac: Mac,
}

impl Regions {
    /// Builds the set from region names; one leading `#` is added where it is missing.
    ///
    /// White space around a name is not part of it. Empty names, repeated ones, `*` (unscoped) and
    /// those that start with `$` (private: their keys do not follow from the name) are left out.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        let mut regions: Vec<Region> = Vec::new();
        for name in names {
            let name = match name.trim() {
                "" | "#" | "*" => continue,
                private if private.starts_with('$') => continue,
                whole if whole.starts_with('#') => whole.to_owned(),
                bare => format!("#{bare}"),
            };
            if regions.iter().all(|r| r.name != name) {
                let mac = keyed_mac(&name_key(&name));
                regions.push(Region { name, mac });
            }
        }
        Self(regions)
    }

    /// The region (`#name`) for which `code` is the scope code of this payload, if any; the first
    /// one in the order given where several fit.
    ///
    /// `code` is transport code 1, read as little-endian; `payload` is what follows the path. A
    /// foreign packet fits a given region by chance once in 65,534. Code 0 (a packet that is meant
    /// for nowhere) fits none.
    pub fn name_of(&self, code: u16, payload_type: u8, payload: &[u8]) -> Option<&str> {
        if code == 0 {
            return None;
        }
        let fits = |r: &&Region| r.code(payload_type, payload) == code;
        self.0.iter().find(fits).map(|r| r.name.as_str())
    }
}

impl Region {
    /// The scope code; 0000 and FFFF are reserved and give way to their neighbours.
    fn code(&self, payload_type: u8, payload: &[u8]) -> u16 {
        let mac = self.mac.clone().chain_update([payload_type]).chain_update(payload);
        let [low, high, ..] = <[u8; 32]>::from(mac.finalize().into_bytes());
        match u16::from_le_bytes([low, high]) {
            0x0000 => 0x0001,
            0xFFFF => 0xFFFE,
            code => code,
        }
    }
}

impl std::fmt::Debug for Regions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.iter().map(|r| &r.name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A payload that was heard on air with the transport code bytes FA1A.
    const OTTAWA: &str = "596EA23622BCB4D5945E49348165AF7DABA3F5DCEED85F430E0856DB5B591E86AB3363BC00E1BA30776698F72FC57C7168E66A4875CDB710F3C175FC2B3FE75A036EF14FA59A709062D3A9FF7014F2E7A8512C";

    fn regions(names: &[&str]) -> Regions {
        Regions::new(names.iter().map(|n| (*n).to_owned()))
    }

    #[test]
    fn a_region_key_is_the_start_of_the_hash_of_its_name() {
        assert_eq!(hex::encode(name_key("#ottawa")), "7871ec72b45617696c35c970bddd8124");
        assert_eq!(hex::encode(name_key("#belgium")), "7085b78ed010599094f8c8e7d1aa0e27");
    }

    #[test]
    fn the_scope_code_tells_the_region_and_a_missing_hash_sign_is_added() {
        let payload = hex::decode(OTTAWA).unwrap();
        let ours = regions(&["#belgium", "ottawa"]);
        assert_eq!(ours.name_of(0x1AFA, 5, &payload), Some("#ottawa"));
        assert_eq!(ours.name_of(0x7E40, 5, &payload), Some("#belgium"));
        assert_eq!(regions(&["#belgium"]).name_of(0x1AFA, 5, &payload), None);
        assert_eq!(regions(&["test"]).name_of(0xB52A, 5, b"hello"), Some("#test"));
    }

    #[test]
    fn the_code_depends_on_payload_type_payload_and_case_of_the_name() {
        let payload = hex::decode(OTTAWA).unwrap();
        let ours = regions(&["#ottawa"]);
        assert_eq!(ours.name_of(0x1AFA, 6, &payload), None);
        assert_eq!(ours.name_of(0x1AFA, 5, &payload[1..]), None);
        assert_eq!(regions(&["#Ottawa"]).name_of(0x1AFA, 5, &payload), None);
    }

    #[test]
    fn reserved_codes_give_way_to_their_neighbours() {
        let ours = regions(&["#test"]);
        let raw = |payload: &[u8]| {
            let mac = ours.0[0].mac.clone().chain_update([0]).chain_update(payload);
            let [low, high, ..] = <[u8; 32]>::from(mac.finalize().into_bytes());
            u16::from_le_bytes([low, high])
        };
        let search = |wanted: u16| {
            (0u32..).map(u32::to_le_bytes).find(|p| raw(p) == wanted).expect("one in 65,536 fits")
        };
        let (zero, ones) = (search(0), search(0xFFFF));
        assert_eq!(ours.name_of(0, 0, &zero), None);
        assert_eq!(ours.name_of(1, 0, &zero), Some("#test"));
        assert_eq!(ours.name_of(0xFFFF, 0, &ones), None);
        assert_eq!(ours.name_of(0xFFFE, 0, &ones), Some("#test"));
    }

    #[test]
    fn names_that_cannot_be_regions_are_left_out() {
        let ours = regions(&[" #a ", "a", "", " ", "#", "*", "$secret"]);
        assert_eq!(format!("{ours:?}"), r##"{"#a"}"##);
    }
}
