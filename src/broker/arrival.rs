//! From an accepted socket to a stream that speaks MQTT: what lies between them, and whose it is.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::forwarded::{Caller, is_among};
use super::proxy::{self, Told};
use super::tls::{Shown, Tls};
use super::websocket::{Fault, WebSocket, handshake};
use crate::config::{Access, Listener, Network, Transport};

/// What connections are made of.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for S {}

/// How long whoever was told that there is no WebSocket for it may take to read that.
const LINGER: Duration = Duration::from_millis(500);

/// What every connection of a listener goes through.
pub(super) struct Site {
    pub(super) transport: Transport,
    pub(super) access: Access,
    tls: Option<Tls>,
    proxy_protocol: bool,
    trusted: Vec<Network>,
    origins: Vec<String>,
}

/// A connection that has arrived.
pub(super) struct Arrival {
    /// What MQTT is spoken on.
    pub(super) stream: Box<dyn Stream>,
    /// Whose it is.
    pub(super) caller: Caller,
    /// What its lower layers have to complain of, once it has ended.
    pub(super) fault: Fault,
}

impl Site {
    /// The site of a listener, with the certificate that it shows.
    ///
    /// # Errors
    /// TLS does not work here.
    pub(super) fn of(
        listener: &Listener,
        trusted: &[Network],
        shown: Option<Arc<Shown>>,
    ) -> Result<Self, rustls::Error> {
        let transport = listener.transport;
        // Browsers name HTTP/1.1 for a WebSocket, and nothing else.
        let names: &[&str] =
            if transport.is_websocket() { &["http/1.1", "mqtt"] } else { &["mqtt"] };
        Ok(Self {
            transport,
            access: listener.access,
            tls: shown.map(|shown| Tls::new(shown, names)).transpose()?,
            proxy_protocol: listener.proxy_protocol,
            trusted: trusted.to_vec(),
            origins: listener.origins.clone(),
        })
    }

    /// Whether this peer's word about whose connection it is will be heard.
    pub(super) fn hears(&self, peer: IpAddr) -> bool {
        (self.proxy_protocol || self.transport.is_websocket()) && is_among(peer, &self.trusted)
    }
}

/// Goes through all layers. Cancel it at the deadline.
///
/// # Errors
/// The name of the reason why it did not arrive.
pub(super) async fn arrive<S: Stream>(
    mut stream: S,
    peer: IpAddr,
    site: &Site,
) -> Result<Arrival, &'static str> {
    let mut caller = Caller::seen(peer);
    if site.proxy_protocol {
        if !is_among(peer, &site.trusted) {
            return Err("proxy_not_trusted");
        }
        caller = match proxy::read(&mut stream).await? {
            Told::Client(address) => caller.told(address),
            Told::Nobody => caller.untold(),
        };
    }
    match &site.tls {
        Some(tls) => unwrap_websocket(tls.accept(stream).await?, caller, site).await,
        None => unwrap_websocket(stream, caller, site).await,
    }
}

async fn unwrap_websocket<S: Stream>(
    mut stream: S,
    caller: Caller,
    site: &Site,
) -> Result<Arrival, &'static str> {
    let fault = Fault::default();
    if !site.transport.is_websocket() {
        return Ok(Arrival { stream: Box::new(stream), caller, fault });
    }
    match handshake::open(&mut stream).await {
        Ok((said, early)) => {
            let caller = caller.behind(&said, &site.trusted, &site.origins);
            let stream = Box::new(WebSocket::new(stream, early, Arc::clone(&fault)));
            Ok(Arrival { stream, caller, fault })
        }
        Err(reason) => {
            // Closing a socket that has unread bytes resets it, and the answer may be lost.
            let _ = tokio::time::timeout(LINGER, farewell(&mut stream)).await;
            Err(reason)
        }
    }
}

async fn farewell<S: Stream>(stream: &mut S) -> std::io::Result<()> {
    stream.shutdown().await?;
    let mut sink = [0; 512];
    while stream.read(&mut sink).await? > 0 {}
    Ok(())
}
