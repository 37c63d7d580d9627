//! The child: a broker whose pipeline stores nothing.

use meshbox::broker::{self, Parts};
use meshbox::clock::Clock;
use meshbox::config::{Access, Broker, CertificateFiles, Listener, Transport};
use meshbox::counters::Counters;
use meshbox::message::Outcome;
use meshbox::message::queue::{Bounds, queue};
use std::path::Path;
use std::sync::Arc;

/// The argument that makes this program the server; the folder with the certificate follows it.
pub(crate) const FLAG: &str = "--serve";

/// As `meshbox run` has them.
const WORKERS: usize = 2;
const BOUNDS: Bounds = Bounds { messages: 50_000, bytes: 16 << 20 };

/// The certificate in a folder, which is made if it is not there.
pub(crate) fn certificate(dir: &Path) -> CertificateFiles {
    let files = CertificateFiles { certificate: dir.join("cert.pem"), key: dir.join("key.pem") };
    if !files.certificate.exists() {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        std::fs::write(&files.certificate, params.self_signed(&key).unwrap().pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
    }
    files
}

/// Serves until whoever started it closes its end: a line a listener, and `ready`.
pub(crate) fn serve(dir: &Path) {
    let files = certificate(dir);
    let (inlet, mut outlet) = queue(BOUNDS);
    // As the hub does it: what is behind the queue has a thread of its own.
    let pipeline = std::thread::spawn(move || {
        while let Some(message) = outlet.recv() {
            message.receipt.complete(Outcome::Stored);
        }
    });
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(WORKERS).enable_all().build().unwrap();
    let broker = runtime.block_on(async {
        let of = |transport: Transport| {
            let plain = Listener::tcp("127.0.0.1:0".parse().unwrap(), Access::Lan);
            let certificate = transport.is_encrypted().then(|| files.clone());
            Listener { transport, certificate, ..plain }
        };
        let listeners = [Transport::Tcp, Transport::Tls, Transport::Ws].map(of).into();
        let parts = Parts {
            inlet,
            clock: Clock::system(),
            counters: Arc::new(Counters::default()),
            state_file: None,
            clock_trusted: Arc::new(|| true),
            shutdown: tokio_util::sync::CancellationToken::new(),
        };
        let config = Broker { max_connections: 4_000, ..Broker::with(listeners) };
        broker::start(&config, parts).await.unwrap()
    });
    for at in broker.listening() {
        println!("listening {} {}", at.transport, at.address);
    }
    println!("ready");
    std::io::stdin().lines().count();
    drop(broker);
    runtime.shutdown_background();
    drop(pipeline);
}
