//! Secrets: read them, use them, never print them.

/// A password or key: `Debug` and `Display` show dots.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret itself, for the one call that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// A private key of 64 bytes: `Debug` shows dots.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyBytes([u8; 64]);

impl KeyBytes {
    /// Wraps a key.
    pub fn new(key: [u8; 64]) -> Self {
        Self(key)
    }

    /// The key itself, for the one call that needs it.
    pub fn reveal(&self) -> &[u8; 64] {
        &self.0
    }
}

impl std::fmt::Debug for KeyBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyBytes(…)")
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl std::fmt::Display for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

impl<'de> serde::Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_printed() {
        let secret = Secret::new("hunter2");
        assert!(!format!("{secret:?}{secret}").contains("hunter2"));
        assert_eq!(secret.reveal(), "hunter2");
        assert_eq!(format!("{:?}", KeyBytes::new([7; 64])), "KeyBytes(…)");
    }
}
