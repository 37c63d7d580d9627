//! The HTTP request that opens a WebSocket (RFC 6455, section 4), and what it says about its sender.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The largest request: browsers bring cookies of the whole host along.
const LARGEST: usize = 8 * 1024;

/// Headers that are looked at; browsers and proxies together send twenty.
const MOST_HEADERS: usize = 64;

/// What is added to a client's key (RFC 6455, 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Subprotocols that mean MQTT: the registered name, and those of older clients.
const SUBPROTOCOLS: [&str; 3] = ["mqtt", "mqttv3.1", "mqttv3.1.1"];

/// What a request says about who sent it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::broker) struct Said {
    /// Every `X-Forwarded-For`, in order, joined by commas.
    pub(in crate::broker) forwarded_for: Option<String>,
    /// Whether it has another header that only proxies write.
    pub(in crate::broker) forwarded_otherwise: bool,
    /// `Origin`: the page in whose name a browser asks.
    pub(in crate::broker) origin: Option<String>,
    /// `Host`: how the client calls us.
    pub(in crate::broker) host: Option<String>,
}

/// A request that is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Refused {
    /// The status line; `None`: it is no HTTP, and gets no answer.
    status: Option<&'static str>,
    /// Why, for the log.
    reason: &'static str,
    /// Why, for whoever asked.
    words: &'static str,
}

/// Reads the request and answers it. Returns what it says, and what came after it.
///
/// # Errors
/// The name of the reason; whoever asked has been told.
pub(in crate::broker) async fn open<S>(stream: &mut S) -> Result<(Said, Bytes), &'static str>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut received = BytesMut::with_capacity(1024);
    let outcome = loop {
        if stream.read_buf(&mut received).await.unwrap_or_default() == 0 {
            return Err(crate::broker::door::GONE);
        }
        match request(&received) {
            Ok(None) if received.len() < LARGEST => {}
            Ok(None) => break Err(TOO_LARGE),
            Ok(Some(request)) => break Ok(request),
            Err(refused) => break Err(refused),
        }
    };
    let (answer, outcome) = match outcome {
        Ok(request) => {
            let early = received.split_off(request.len).freeze();
            (request.answer, Ok((request.said, early)))
        }
        Err(refused) => (refused.answer(), Err(refused.reason)),
    };
    let written = stream.write_all(answer.as_bytes()).await;
    // What TLS still holds is part of it.
    let written = written.and(stream.flush().await);
    outcome.and_then(|opened| written.map(|()| opened).map_err(|_| crate::broker::door::GONE))
}

/// A request that is in order.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    /// Its length in bytes.
    len: usize,
    said: Said,
    answer: String,
}

const TOO_LARGE: Refused = Refused {
    status: Some("431 Request Header Fields Too Large"),
    reason: "websocket_request_too_large",
    words: "The request is too large.",
};

const MALFORMED: Refused = bad("websocket_request_malformed", "This is no HTTP/1.1 request.");

const fn bad(reason: &'static str, words: &'static str) -> Refused {
    Refused { status: Some("400 Bad Request"), reason, words }
}

const fn silently(reason: &'static str) -> Refused {
    Refused { status: None, reason, words: "" }
}

impl Refused {
    fn answer(&self) -> String {
        let Some(status) = self.status else { return String::new() };
        let body = format!(
            "{}\nThis is meshbox, an MQTT broker over WebSocket (subprotocol mqtt, any path): \
             point an MQTT client at it.\n",
            self.words
        );
        format!(
            "HTTP/1.1 {status}\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Connection: Upgrade, close\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n\
             {body}",
            body.len()
        )
    }
}

/// Judges what has been received; `None` while it is not whole.
fn request(received: &[u8]) -> Result<Option<Request>, Refused> {
    match received.first() {
        Some(b'A'..=b'Z') => {}
        Some(0x16) => return Err(silently("tls_on_plain_listener")),
        Some(0x10) => return Err(silently("mqtt_without_websocket")),
        _ => return Err(silently("not_http")),
    }
    if received.starts_with(b"PROXY ") {
        return Err(silently("proxy_header_not_expected"));
    }
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let len = match request.parse(received) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(TOO_LARGE),
        Err(_) => return Err(MALFORMED),
    };
    let answer = answer(&request)?;
    Ok(Some(Request { len, said: said(request.headers), answer }))
}

/// The answer that opens the WebSocket.
fn answer(request: &httparse::Request<'_, '_>) -> Result<String, Refused> {
    let wants = |name, word: &str| {
        values(request.headers, name)
            .any(|value| value.split(',').any(|token| token.trim().eq_ignore_ascii_case(word)))
    };
    if !wants("Upgrade", "websocket") || !wants("Connection", "upgrade") {
        return Err(Refused {
            status: Some("426 Upgrade Required"),
            reason: "http_without_upgrade",
            words: "There is no page here.",
        });
    }
    if request.method != Some("GET") || request.version != Some(1) {
        return Err(MALFORMED);
    }
    if !wants("Sec-WebSocket-Version", "13") {
        return Err(Refused {
            status: Some("426 Upgrade Required"),
            reason: "websocket_version_unknown",
            words: "Only version 13 of WebSocket is spoken here.",
        });
    }
    let key = values(request.headers, "Sec-WebSocket-Key").next().unwrap_or_default().trim();
    if STANDARD.decode(key).map_or(0, |nonce| nonce.len()) != 16 {
        return Err(bad("websocket_request_malformed", "Sec-WebSocket-Key is missing or wrong."));
    }
    let offered = values(request.headers, "Sec-WebSocket-Protocol");
    let mut offered = offered.flat_map(|value| value.split(',')).map(str::trim).peekable();
    let subprotocol = match offered.peek() {
        // Not in order (MQTT-6.0.0-3), and does no harm.
        None => String::new(),
        Some(_) => match offered.find(|name| SUBPROTOCOLS.contains(name)) {
            Some(name) => format!("Sec-WebSocket-Protocol: {name}\r\n"),
            None => {
                let words = "The subprotocol must be mqtt.";
                return Err(bad("websocket_subprotocol_unknown", words));
            }
        },
    };
    Ok(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n{subprotocol}\r\n",
        accept_key(key)
    ))
}

/// What shows that we understood the key.
fn accept_key(key: &str) -> String {
    // The standard wants SHA-1, for recognition and not for security.
    let mut digest = ring::digest::Context::new(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY);
    digest.update(key.as_bytes());
    digest.update(GUID);
    STANDARD.encode(digest.finish())
}

fn said(headers: &[httparse::Header<'_>]) -> Said {
    let one = |name| values(headers, name).next().map(|value| value.trim().to_owned());
    let forwarded_for: Vec<_> = values(headers, "X-Forwarded-For").collect();
    let others = ["Forwarded", "X-Real-IP", "CF-Connecting-IP", "X-Forwarded-Host", "Via"];
    Said {
        forwarded_for: (!forwarded_for.is_empty()).then(|| forwarded_for.join(",")),
        forwarded_otherwise: others.iter().any(|name| values(headers, name).next().is_some()),
        origin: one("Origin"),
        host: one("Host"),
    }
}

/// Every value of a header; what is not UTF-8 counts as something that nobody understands.
fn values<'a>(headers: &'a [httparse::Header<'_>], name: &'a str) -> impl Iterator<Item = &'a str> {
    let named = headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
    named.map(|header| std::str::from_utf8(header.value).unwrap_or("?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "GET /mqtt HTTP/1.1\r\nHost: pi.local:8083\r\nUpgrade: WebSocket\r\n\
         Connection: keep-alive, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";

    fn refused(text: &str) -> Refused {
        request(text.as_bytes()).unwrap_err()
    }

    #[test]
    fn the_standards_key_gets_the_standards_answer() {
        let request = request(GOOD.as_bytes()).unwrap().unwrap();
        let accept = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
        assert!(request.answer.contains(accept), "{}", request.answer);
        assert!(request.answer.contains("Sec-WebSocket-Protocol: mqtt\r\n"));
        assert!(!request.answer.contains("Extensions"));
        assert_eq!(request.said.host.as_deref(), Some("pi.local:8083"));
    }

    #[test]
    fn any_path_opens_one_and_a_client_without_subprotocol_gets_none() {
        for path in ["/", "/mqtt", "/ws", "/a/b?c=d", "*"] {
            let text = GOOD.replace("/mqtt", path);
            assert!(request(text.as_bytes()).unwrap().is_some(), "{path}");
        }
        let text = GOOD.replace("Sec-WebSocket-Protocol: mqtt\r\n", "");
        let answer = request(text.as_bytes()).unwrap().unwrap().answer;
        assert!(answer.starts_with("HTTP/1.1 101 ") && !answer.contains("Protocol:"));
        let text = GOOD.replace(": mqtt\r", ": chat, mqttv3.1\r");
        let answer = request(text.as_bytes()).unwrap().unwrap().answer;
        assert!(answer.contains("Sec-WebSocket-Protocol: mqttv3.1\r\n"));
    }

    #[test]
    fn every_cut_of_a_request_waits_for_the_rest() {
        for len in 1..GOOD.len() {
            assert_eq!(request(&GOOD.as_bytes()[..len]), Ok(None), "{len} bytes");
        }
        let longer = [GOOD.as_bytes(), b"\x82\x80\0\0\0\0"].concat();
        assert_eq!(request(&longer).unwrap().unwrap().len, GOOD.len());
    }

    #[test]
    fn what_opens_nothing_is_told_so_and_named() {
        let many = "X: y\r\n".repeat(65);
        let cases = [
            ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "426", "http_without_upgrade"),
            (&GOOD.replace(": 13", ": 8"), "426", "websocket_version_unknown"),
            (&GOOD.replace("GET", "POST"), "400", "websocket_request_malformed"),
            (&GOOD.replace("HTTP/1.1", "HTTP/1.0"), "400", "websocket_request_malformed"),
            (&GOOD.replace("dGhl", "!"), "400", "websocket_request_malformed"),
            (&GOOD.replace(": mqtt\r", ": chat\r"), "400", "websocket_subprotocol_unknown"),
            (&GOOD.replace("Host", &format!("{many}Host")), "431", "websocket_request_too_large"),
            ("GET\x01/ HTTP/1.1\r\n\r\n", "400", "websocket_request_malformed"),
        ];
        for (text, status, reason) in cases {
            let refused = refused(text);
            assert_eq!(refused.reason, reason, "{text}");
            let answer = refused.answer();
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.contains(&format!("Content-Length: {}", body.len())));
            assert!(body.contains("MQTT broker"));
        }
    }

    #[test]
    fn what_is_no_http_is_named_at_its_first_byte() {
        let cases = [
            ("\x16\x03\x01", "tls_on_plain_listener"),
            ("\x10\x0c\0\x04MQTT", "mqtt_without_websocket"),
            ("\r\n\r\n\0\r\nQUIT\n", "not_http"),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n", "proxy_header_not_expected"),
        ];
        for (text, reason) in cases {
            assert_eq!(refused(text), silently(reason));
        }
    }

    #[test]
    fn what_a_request_says_about_its_sender_is_gathered() {
        let more = "x-forwarded-for: 1.2.3.4\r\nX-Forwarded-For: 10.0.0.1, 10.0.0.2\r\n\
                    forwarded: for=1.2.3.4\r\nOrigin: https://a.example\r\nHost";
        let text = GOOD.replace("Host", more);
        let said = request(text.as_bytes()).unwrap().unwrap().said;
        assert_eq!(said.forwarded_for.as_deref(), Some("1.2.3.4,10.0.0.1, 10.0.0.2"));
        assert_eq!(said.origin.as_deref(), Some("https://a.example"));
        assert!(said.forwarded_otherwise);
    }
}
