//! Reading requests: bodies, queries and headers, each refused by the name of what is wrong with it.

use actix_web::dev::Payload;
use actix_web::error::QueryPayloadError;
use actix_web::http::header::AUTHORIZATION;
use actix_web::{FromRequest, HttpRequest, web};
use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::edge::Edge;
use super::refusal::Refusal;
use crate::api::{Code, Problem, TokenText};

/// Where a token stands in a query: a browser's `EventSource` cannot send a header.
const TOKEN: &str = "token";

/// A JSON body. No body at all counts as `{}`.
pub(super) struct Body<T>(pub(super) T);

/// The body of a wish that needs no words.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// A word in favour of an act.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Approve {
    pub(super) evidence: String,
}

/// A word against an act.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Deny {
    pub(super) reason: String,
}

impl<T: DeserializeOwned + 'static> FromRequest for Body<T> {
    type Error = Refusal;
    type Future = LocalBoxFuture<'static, Result<Self, Refusal>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let edge = request
            .app_data::<web::Data<Edge>>()
            .expect("every route is given the edge");
        let limit = edge.settings.body_limit;
        let payload = payload.take();
        Box::pin(async move {
            let bytes = read_body(payload, limit).await?;
            parse(if bytes.is_empty() { b"{}" } else { &bytes }).map(Body)
        })
    }
}

/// The query of a request as `T`, whose fields are all optional.
pub(super) fn query<T: DeserializeOwned>(request: &HttpRequest) -> Result<T, Refusal> {
    // The token is not for the handlers, and must not come back in an error.
    let pairs = request.query_string().split('&').filter(|pair| !is_token(pair));
    let text = &*pairs.collect::<Vec<_>>().join("&");
    let whole = web::Query::<T>::from_query(text).map(web::Query::into_inner);
    whole.map_err(|error| {
        // The error does not say which parameter it means. As none of them needs another, each can be tried alone;
        // when all are well alone, one of them was given twice, and then the error does say so.
        let culprit = text
            .split('&')
            .find(|pair| web::Query::<T>::from_query(pair).is_err());
        let reason = match error {
            QueryPayloadError::Deserialize(reason) => reason.to_string(),
            other => other.to_string(),
        };
        Refusal::unreadable(format!(
            "the query cannot be read at {:?}: {reason}",
            culprit.unwrap_or(text)
        ))
    })
}

/// The parameters of a query, in order. What cannot be read is left to whoever reads the query as a whole.
pub(super) fn parameters(query: &str) -> impl Iterator<Item = (String, String)> {
    query.split('&').filter_map(|pair| {
        let pair = web::Query::<Vec<(String, String)>>::from_query(pair).ok()?;
        pair.into_inner().pop()
    })
}

fn is_token(pair: &str) -> bool {
    parameters(pair).any(|(name, _)| name == TOKEN)
}

/// The token that a request shows, in its header or its query.
///
/// # Errors
/// `unauthorized`: it shows several, or something else.
pub(super) fn shown_token(request: &HttpRequest) -> Result<Option<TokenText>, Refusal> {
    let mut shown = Vec::new();
    for value in request.headers().get_all(AUTHORIZATION) {
        let value = value.to_str().ok();
        let token = value.and_then(|value| value.split_once(' '));
        let Some((_, token)) = token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")) else {
            return Err(wrongly_shown(
                "the header Authorization is none that is understood here",
            ));
        };
        shown.push(TokenText::new(token.trim()));
    }
    let query = parameters(request.query_string()).filter(|(name, _)| name == TOKEN);
    shown.extend(query.map(|(_, token)| TokenText::new(token)));
    if shown.len() > 1 {
        return Err(wrongly_shown(
            "several tokens were shown; a request is held to one",
        ));
    }
    Ok(shown.pop())
}

fn wrongly_shown(detail: &str) -> Refusal {
    Problem::new(Code::Unauthorized, detail)
        .next("show one token", "Authorization: Bearer TOKEN, or ?token=TOKEN")
        .into()
}

/// A header as text, if it was sent.
pub(super) fn header<'a>(request: &'a HttpRequest, name: &str) -> Result<Option<&'a str>, Refusal> {
    let Some(value) = request.headers().get(name) else {
        return Ok(None);
    };
    match value.to_str() {
        Ok(text) if !text.is_empty() => Ok(Some(text)),
        _ => Err(Refusal::unreadable(format!(
            "the header {name} must be visible ASCII text, and not empty"
        ))),
    }
}

/// A body of bytes that are no JSON.
pub(super) async fn whole(payload: web::Payload, limit: usize) -> Result<Vec<u8>, Refusal> {
    read_body(payload.into_inner(), limit).await
}

async fn read_body(mut payload: Payload, limit: usize) -> Result<Vec<u8>, Refusal> {
    let mut body = Vec::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|error| Refusal::unreadable(format!("the body ended early: {error}")))?;
        if body.len() + chunk.len() > limit {
            return Err(Refusal::too_large(limit));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    // Serde would take a list as well, field by field; that would make the order of our fields a promise.
    if bytes.trim_ascii_start().first().is_some_and(|byte| *byte != b'{') {
        return Err(Refusal::unreadable(
            "the body cannot be read: it must be a JSON object",
        ));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        // The path of a fault in the object itself is a full stop; the reason then names the field.
        let place = if path == "." {
            String::new()
        } else {
            format!(" at {path}")
        };
        Refusal::unreadable(format!("the body cannot be read{place}: {}", error.inner()))
    })?;
    json.end()
        .map_err(|error| Refusal::unreadable(format!("the body holds more than one value: {error}")))?;
    Ok(value)
}
