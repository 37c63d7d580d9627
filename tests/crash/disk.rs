//! A disk that is full, and has room again.

use super::*;
use crate::support::eventually;

use std::io::Write;
use std::process::Command;

/// A small file system, mounted for one test.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None`, said aloud, where nothing can be mounted.
    fn mount(at: &Path, size: &str) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let options = format!("size={size},mode=0700");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at).output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(at.to_owned())),
            Ok(output) => {
                let why = String::from_utf8_lossy(&output.stderr).into_owned();
                eprintln!("SKIPPED: nothing can be mounted here: {}", why.trim());
                None
            }
            Err(error) => {
                eprintln!("SKIPPED: there is no mount: {error}");
                None
            }
        }
    }

    /// Takes all room but so many KiB.
    fn fill(&self, but_kib: usize) {
        let mut ballast = std::fs::File::create(self.ballast()).unwrap();
        while ballast.write_all(&[0; 1024]).is_ok() {}
        let size = ballast.metadata().unwrap().len();
        ballast.set_len(size.saturating_sub(but_kib as u64 * 1024)).unwrap();
    }

    fn make_room(&self) {
        std::fs::remove_file(self.ballast()).unwrap();
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a hub of a failed test may still have it open.
        let unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|s| s.success()) || std::thread::panicking());
    }
}

#[test]
fn a_full_disk_slows_the_senders_and_writing_goes_on_when_there_is_room() {
    let dir = folder("ingestBufferSize = 50");
    let Some(disk) = SmallDisk::mount(&dir.path().join("data"), "64m") else { return };
    let db = database(dir.path());
    let (hub, at) = start(dir.path());
    let each = 5_000;
    let loads = publish(at, 0, each);
    eventually("some are acknowledged", || (acknowledged(&loads) > 100).then_some(()));
    disk.fill(256);
    let snapshot = eventually("the full disk is said", || {
        status(dir.path()).filter(|s| s.writer.trouble.as_ref().is_some_and(|t| t.contains("full")))
    });
    assert!(!snapshot.ok);
    let before = standstill(&loads);
    assert!(before < (GATEWAYS * each) as usize, "the disk was never full");
    let snapshot = status(dir.path()).unwrap();
    assert_eq!(snapshot.counters["queue_messages"], 50, "the senders are slowed down");
    let (code, text) = told(dir.path());
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("TROUBLE: database or disk is full"), "{text}");
    disk.make_room();
    let all = finish(loads);
    assert_eq!(all.len(), (GATEWAYS * each) as usize);
    eventually("all is well again", || status(dir.path()).filter(|s| s.ok));
    println!("{before} acknowledged before the disk was full, {} in all", all.len());
    assert_eq!(hub.terminate(), Some(0));
    is_whole(&db, &all);
}

#[test]
fn a_hub_that_dies_on_a_full_disk_starts_again_on_it() {
    let dir = folder("ingestBufferSize = 50");
    let Some(disk) = SmallDisk::mount(&dir.path().join("data"), "64m") else { return };
    let db = database(dir.path());
    let (hub, at) = start(dir.path());
    let loads = publish(at, 0, EACH);
    eventually("some are acknowledged", || (acknowledged(&loads) > 100).then_some(()));
    disk.fill(0);
    standstill(&loads);
    hub.kill();
    let mut all = finish(loads);
    // Whatever was left over is taken as well.
    std::fs::remove_file(disk.ballast()).unwrap();
    disk.fill(0);
    let (hub, at) = start(dir.path());
    is_whole(&db, &all);
    let loads = publish(at, 1, 1_000);
    eventually("the full disk is said", || {
        status(dir.path()).filter(|s| s.writer.trouble.as_ref().is_some_and(|t| t.contains("full")))
    });
    disk.make_room();
    all.extend(finish(loads));
    assert_eq!(hub.terminate(), Some(0));
    is_whole(&db, &all);
}

#[test]
fn a_hub_that_finds_no_room_at_all_at_its_start_says_so_in_one_line() {
    let dir = folder("");
    let Some(disk) = SmallDisk::mount(&dir.path().join("data"), "8m") else { return };
    let (hub, _) = start(dir.path());
    assert_eq!(hub.terminate(), Some(0));
    let before = std::fs::read(database(dir.path())).unwrap();
    disk.fill(0);
    let refusal = || {
        let mut hub = HubProcess::spawn(dir.path(), &[]);
        assert_eq!(hub.exit_code(), Some(1));
        eventually("the refusal", || hub.said("meshbox: "))
    };
    assert!(refusal().contains("meshcore.db is full; make room"), "{}", refusal());
    assert_eq!(std::fs::read(database(dir.path())).unwrap(), before);
    // Nor can a new file be made.
    std::fs::remove_file(database(dir.path())).unwrap();
    disk.fill(0);
    assert!(refusal().contains("meshcore.db is full; make room"), "{}", refusal());
    disk.make_room();
    let (hub, _) = start(dir.path());
    assert_eq!(hub.terminate(), Some(0));
}
