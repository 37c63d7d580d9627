//! What goes wrong while writing: is it the database that cannot, or the record that must not?

use rusqlite::ErrorCode;

/// Why a statement failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The database cannot take anything now (full, locked, broken): keep everything, try again.
    Trouble(String),
    /// What was written is not acceptable: a stale map or, the second time, a bad record.
    Unacceptable(String),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(
                ErrorCode::ConstraintViolation
                | ErrorCode::TypeMismatch
                | ErrorCode::TooBig
                | ErrorCode::ParameterOutOfRange,
            ) => Self::Unacceptable(error.to_string()),
            // Everything else of SQLite's, a missing table included, would hit every record alike:
            // refusing records for it would lose them all.
            Some(_) => Self::Trouble(error.to_string()),
            // rusqlite's own: a value that cannot be converted, a row that should be there.
            None => Self::Unacceptable(error.to_string()),
        }
    }
}

impl Fault {
    /// Of a caught panic.
    pub(super) fn of_panic(payload: &(dyn std::any::Any + Send)) -> Self {
        let words = payload
            .downcast_ref::<&str>()
            .map(|s| (*s).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_default();
        Self::Unacceptable(format!("panic: {words}"))
    }

    /// SQLite's words.
    pub(super) fn words(&self) -> &str {
        match self {
            Self::Trouble(words) | Self::Unacceptable(words) => words,
        }
    }
}
