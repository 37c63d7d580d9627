//! The two brokers that are compared.

use crate::{child, mosquitto, server};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A broker in a process of its own; dropped, it ends.
pub(crate) struct Broker {
    child: Child,
    pub(crate) tcp: SocketAddr,
    pub(crate) tls: SocketAddr,
    pub(crate) ws: SocketAddr,
    /// What its TLS listener shows.
    pub(crate) certificate: PathBuf,
}

impl Broker {
    /// This program again, as the door.
    pub(crate) fn door(dir: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([Path::new(server::FLAG), dir])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let said: Vec<String> = lines.by_ref().take_while(|line| line != "ready").collect();
        let at = |transport: &str| {
            let begins = format!("listening {transport} ");
            said.iter().find_map(|l| l.strip_prefix(&begins)?.parse().ok()).expect("a listener")
        };
        let certificate = server::certificate(dir).certificate;
        Self { tcp: at("tcp"), tls: at("tls"), ws: at("ws"), child, certificate }
    }

    /// A real mosquitto, if there is one.
    pub(crate) fn mosquitto(dir: &Path) -> Option<Self> {
        let files = server::certificate(dir);
        let (tls, ws) = (mosquitto::free_port(), mosquitto::free_port());
        let more = format!(
            "listener {} 127.0.0.1\ncertfile {}\nkeyfile {}\nlistener {} 127.0.0.1\n\
             protocol websockets\n",
            tls.port(),
            files.certificate.display(),
            files.key.display(),
            ws.port(),
        );
        let (child, tcp) = mosquitto::start(dir, &more)?;
        Some(Self { child, tcp, tls, ws, certificate: files.certificate })
    }

    /// User and system time that it has used so far.
    pub(crate) fn cpu(&self) -> Duration {
        child::used(self.child.id()).cpu
    }

    /// What it holds in memory.
    pub(crate) fn resident_kib(&self) -> f64 {
        child::memory_mb(self.child.id(), "VmRSS") * 1024.0
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
