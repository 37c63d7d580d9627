//! Passwords of accounts as they are kept: argon2id in PHC form.

use std::fmt;

use argon2::password_hash::phc;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};

/// The hash of a password. `Debug` shows dots.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

/// The longest password, in bytes.
pub const LONGEST_PASSWORD: usize = 1024;

/// 19 MiB and two passes, OWASP's first choice of 2023 for argon2id: a twentieth of a second on a
/// desktop, a fifth on a Raspberry Pi 4, and one at a time fits into 512 MB beside everything else.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;

/// What a hash that somebody else made may cost to check: a line in a file must not take all memory.
const MOST_MEMORY_KIB: u32 = 64 * 1024;
const MOST_PASSES: u32 = 10;
const MOST_LANES: u32 = 4;

impl PasswordHash {
    /// Takes a hash from a file.
    ///
    /// # Errors
    /// What is wrong with it, and what to do.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const MADE: &str = "is no argon2id hash ($argon2id$v=19$…); make it with \
                            `meshbox account passwd`";
        let hash = phc::PasswordHash::new(text).map_err(|_| MADE)?;
        let is_whole = hash.salt.is_some() && hash.hash.is_some();
        if hash.algorithm.as_str() != "argon2id" || !is_whole {
            return Err(MADE);
        }
        let params = Params::try_from(&hash).map_err(|_| MADE)?;
        if params.m_cost() > MOST_MEMORY_KIB
            || params.t_cost() > MOST_PASSES
            || params.p_cost() > MOST_LANES
        {
            return Err(
                "costs more than 64 MiB, 10 passes or 4 lanes to check; make it anew with \
                        `meshbox account passwd`",
            );
        }
        Ok(Self(text.to_owned()))
    }

    /// Hashes a password with a salt, which nobody else may have: 16 random bytes.
    ///
    /// # Errors
    /// There is not enough memory.
    pub fn make(password: &[u8], salt: &[u8; 16]) -> Result<Self, String> {
        let params = Params::new(MEMORY_KIB, PASSES, 1, None).map_err(|e| e.to_string())?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let hash = argon2.hash_password_with_salt(password, salt);
        hash.map(|hash| Self(hash.to_string())).map_err(|error| error.to_string())
    }

    /// Whether this is its password. Takes 19 MiB and a twentieth to a fifth of a second.
    pub fn fits(&self, password: &[u8]) -> bool {
        let hash = phc::PasswordHash::new(&self.0);
        hash.is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok())
    }

    /// As it stands in the file.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_fits_its_hash_and_no_other_does() {
        let hash = PasswordHash::make(b"h\xffnter2", &[7; 16]).unwrap();
        let start = "$argon2id$v=19$m=19456,t=2,p=1$BwcHBwcHBwcHBwcHBwcHBw$";
        assert!(hash.as_str().starts_with(start), "{}", hash.as_str());
        let hash = PasswordHash::parse(hash.as_str()).unwrap();
        assert!(hash.fits(b"h\xffnter2"));
        assert!(!hash.fits(b"hunter2") && !hash.fits(b""));
        assert_eq!(format!("{hash:?}"), "PasswordHash(…)");
    }

    #[test]
    fn a_hash_of_another_tool_fits_too() {
        // printf %s password | argon2 somesalt -id -t 2 -k 65536 -p 1 -e (argon2's own test vector)
        let hash = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        assert!(PasswordHash::parse(hash).unwrap().fits(b"password"));
    }

    #[test]
    fn what_is_no_hash_or_would_eat_the_machine_is_refused() {
        let salt = "BwcHBwcHBwcHBwcHBwcHBw$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        for text in [
            "hunter2",
            "",
            "$argon2id$v=19$m=19456,t=2,p=1",
            &format!("$argon2i$v=19$m=19456,t=2,p=1${salt}"),
            &format!("$argon2id$v=19$m=4000000,t=2,p=1${salt}"),
            &format!("$argon2id$v=19$m=19456,t=2000,p=1${salt}"),
            &format!("$argon2id$v=19$m=19456,t=2,p=200${salt}"),
        ] {
            assert!(PasswordHash::parse(text).is_err(), "{text}");
        }
    }
}
