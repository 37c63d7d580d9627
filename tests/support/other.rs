//! Another program that has the database open: this very test program, started again.

use rusqlite::Connection;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The other program; it ends with its test.
pub(crate) struct Other(Child);

/// Which file, what to do with it, and whether over and over.
const FILE: &str = "MESHBOX_TEST_FILE";
const SQL: &str = "MESHBOX_TEST_SQL";
const REPEATED: &str = "MESHBOX_TEST_REPEATED";

impl Other {
    /// Runs these statements once and holds what they hold until it is told to let go.
    pub(crate) fn holds(db: &Path, sql: &str) -> Self {
        Self::start(db, sql, "")
    }

    /// Runs these statements over and over until it is told to let go.
    pub(crate) fn repeats(db: &Path, sql: &str) -> Self {
        Self::start(db, sql, "yes")
    }

    fn start(db: &Path, sql: &str, repeated: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "support::other::another_program", "--ignored", "--nocapture"])
            .envs([(FILE, db.as_os_str()), (SQL, sql.as_ref()), (REPEATED, repeated.as_ref())])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        lines.find(|line| line.as_ref().unwrap().contains("at work")).unwrap().unwrap();
        // It still prints its result.
        std::thread::spawn(move || lines.count());
        Self(child)
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Has it end, and waits for that.
    pub(crate) fn let_go(mut self) {
        drop(self.0.stdin.take());
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "the other program of other tests; by itself it does nothing"]
fn another_program() {
    static ENDING: AtomicBool = AtomicBool::new(false);
    let Some(file) = std::env::var_os(FILE) else { return };
    let sql = std::env::var(SQL).unwrap();
    let conn = Connection::open(file).unwrap();
    conn.busy_timeout(Duration::from_secs(10)).unwrap();
    conn.execute_batch(&sql).unwrap();
    println!("at work");
    std::io::stdout().flush().unwrap();
    // Until the test closes its end, or has gone.
    let ended = std::thread::spawn(|| {
        std::io::stdin().lines().count();
        ENDING.store(true, Ordering::Relaxed);
    });
    if std::env::var_os(REPEATED).as_deref() == Some(OsStr::new("yes")) {
        while !ENDING.load(Ordering::Relaxed) {
            conn.execute_batch(&sql).unwrap();
            std::thread::park_timeout(Duration::from_millis(2));
        }
    }
    ended.join().unwrap();
}
