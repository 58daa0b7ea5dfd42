//! The proxy itself: takes connections of one command on a listener, and tunnels those that may go where they want to.
//!
//! It runs in a process of its own beside the shim, which stays single-threaded; a thread per connection, no more than
//! [`CONNECTIONS_LIMIT`] at a time.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Egress;
use super::address;
use super::allow::Destination;
use super::evidence::{Evidence, Outcome};
use super::request::{self, BadRequest, Request};
use super::resolve::{Nowhere, resolve};

/// Most connections at a time.
const CONNECTIONS_LIMIT: usize = 64;
/// How long a client may take to say where it wants to.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);
/// How long a name server may take.
const RESOLVE_PATIENCE: Duration = Duration::from_secs(10);
/// How long all addresses of a name may take together.
const CONNECT_PATIENCE: Duration = Duration::from_secs(20);
/// A tunnel through which nothing goes for this long is closed.
const QUIET_LIMIT: Duration = Duration::from_secs(600);
/// How long a side may leave unread the first words to it.
const WRITE_PATIENCE: Duration = Duration::from_secs(60);
/// Stack of a connection's thread: its buffers are on the heap.
const STACK_BYTES: usize = 256 << 10;
const BUFFER_BYTES: usize = 16 << 10;

/// Serves the listener for as long as the process lives.
pub(super) fn serve(listener: &TcpListener, rules: Egress, evidence: Evidence) -> ! {
    let shared = Arc::new((rules, evidence));
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(_) => {
                // Out of descriptors, or the client is gone already: those that are open end one day.
                std::thread::sleep(Duration::from_millis(20));
                continue;
            }
        };
        let Some(place) = Place::take(&open) else {
            answer(stream, 503, "too many connections at a time; close some");
            continue;
        };
        let shared = Arc::clone(&shared);
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
        let begun = thread.spawn(move || connection(stream, &shared.0, &shared.1, place));
        if begun.is_err() {
            // The stream went with the closure, and so did its place.
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// One of the places for connections, given back when dropped. Clones share it.
#[derive(Clone)]
struct Place(#[allow(dead_code, reason = "held, not read")] Arc<PlaceHeld>);

struct PlaceHeld(Arc<AtomicUsize>);

impl Place {
    fn take(open: &Arc<AtomicUsize>) -> Option<Self> {
        let taken = open.fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| {
            (now < CONNECTIONS_LIMIT).then_some(now + 1)
        });
        taken.is_ok().then(|| Self(Arc::new(PlaceHeld(Arc::clone(open)))))
    }
}

impl Drop for PlaceHeld {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn connection(mut client: TcpStream, rules: &Egress, evidence: &Evidence, place: Place) {
    let request = match request::read(&mut client, HEAD_PATIENCE) {
        Ok(request) => request,
        Err(bad) => return turn_away(client, bad, evidence),
    };
    let (host, port) = (request.host.as_str(), request.port);
    let denied = |reason, address: &str| evidence.note(Outcome::Denied, host, port, reason, address);
    let failed = |reason: &str| evidence.note(Outcome::Failed, host, port, reason, "");
    if address::is_literal(host) {
        denied("ip_literal", "");
        return answer(client, 403, "an address is never allowed, only names are");
    }
    let Ok(destination) = Destination::new(host, port) else {
        denied("bad_request", "");
        return answer(client, 400, "that is no name of a host");
    };
    if !rules.allow.permits(&destination) {
        denied("not_allowed", "");
        let text = format!("{destination} is not on the list of this session; see --allow-net");
        return answer(client, 403, &text);
    }
    let fixture = rules.fixture.as_ref();
    let addresses = match resolve(&destination, fixture, RESOLVE_PATIENCE, place.clone()) {
        Ok(addresses) => addresses,
        Err(Nowhere::Refused(refused)) => {
            denied("address_refused", &refused.address.to_string());
            return answer(client, 403, &format!("{destination} leads to {refused}"));
        }
        Err(Nowhere::Unresolved(why)) => {
            failed("unresolved");
            return answer(client, 502, &format!("{destination} cannot be found: {why}"));
        }
    };
    match connect(&addresses) {
        Ok((server, address)) => {
            evidence.note(Outcome::Allowed, host, port, "", &address.to_string());
            let _ = establish(client, server, &request);
        }
        Err(error) => {
            failed("unreachable");
            answer(client, 502, &format!("{destination} cannot be reached: {error}"));
        }
    }
    drop(place);
}

fn turn_away(client: TcpStream, bad: BadRequest, evidence: &Evidence) {
    match bad {
        BadRequest::NotConnect(target) => {
            evidence.note(Outcome::Denied, &target, 0, "not_connect", "");
            answer(client, 405, "only CONNECT is served: use https, or a tunnel");
        }
        BadRequest::Malformed => {
            evidence.note(Outcome::Denied, "", 0, "bad_request", "");
            answer(client, 400, "that is no request CONNECT name:port");
        }
        BadRequest::TooLong => {
            evidence.note(Outcome::Denied, "", 0, "bad_request", "");
            answer(client, 431, "the head of the request is too long");
        }
        BadRequest::Gone => {}
    }
}

/// Says why nothing comes of it, for a person who reads what their client prints.
fn answer(mut client: TcpStream, status: u16, text: &str) {
    let phrase = match status {
        400 => "Bad Request",
        403 => "Forbidden",
        405 => "Method Not Allowed",
        431 => "Request Header Fields Too Large",
        502 => "Bad Gateway",
        _ => "Service Unavailable",
    };
    let allow = if status == 405 { "Allow: CONNECT\r\n" } else { "" };
    let body = format!("longhaul: {text}\n");
    let head = format!(
        "HTTP/1.1 {status} {phrase}\r\n{allow}Content-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    );
    let _ = client.set_write_timeout(Some(Duration::from_secs(1)));
    let _ = client.write_all(head.as_bytes());
    let _ = client.shutdown(Shutdown::Write);
    // What the client sent meanwhile is read away, or closing would reset the connection under the answer.
    let _ = client.set_read_timeout(Some(Duration::from_millis(200)));
    let _ = client.read(&mut [0; 1 << 10]);
}

fn connect(addresses: &[SocketAddr]) -> io::Result<(TcpStream, SocketAddr)> {
    let deadline = Instant::now() + CONNECT_PATIENCE;
    let mut last = io::Error::from(io::ErrorKind::TimedOut);
    for address in addresses {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        match TcpStream::connect_timeout(address, left) {
            Ok(stream) => return Ok((stream, *address)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn establish(mut client: TcpStream, mut server: TcpStream, request: &Request) -> io::Result<()> {
    for stream in [&client, &server] {
        stream.set_write_timeout(Some(WRITE_PATIENCE))?;
        stream.set_read_timeout(None)?;
        stream.set_nodelay(true)?;
    }
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    server.write_all(&request.early)?;
    tunnel(&client, &server)
}

/// One way of a tunnel, with what was read and not written yet.
struct Way<'a> {
    from: &'a TcpStream,
    to: &'a TcpStream,
    buffer: Vec<u8>,
    /// What of the buffer is still to be written.
    held: std::ops::Range<usize>,
    is_open: bool,
}

impl<'a> Way<'a> {
    fn new(from: &'a TcpStream, to: &'a TcpStream) -> Self {
        Self {
            from,
            to,
            buffer: vec![0; BUFFER_BYTES],
            held: 0..0,
            is_open: true,
        }
    }

    /// What this way waits for: room on the far side while it holds something, and bytes on the near side otherwise.
    fn wait(&self) -> PollFd<'a> {
        if self.held.is_empty() {
            PollFd::new(self.from, PollFlags::IN)
        } else {
            PollFd::new(self.to, PollFlags::OUT)
        }
    }

    /// Reads or writes once.
    fn go(&mut self) -> io::Result<()> {
        let done = if self.held.is_empty() {
            self.from.read(&mut self.buffer).map(|n| self.held = 0..n)
        } else {
            let written = self.to.write(&self.buffer[self.held.clone()]);
            return match written.map(|n| self.held.start += n) {
                Err(error) if is_passing(&error) => Ok(()),
                done => done,
            };
        };
        match done {
            Err(error) if is_passing(&error) => Ok(()),
            Ok(()) if self.held.is_empty() => {
                self.is_open = false;
                // The other way may go on: half of a connection ends by itself.
                let _ = self.to.shutdown(Shutdown::Write);
                Ok(())
            }
            done => done,
        }
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock
    )
}

/// Carries bytes both ways until both sides have ended, one has broken, or nothing has moved for long. Neither way ever
/// waits for the other: a client that writes much before it reads would otherwise wait for ever.
fn tunnel(client: &TcpStream, server: &TcpStream) -> io::Result<()> {
    client.set_nonblocking(true)?;
    server.set_nonblocking(true)?;
    let quiet = Timespec {
        tv_sec: QUIET_LIMIT.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: 0,
    };
    let mut ways = vec![Way::new(client, server), Way::new(server, client)];
    while !ways.is_empty() {
        let mut fds: Vec<PollFd<'_>> = ways.iter().map(Way::wait).collect();
        match poll(&mut fds, Some(&quiet)) {
            Ok(0) => return Ok(()),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for (way, fd) in ways.iter_mut().zip(&fds) {
            if !fd.revents().is_empty() {
                way.go()?;
            }
        }
        ways.retain(|way| way.is_open);
    }
    Ok(())
}
