//! What a person reads for each way in which a source can be wrong.

use super::{Box, NOW_MS, account, source};
use crate::support::certificates::Authority;
use crate::support::process::{Mosquitto, free_port};
use crate::support::program;

use meshbox::config::{ClientTls, Scheme, Source};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

/// Something that listens, answers everybody with this, and reads on.
struct Stranger {
    at: SocketAddr,
    _task: AbortOnDropHandle<()>,
}

impl Stranger {
    /// `first`: it speaks before it is spoken to.
    async fn start(answer: &'static [u8], first: bool) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let at = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut read = [0; 1_024];
                    if !first {
                        let _ = stream.read(&mut read).await;
                    }
                    let _ = stream.write_all(answer).await;
                    while stream.read(&mut read).await.is_ok_and(|read| read > 0) {}
                });
            }
        });
        Self { at, _task: AbortOnDropHandle::new(task) }
    }
}

fn over(scheme: Scheme, name: &str, at: SocketAddr) -> Source {
    let mut settings = source(name, at);
    settings.remote.scheme = scheme;
    if matches!(scheme, Scheme::Ws | Scheme::Wss) {
        settings.remote.path = "/nowhere".into();
    }
    settings
}

/// The words of the first failure, and that the state and the health say so.
async fn said(hub: &Box, name: &str) -> String {
    let state = hub.until(name, "fails", |s| !s.last_error.is_empty()).await;
    assert!(!state.connected && state.connects == 0 && state.away_since_ms == Some(NOW_MS));
    assert!(!hub.counters.snapshot(0, NOW_MS + 60_001).ok, "visible after a minute");
    state.last_error
}

/// After the third failure in a row the words end with what to check.
async fn advised(hub: &Box, name: &str, with: &str) {
    hub.until(name, with, |s| s.last_error.contains(&format!("; check {with}"))).await;
}

#[tokio::test]
async fn a_source_that_reaches_nobody_or_a_stranger_says_what_it_found() {
    let dir = tempfile::tempdir().unwrap();
    let http = b"HTTP/1.1 404 Not Found\r\nServer: a web server that is asked for nothing\r\n\
        Connection: close\r\nContent-Length: 0\r\n\r\n";
    let (ssh, web) = (
        Stranger::start(b"SSH-2.0-OpenSSH_9.6\r\n", true).await,
        Stranger::start(http, false).await,
    );
    let mut nameless = source("nameless", free_port());
    // A label has at most 63 bytes (RFC 1035): no resolver needs to be asked.
    nameless.remote.host = format!("{}.example", "x".repeat(64));
    let mut sources = [
        nameless,
        source("closed", free_port()),
        source("ssh", ssh.at),
        source("web", web.at),
        over(Scheme::Tls, "tls to ssh", ssh.at),
        over(Scheme::Ws, "path", web.at),
        over(Scheme::Ws, "ws to ssh", ssh.at),
    ];
    for settings in &mut sources {
        settings.connect_timeout = Duration::from_secs(1);
    }
    let hub = Box::start(&sources, dir.path());
    let cases = [
        ("nameless", "resolving: ", "the host name in the source's `broker`"),
        ("closed", "connecting: nothing listens there (connection refused)", "host and port"),
        ("ssh", "connecting: no answer in 1 s, to the dial or to the login", "host and port"),
        ("web", "login: what listens there answers, and not as an MQTT broker", "the source's"),
        ("tls to ssh", "tls: what listens there does not speak TLS", "that this port speaks TLS"),
        ("path", "websocket: HTTP error: 404 Not Found", "host, port and path"),
        ("ws to ssh", "websocket: WebSocket protocol error: ", "host, port and"),
    ];
    for (name, words, advice) in cases {
        let said = said(&hub, name).await;
        assert!(said.starts_with(words), "{name}: {said}");
        advised(&hub, name, advice).await;
    }
}

#[tokio::test]
async fn a_source_that_speaks_the_wrong_language_to_a_broker_or_has_the_wrong_password_is_told_so()
{
    let dir = tempfile::tempdir().unwrap();
    let Some(passwd) = program("mosquitto_passwd") else { return };
    let file = dir.path().join("passwords");
    let made = Command::new(passwd).arg("-b").arg("-c").arg(&file).args(["me", "s3cret"]).status();
    assert!(made.unwrap().success());
    let authority = Authority::new(dir.path());
    let pair = authority.sign("localhost");
    let tls = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port().port()));
    let more = format!(
        "allow_anonymous false\npassword_file {}\nlistener {} 127.0.0.1\ncertfile {}\nkeyfile {}",
        file.display(),
        tls.port(),
        pair.certificate.display(),
        pair.key.display()
    );
    let Some(broker) = Mosquitto::start(dir.path(), &more) else { return };
    let with = |name: &str, password: &str| {
        let mut settings = over(Scheme::Tls, name, tls);
        settings.remote.host = "localhost".into();
        settings.remote.tls = ClientTls { ca_file: Some(authority.file()), ..ClientTls::default() };
        settings.login = account("me", password);
        settings
    };
    let sources = [
        with("good", "s3cret"),
        with("wrong password", "wr0ng"),
        source("no login", broker.at),
        source("plain to tls", tls),
        over(Scheme::Tls, "tls to plain", broker.at),
        over(Scheme::Ws, "ws to plain", broker.at),
    ];
    let hub = Box::start(&sources, dir.path());
    let cases = [
        ("wrong password", "login: refused: not authorized (code 5)"),
        ("no login", "login: refused: not authorized (code 5)"),
        ("plain to tls", "login: the broker closed the connection instead of answering the login"),
        ("tls to plain", "tls: the connection was closed instead of a handshake"),
        ("ws to plain", "websocket: "),
    ];
    for (name, words) in cases {
        let said = said(&hub, name).await;
        assert!(said.starts_with(words), "{name}: {said}");
        assert!(!said.contains("wr0ng"));
        hub.until(name, "advice", |s| s.last_error.contains("; check ")).await;
    }
    hub.receiving("good").await;
    hub.end().await;
}
