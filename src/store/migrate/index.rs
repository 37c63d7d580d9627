//! Building an index on a table that may be large, in one go.

use super::super::Shared;
use super::super::fault::Fault;
use super::super::open;
use super::super::schema::{self, DEDUP};
use super::super::writer::LONG_STEP;
use super::slice;

use rusqlite::{Connection, Transaction, TransactionBehavior};
use std::sync::Arc;
use std::time::Instant;

/// The pulse is given, and the order to stop looked for, every so many instructions of SQLite's
/// machine: some milliseconds.
const INSTRUCTIONS: i32 = 20_000;

/// Builds an index of the schema. A stop interrupts it: the file is as it was then.
///
/// # Errors
/// [`Fault`]: of the index that makes observations unique, [`Fault::Unacceptable`] if they are not.
pub(super) fn build(conn: &Connection, name: &str, shared: &Arc<Shared>) -> Result<(), Fault> {
    let Some(index) = schema::INDEXES.iter().find(|(n, ..)| *n == name) else { return Ok(()) };
    // What is sorted must not fill the memory.
    conn.pragma_update(None, "temp_store", "FILE")?;
    let built = watched(conn, shared, || {
        let tx = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
        // Another program may have built it meanwhile.
        if !open::has_index(&tx, name)? {
            tx.execute_batch(&schema::create_index(*index))?;
        }
        if name == DEDUP {
            slice::forget(&tx, "observations")?;
        }
        shared.allow(LONG_STEP);
        tx.commit()
    });
    if name == DEDUP && built.as_ref().is_err_and(is_constraint) {
        // Somebody else has added duplicates: from the beginning again.
        slice::forget(conn, "observations")?;
    }
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(built?)
}

fn is_constraint(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation)
}

/// Lets a long statement give the writer's pulse, and be interrupted.
fn watched<T>(
    conn: &Connection,
    shared: &Arc<Shared>,
    work: impl FnOnce() -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let theirs = Arc::clone(shared);
    let (began, mut minutes) = (Instant::now(), 0);
    let look = move || {
        // Sorting takes its time in a single instruction.
        theirs.allow(LONG_STEP);
        let passed = began.elapsed().as_secs() / 60;
        if passed > minutes {
            minutes = passed;
            tracing::info!("the index is being built, for {passed} min now");
        }
        theirs.is_stopping() || theirs.abandoned()
    };
    conn.progress_handler(INSTRUCTIONS, Some(look))?;
    let done = work();
    shared.beat();
    conn.progress_handler(0, None::<fn() -> bool>)?;
    done
}
