//! The last resort for a batch that failed twice: each record on its own.

use super::fault::Fault;
use super::writer::{Scribe, guarded};

/// What to do after a record was written by itself.
enum Salvaged {
    Next,
    /// Begin again; the bad record is marked.
    Again,
}

impl Scribe<'_> {
    /// Writes record by record, each in a savepoint: those that cannot be stored go to
    /// `meshbox_refused`, the others are stored.
    pub(super) fn salvage(&mut self) -> Result<(), Fault> {
        self.book.begin()?;
        let mut n = 0;
        while n < self.batch.len() {
            self.shared.beat();
            n = match self.salvage_one(n)? {
                Salvaged::Next => n + 1,
                Salvaged::Again => {
                    self.book.begin()?;
                    0
                }
            };
        }
        self.settle_and_commit()
    }

    fn salvage_one(&mut self, n: usize) -> Result<Salvaged, Fault> {
        let latest_ms = self.latest_ms();
        let book = &mut self.book;
        let Some(record) = self.batch.records().get(n) else { return Ok(Salvaged::Next) };
        if let Some(reason) = self.batch.refused(n) {
            book.refuse(&record.message, reason).map_err(|e| as_trouble(&e))?;
            return Ok(Salvaged::Next);
        }
        let before = book.counts;
        book.run("SAVEPOINT record")?;
        let done = guarded(|| book.write(record).and_then(|()| book.settle(latest_ms)));
        let reason = match done {
            Ok(()) => {
                book.run("RELEASE record")?;
                return Ok(Salvaged::Next);
            }
            Err(Fault::Unacceptable(reason)) => reason,
            Err(trouble) => return Err(trouble),
        };
        book.forget();
        book.counts = before;
        // Not so when the fault took the whole transaction with it (`RAISE(ROLLBACK)` in a trigger).
        let open = book.in_transaction();
        if open {
            book.run("ROLLBACK TO record; RELEASE record")?;
            book.refuse(&record.message, &reason).map_err(|e| as_trouble(&e))?;
        }
        self.batch.refuse(n, reason);
        Ok(if open { Salvaged::Next } else { Salvaged::Again })
    }
}

/// A record cannot be at fault here.
fn as_trouble(fault: &Fault) -> Fault {
    Fault::Trouble(fault.words().to_owned())
}
