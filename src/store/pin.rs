//! Who keeps the WAL from going into the file.

use super::read_only::beside;
use crate::counters::Reader;

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The programs that are reading the database now. Empty where the system does not tell: that is
/// another container's program, or a system without `/proc`.
///
/// SQLite's readers hold a lock on a byte of the file `-shm`, and Linux lists all locks. The file must
/// not be opened for this: closing it again would take our own connection's locks away (POSIX).
pub(super) fn readers(database: &Path) -> Vec<Reader> {
    let Ok(shm) = std::fs::metadata(beside(database, "-shm")) else { return Vec::new() };
    let Ok(locks) = std::fs::read_to_string("/proc/locks") else { return Vec::new() };
    let pids = pids(&locks, shm.ino());
    pids.into_iter().map(|pid| Reader { pid, command: command(pid) }).collect()
}

/// The bytes of the five read locks (`WAL_READ_LOCK` in SQLite's wal.c: 120 + 3 and on).
const READ_LOCKS: std::ops::RangeInclusive<u64> = 123..=127;

/// Whose read locks are listed on the file of this inode. Its device is not compared: a file system
/// with volumes inside (btrfs, overlayfs) is told by another number here than by stat(2).
fn pids(locks: &str, inode: u64) -> BTreeSet<u32> {
    locks.lines().filter_map(|line| reader(line, inode)).collect()
}

/// `7: POSIX  ADVISORY  READ 1234 fe:00:5678 123 123`; one that waits has `->` for its second word.
fn reader(line: &str, inode: u64) -> Option<u32> {
    let mut words = line.split_whitespace().skip(1);
    let (kind, _, access) = (words.next()?, words.next()?, words.next()?);
    let pid = words.next()?.parse().ok()?;
    let file = words.next()?.rsplit(':').next()?;
    let byte = words.next()?.parse().ok()?;
    let reads = kind == "POSIX" && access == "READ" && READ_LOCKS.contains(&byte);
    (reads && file.parse() == Ok(inode)).then_some(pid)
}

/// The program's name, at most 15 bytes of it; empty where it has gone.
fn command(pid: u32) -> String {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    name.chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_are_told_from_writers_waiters_and_other_files() {
        let locks = "\
            1: POSIX  ADVISORY  READ 11 fe:00:77 123 123\n\
            1: -> POSIX  ADVISORY  READ 12 fe:00:77 124 124\n\
            2: POSIX  ADVISORY  WRITE 13 fe:00:77 125 125\n\
            3: POSIX  ADVISORY  READ 14 fe:00:78 126 126\n\
            4: POSIX  ADVISORY  READ 15 fe:00:77 128 128\n\
            5: FLOCK  ADVISORY  READ 16 fe:00:77 0 EOF\n\
            6: OFDLCK ADVISORY  READ -1 fe:00:77 123 123\n\
            7: POSIX  ADVISORY  READ 17 00:2b:77 127 127\n\
            8: POSIX  ADVISORY  READ 11 fe:00:77 124 124\n\
            nonsense\n\n";
        assert_eq!(pids(locks, 77), BTreeSet::from([11, 17]));
    }

    #[test]
    fn a_program_has_a_name_until_it_ends() {
        assert!(!command(std::process::id()).is_empty());
        assert_eq!(command(u32::MAX), "");
    }
}
