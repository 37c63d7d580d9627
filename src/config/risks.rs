//! What is allowed and may not be what was meant: one note each about the broker's listeners.

use std::net::SocketAddr;

use super::error::Error;
use super::judge::Judge;
use super::listeners::{Access, Broker, Listener, Transport};
use super::tree::At;

/// Looks at the listeners that will run.
pub(super) fn judge(judge: &mut Judge<'_>, broker: &Broker) -> Result<(), Error> {
    let at = At::key("broker").then("listeners");
    for (index, listener) in broker.listeners.iter().enumerate() {
        let at = at.index(index);
        if listener.proxy_protocol && broker.trusted_proxies.is_empty() {
            let what = "needs to know from whom; name the proxy's address in trustedProxies";
            return Err(judge.error(&at.then("proxyProtocol"), what));
        }
        let notes = [access(listener), unknown(listener, broker), proxies(listener, broker)];
        let notes = notes.into_iter().flatten().map(|note| format!("{at}: {note}"));
        judge.notes.extend(notes);
    }
    let asks = |it: &Listener| it.transport.is_websocket() || it.proxy_protocol;
    if !broker.trusted_proxies.is_empty() && !broker.listeners.iter().any(asks) {
        let note =
            "trustedProxies: no listener asks a proxy; ws, wss and those with proxyProtocol do";
        judge.notes.push(note.into());
    }
    Ok(())
}

/// Who gets in, and who reads along.
fn access(listener: &Listener) -> Option<String> {
    let (bind, transport) = (listener.bind, listener.transport);
    if is_loopback(bind) {
        return None;
    }
    match listener.access {
        Access::Anyone if transport.is_encrypted() => {
            Some(format!("anyone who can reach {bind} may publish without a login"))
        }
        Access::Anyone => Some(format!(
            "anyone who can reach {bind} may publish without a login, and all of it travels unencrypted"
        )),
        Access::Accounts if !transport.is_encrypted() && !listener.proxy_protocol => Some(format!(
            "passwords travel to {bind} unencrypted; use {} where the way is not trusted",
            if transport == Transport::Ws { "wss" } else { "tls" }
        )),
        Access::Accounts | Access::Lan | Access::Local => None,
    }
}

/// A door that wants an account while there is none.
fn unknown(listener: &Listener, broker: &Broker) -> Option<String> {
    let shut = listener.access == Access::Accounts && !broker.has_accounts();
    shut.then(|| format!("there are no accounts, {} takes logins by token alone", listener.bind))
}

/// Whose address it sees.
fn proxies(listener: &Listener, broker: &Broker) -> Option<String> {
    let by_address = matches!(listener.access, Access::Lan | Access::Local);
    if !by_address || listener.proxy_protocol {
        return None;
    }
    if !listener.transport.is_websocket() {
        return (!broker.trusted_proxies.is_empty() && !is_loopback(listener.bind)).then(|| {
            format!(
                "a proxy before {} would let everybody in as one of the local network; let none \
                 point here, or set proxyProtocol = true or access = \"accounts\"",
                listener.bind
            )
        });
    }
    (broker.trusted_proxies.is_empty() && is_loopback(listener.bind)).then(|| {
        format!(
            "if a proxy on this machine points to {}, name its address in trustedProxies: without \
             that everybody whom it forwards properly counts as from outside, and whom it forwards \
             without X-Forwarded-For as this machine",
            listener.bind
        )
    })
}

fn is_loopback(bind: SocketAddr) -> bool {
    bind.ip().to_canonical().is_loopback()
}
