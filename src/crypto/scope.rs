//! Region scopes: transport code 1 is a keyed hash of the payload (firmware `TransportKey`).

/// The regions whose scope codes we can tell, one prepared HMAC state each.
#[derive(Clone, Debug, Default)]
pub struct Regions {}

impl Regions {
    /// Builds the set from region names; one leading `#` is added where it is missing.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        let _ = names.into_iter();
        Self {}
    }

    /// The region (`#name`) for which `code` is the scope code of this payload, if any.
    pub fn name_of(&self, code: u16, payload_type: u8, payload: &[u8]) -> Option<&str> {
        let _ = (code, payload_type, payload);
        None
    }
}
