//! One request and its answer over a fresh connection; what is lost is told apart by whether it can have arrived.

use std::io;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use crate::api::TokenText;

/// An answer that arrived whole.
pub(super) struct Answered {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Lost {
    /// There was no connection: the request did not leave this process.
    NotSent(io::Error),
    /// The request may have arrived.
    Unknown(String),
}

/// Sends one request, and reads the whole answer.
pub(super) async fn exchange(
    stream: UnixStream,
    method: Method,
    path: &str,
    token: Option<&TokenText>,
    body: Bytes,
) -> Result<Answered, Lost> {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        // Over this socket there is only one host, but HTTP/1.1 wants it named.
        .header(HOST, "longhaul")
        .header(ACCEPT, "application/json")
        .header(CONTENT_TYPE, "application/json");
    if let Some(token) = token {
        let shown = HeaderValue::from_str(&format!("Bearer {}", token.reveal()));
        // The error does not hold the text.
        let mut shown =
            shown.map_err(|error| Lost::NotSent(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
        shown.set_sensitive(true);
        request = request.header(AUTHORIZATION, shown);
    }
    let request = request
        .body(Full::new(body))
        .map_err(|error| Lost::NotSent(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
    let unknown = |error: hyper::Error| Lost::Unknown(error.to_string());
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(unknown)?;
    // It ends when the sender is dropped or the answer is through; its errors reach the sender as well.
    tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(unknown)?;
    let status = answer.status();
    let body = answer.into_body().collect().await.map_err(unknown)?.to_bytes();
    Ok(Answered { status, body })
}
