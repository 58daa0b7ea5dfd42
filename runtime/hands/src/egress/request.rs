//! The one request a proxy serves: `CONNECT name:port`. Read with a parser that others have tried, within bounds.

use std::io::Read as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Longest head of a request, bytes.
const HEAD_LIMIT: usize = 8 << 10;
/// Most headers of a request.
const HEADERS_LIMIT: usize = 64;

/// A request whose head was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// The host as it was asked for, not checked.
    pub(super) host: String,
    /// The port.
    pub(super) port: u16,
    /// What the client sent behind the head already: the first bytes for the other side.
    pub(super) early: Vec<u8>,
}

/// A request that is not served.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BadRequest {
    /// Another method; with what was asked for.
    NotConnect(String),
    /// No request of HTTP/1, or none with a host and a port.
    Malformed,
    /// The head is too long.
    TooLong,
    /// The client went away or took too long.
    Gone,
}

/// Reads the head of a request from a client that sends it within `patience`, all in all.
pub(super) fn read(stream: &mut TcpStream, patience: Duration) -> Result<Request, BadRequest> {
    let deadline = Instant::now() + patience;
    let mut head = Vec::with_capacity(1 << 10);
    let mut chunk = [0; 1 << 10];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // A patience of zero would mean none at all to the socket.
        if left.is_zero() || stream.set_read_timeout(Some(left)).is_err() {
            return Err(BadRequest::Gone);
        }
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return Err(BadRequest::Gone),
            Ok(n) => head.extend_from_slice(&chunk[..n]),
        }
        if let Some(request) = parse(&head)? {
            return Ok(request);
        }
        if head.len() >= HEAD_LIMIT {
            return Err(BadRequest::TooLong);
        }
    }
}

/// The request at the beginning of `bytes`, or none while its head is not whole.
fn parse(bytes: &[u8]) -> Result<Option<Request>, BadRequest> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_LIMIT];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(httparse::Status::Partial) => Ok(None),
        Err(httparse::Error::TooManyHeaders) => Err(BadRequest::TooLong),
        Err(_) => Err(BadRequest::Malformed),
        Ok(httparse::Status::Complete(length)) => {
            let target = request.path.unwrap_or_default();
            if request.method != Some("CONNECT") {
                return Err(BadRequest::NotConnect(target.to_owned()));
            }
            let (host, port) = target.rsplit_once(':').ok_or(BadRequest::Malformed)?;
            let digits = port.bytes().all(|b| b.is_ascii_digit());
            let port = port.parse().ok().filter(|port| *port != 0 && digits);
            let port = port.ok_or(BadRequest::Malformed)?;
            if host.is_empty() || host.contains(['@', '/']) {
                return Err(BadRequest::Malformed);
            }
            Ok(Some(Request {
                host: host.to_owned(),
                port,
                early: bytes[length..].to_vec(),
            }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connect_names_host_and_port_and_keeps_what_came_early() {
        let request = parse(b"CONNECT a.test:443 HTTP/1.1\r\nHost: b.test:1\r\n\r\n\x16\x03")
            .unwrap()
            .unwrap();
        assert_eq!((request.host.as_str(), request.port), ("a.test", 443));
        assert_eq!(request.early, b"\x16\x03");
        let literal = parse(b"CONNECT [::1]:80 HTTP/1.1\r\n\r\n").unwrap().unwrap();
        assert_eq!((literal.host.as_str(), literal.port), ("[::1]", 80));
    }

    #[test]
    fn a_head_that_is_not_whole_is_waited_for() {
        let whole = b"CONNECT a.test:443 HTTP/1.1\r\nHost: a\r\n\r\n";
        for cut in 0..whole.len() {
            assert_eq!(parse(&whole[..cut]), Ok(None), "cut at {cut}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        let refused = |bytes: &[u8]| parse(bytes).expect_err("must be refused");
        let get = refused(b"GET http://a.test/x HTTP/1.1\r\n\r\n");
        assert_eq!(get, BadRequest::NotConnect("http://a.test/x".into()));
        for bytes in [
            &b"CONNECT a.test HTTP/1.1\r\n\r\n"[..],
            b"CONNECT a.test: HTTP/1.1\r\n\r\n",
            b"CONNECT a.test:0 HTTP/1.1\r\n\r\n",
            b"CONNECT a.test:+443 HTTP/1.1\r\n\r\n",
            b"CONNECT a.test:65536 HTTP/1.1\r\n\r\n",
            b"CONNECT :443 HTTP/1.1\r\n\r\n",
            b"CONNECT u@a.test:443 HTTP/1.1\r\n\r\n",
            b"CONNECT a.test:443 HTTP/3.0\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01",
            b"CONNECT a.test:443 HTTP/1.1\r\nHost a\r\n\r\n",
        ] {
            assert_eq!(
                refused(bytes),
                BadRequest::Malformed,
                "{:?}",
                String::from_utf8_lossy(bytes)
            );
        }
    }
}
