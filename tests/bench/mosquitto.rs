//! A real mosquitto as a child process, to compare with.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Starts one that lets everybody in and keeps nothing on disk, its first listener on a port of its
/// own, with these further lines in its configuration; `None` where mosquitto is not installed.
pub(crate) fn start(dir: &Path, more: &str) -> Option<(Child, SocketAddr)> {
    let dirs = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/opt/homebrew/sbin"];
    let program = dirs
        .iter()
        .map(|d| format!("{d}/mosquitto"))
        .find(|p| std::fs::exists(p).is_ok_and(|is| is))?;
    let at = free_port();
    let config = dir.join("mosquitto.conf");
    // Started by root it would become a user that cannot read what lies here.
    let text =
        format!("user root\nlistener {} 127.0.0.1\nallow_anonymous true\n{more}\n", at.port());
    std::fs::write(&config, text).unwrap();
    let child = Command::new(program)
        .arg("-c")
        .arg(&config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(at).is_err() {
        assert!(Instant::now() < deadline, "mosquitto does not listen");
        std::thread::park_timeout(Duration::from_millis(5));
    }
    Some((child, at))
}

/// A loopback port that was free a moment ago.
pub(crate) fn free_port() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}
