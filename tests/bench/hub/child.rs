//! A broker as a child process, and what the system tells of it.

use meshbox::control::ask_status;
use meshbox::counters::Snapshot;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

/// `meshbox run` in a folder of its own, as a user runs it.
pub(crate) struct Hub {
    child: Child,
    lines: Receiver<String>,
    pub(crate) dir: PathBuf,
    pub(crate) mqtt: SocketAddr,
    /// From the exec to its `ready`.
    pub(crate) ready_after: Duration,
}

/// What it has used so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Use {
    pub(crate) cpu: Duration,
    /// Handed to the system; and what of it went to a disk.
    pub(crate) wchar: u64,
    pub(crate) write_bytes: u64,
}

const CONFIG: &str = "[[broker.listeners]]\ntransport = \"tcp\"\nbind = \"127.0.0.1:0\"\n";

impl Hub {
    pub(crate) fn start(dir: &Path, more: &str) -> Self {
        std::fs::write(dir.join("broker.toml"), format!("{more}\n{CONFIG}")).unwrap();
        let started = Instant::now();
        let mut child = Command::new(env!("CARGO_BIN_EXE_meshbox"))
            .current_dir(dir)
            .env("MESHBOX_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        // A hub says a dozen lines in its life.
        let (tell, lines) = sync_channel(1_024);
        std::thread::spawn(move || {
            stdout.lines().map_while(Result::ok).try_for_each(|line| tell.send(line))
        });
        let mut mqtt = None;
        loop {
            let line = lines.recv_timeout(Duration::from_secs(60)).expect("the hub gets ready");
            if let Some(at) = line.strip_prefix("listening mqtt tcp ") {
                mqtt = at.parse().ok();
            }
            if line == "ready" {
                break;
            }
        }
        let ready_after = started.elapsed();
        Self { child, lines, dir: dir.into(), mqtt: mqtt.expect("its port"), ready_after }
    }

    pub(crate) fn db(&self) -> PathBuf {
        self.dir.join("data/meshcore.db")
    }

    pub(crate) fn status(&self) -> Snapshot {
        ask_status(&self.db()).unwrap()
    }

    /// Waits until so many records are committed; how it is then.
    pub(crate) fn committed(&self, records: u64) -> Snapshot {
        let deadline = Instant::now() + Duration::from_secs(600);
        loop {
            let status = self.status();
            if status.counters["records_committed"] >= records {
                return status;
            }
            assert!(Instant::now() < deadline, "not committed: {:?}", status.counters);
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    pub(crate) fn used(&self) -> Use {
        used(self.child.id())
    }

    /// A line of /proc/PID/status, in MB.
    pub(crate) fn memory_mb(&self, line: &str) -> f64 {
        memory_mb(self.child.id(), line)
    }

    /// SIGTERM, from now.
    pub(crate) fn terminate(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    /// Waits for its end: exit code, what it has used in all, and its last words.
    pub(crate) fn ended(mut self) -> (Option<i32>, Use, Vec<String>) {
        let stat = format!("/proc/{}/stat", self.child.id());
        // Until it is waited for, what it has used can be read.
        while !std::fs::read_to_string(&stat).unwrap().contains(") Z ") {
            std::thread::park_timeout(Duration::from_millis(1));
        }
        let used = self.used();
        let code = self.child.wait().unwrap().code();
        (code, used, self.lines.iter().collect())
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn memory_mb(pid: u32, line: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let kib = status.lines().find_map(|l| {
        l.strip_prefix(line)?.trim_start_matches(':').trim().strip_suffix(" kB")?.parse().ok()
    });
    kib.map_or(f64::NAN, |kib: f64| kib / 1024.0)
}

pub(crate) fn used(pid: u32) -> Use {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // Behind the name: state is field 3, user time 14 and system time 15, in hundredths of a second.
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    let io = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    let number = |name: &str| {
        io.lines().find_map(|l| l.strip_prefix(name)?.trim().parse().ok()).unwrap_or_default()
    };
    Use {
        cpu: Duration::from_millis(ticks * 10),
        wchar: number("wchar:"),
        write_bytes: number("write_bytes:"),
    }
}
