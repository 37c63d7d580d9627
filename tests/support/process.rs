//! Programs as children: the hub itself and a real mosquitto. Dropping one ends it.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use super::{PATIENCE, eventually, program};

/// `meshbox run` in a folder of its own.
pub(crate) struct HubProcess {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    readers: Vec<std::thread::JoinHandle<()>>,
    /// Where its broker listens, if it does.
    pub(crate) mqtt: Option<SocketAddr>,
}

impl HubProcess {
    /// Starts the hub in `dir` and waits until it says `ready`.
    pub(crate) fn start(dir: &Path, args: &[&str]) -> Self {
        Self::spawn(dir, args).ready()
    }

    /// The same, but whoever reads its log has gone.
    pub(crate) fn start_with_closed_log(dir: &Path) -> Self {
        let (log, writer) = std::os::unix::net::UnixStream::pair().unwrap();
        drop(log);
        let stderr = std::os::fd::OwnedFd::from(writer);
        let mut child = command(dir, &[], &[]).stderr(stderr).spawn().unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let readers = vec![collect(child.stdout.take().unwrap(), Arc::clone(&lines))];
        Self { child, lines, readers, mqtt: None }.ready()
    }

    fn ready(self) -> Self {
        let mut hub = self;
        eventually("the hub says ready", || hub.said("ready"));
        hub.mqtt = hub
            .said("listening mqtt tcp ")
            .and_then(|line| line.rsplit(' ').next().and_then(|at| at.parse().ok()));
        hub
    }

    /// Starts the hub and waits for nothing.
    pub(crate) fn spawn(dir: &Path, args: &[&str]) -> Self {
        Self::spawn_with(dir, args, &[])
    }

    /// Starts it with so many files allowed, and waits until it says `ready`.
    pub(crate) fn start_with_files(dir: &Path, files: u32) -> Self {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", &format!("ulimit -n {files}; exec \"$0\""), env!("CARGO_BIN_EXE_meshbox")])
            .current_dir(dir)
            .env_remove("NOTIFY_SOCKET");
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let readers = vec![
            collect(child.stdout.take().unwrap(), Arc::clone(&lines)),
            collect(child.stderr.take().unwrap(), Arc::clone(&lines)),
        ];
        Self { child, lines, readers, mqtt: None }.ready()
    }

    /// The same with environment variables.
    pub(crate) fn spawn_with(dir: &Path, args: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut child = command(dir, args, variables).stderr(Stdio::piped()).spawn().unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let readers = vec![
            collect(child.stdout.take().unwrap(), Arc::clone(&lines)),
            collect(child.stderr.take().unwrap(), Arc::clone(&lines)),
        ];
        Self { child, lines, readers, mqtt: None }
    }

    /// The first line that begins so, on stdout or stderr.
    pub(crate) fn said(&self, beginning: &str) -> Option<String> {
        let lines = self.lines.lock().unwrap();
        lines.iter().find(|l| l.starts_with(beginning)).cloned()
    }

    /// Everything it printed.
    pub(crate) fn output(&self) -> String {
        self.lines.lock().unwrap().join("\n")
    }

    /// SIGTERM, then its exit code.
    pub(crate) fn terminate(mut self) -> Option<i32> {
        signal(&self.child, rustix::process::Signal::TERM);
        self.exit_code()
    }

    /// SIGTERM, then its exit code and all that it printed.
    pub(crate) fn terminate_and_tell(mut self) -> (Option<i32>, String) {
        signal(&self.child, rustix::process::Signal::TERM);
        let code = self.exit_code();
        (code, self.output())
    }

    /// SIGKILL: no last words.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end, and until all it printed is here.
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        let ended = eventually("the hub ends", || self.child.try_wait().unwrap());
        self.readers.drain(..).for_each(|reader| reader.join().unwrap());
        ended.code()
    }
}

fn command(dir: &Path, args: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshbox"));
    command
        .args(args)
        .current_dir(dir)
        .env_remove("NOTIFY_SOCKET")
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command
}

impl Drop for HubProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the hub said:\n{}\n---", self.output());
        }
    }
}

/// A real mosquitto on a port of its own.
pub(crate) struct Mosquitto {
    child: Option<Child>,
    config: PathBuf,
    /// Where it listens.
    pub(crate) at: SocketAddr,
}

impl Mosquitto {
    /// Starts one without persistence and with these further lines in its configuration, which lies in
    /// `dir`; `None` (said aloud) where mosquitto is not installed.
    pub(crate) fn start(dir: &Path, more: &str) -> Option<Self> {
        let program = program("mosquitto")?;
        // Between our letting go of the port and mosquitto taking it somebody else may: try again.
        for _ in 0..5 {
            let at = free_port();
            let config = dir.join("mosquitto.conf");
            let text = format!(
                // Started by root it would become a user that cannot read what lies here.
                "user root\nlistener {} 127.0.0.1\nallow_anonymous true\npersistence false\n\
                 max_queued_messages 0\n{more}\n",
                at.port()
            );
            std::fs::write(&config, text).unwrap();
            let mut broker = Self { child: None, config, at };
            if broker.launch(&program) {
                return Some(broker);
            }
        }
        panic!("mosquitto does not start");
    }

    /// Ends it; what it had in memory is gone.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it again on the same port.
    pub(crate) fn start_again(&mut self) {
        let program = program("mosquitto").unwrap();
        eventually("mosquitto gets its port again", || self.launch(&program).then_some(()));
    }

    fn launch(&mut self, program: &Path) -> bool {
        let child = Command::new(program)
            .arg("-c")
            .arg(&self.config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.child = Some(child);
        let deadline = std::time::Instant::now() + PATIENCE;
        while std::time::Instant::now() < deadline {
            if self.child.as_mut().is_some_and(|c| c.try_wait().unwrap().is_some()) {
                return false;
            }
            if TcpStream::connect(self.at).is_ok() {
                return true;
            }
            std::thread::park_timeout(std::time::Duration::from_millis(5));
        }
        false
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A loopback port that was free a moment ago.
pub(crate) fn free_port() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

fn signal(child: &Child, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, signal).unwrap();
}

fn collect(
    stream: impl std::io::Read + Send + 'static,
    lines: Arc<Mutex<Vec<String>>>,
) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            lines.lock().unwrap().push(line);
        }
    })
}
