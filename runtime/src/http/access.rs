//! Who may do what: the owner of the socket everything, whoever shows a token what that token allows.
//!
//! A token narrows, also where its bearer could do without: a request that shows one is held to it. Whether a process acts for
//! an agent is looked at before any token is, so that no token, copied from wherever, makes an agent a human (B-GATE-3).

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, HttpRequest, web};
use longhaul_actors::session::approval_session;
use longhaul_journal::sabotage;
use serde::Deserialize;

use super::edge::Edge;
use super::peer::Peer;
use super::refusal::Refusal;
use super::request::{Nothing, parameters, query, shown_token};
use crate::api::{
    Bearer, Code, Problem, Scope, TokenText, artifact_place, no_approval, no_artifact, no_session,
    session_id, stream_id,
};
use crate::lineage::ForHumans;

/// How a request says what it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    /// Nothing of one session alone.
    Anything,
    /// `{id}` is a session.
    Session,
    /// `{id}` is a request for approval.
    Approval,
    /// `{id}` is an artifact.
    Artifact,
    /// `?session=` names a session.
    Listing,
}

/// Who may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    /// Whoever reaches the socket.
    Anyone,
    /// Whoever shows a token with this scope, and whoever shows none.
    Holder(Scope),
    /// Whoever shows none.
    Owner,
    /// The same, if no agent.
    HumanOwner(ForHumans),
}

impl Who {
    /// What it is that only humans do here, if it is that.
    fn for_humans(self) -> Option<ForHumans> {
        match self {
            Self::HumanOwner(what) => Some(what),
            Self::Holder(Scope::Approve) => Some(ForHumans::Decisions),
            Self::Anyone | Self::Holder(_) | Self::Owner => None,
        }
    }
}

/// Every route. What is missing here is the owner's alone.
#[rustfmt::skip]
const ROUTES: &[(&str, &str, About, Who)] = {
    use About::{Anything, Approval, Artifact, Listing, Session};
    use ForHumans::{Money, Tokens};
    use Scope::{Approve, Read, Steer};
    use Who::{Anyone, Holder, HumanOwner, Owner};
    &[
        ("GET",    "/healthz",                         Anything, Anyone),
        ("GET",    "/readyz",                          Anything, Owner),
        ("GET",    "/v1/sessions",                     Anything, Owner),
        ("POST",   "/v1/sessions",                     Anything, Owner),
        ("GET",    "/v1/sessions/{id}",                Session,  Holder(Read)),
        ("GET",    "/v1/sessions/{id}/events",         Session,  Holder(Read)),
        ("POST",   "/v1/sessions/{id}/messages",       Session,  Holder(Steer)),
        ("POST",   "/v1/sessions/{id}/pause",          Session,  Holder(Steer)),
        ("POST",   "/v1/sessions/{id}/resume",         Session,  Holder(Steer)),
        ("POST",   "/v1/sessions/{id}/cancel",         Session,  Holder(Steer)),
        ("POST",   "/v1/sessions/{id}/archive",        Session,  Owner),
        ("POST",   "/v1/sessions/{id}/fork",           Session,  Owner),
        ("POST",   "/v1/sessions/{id}/checkpoints",    Session,  Owner),
        ("POST",   "/v1/sessions/{id}/repair",         Session,  Owner),
        ("POST",   "/v1/sessions/{id}/adopt",          Session,  Owner),
        ("POST",   "/v1/sessions/{id}/remove",         Session,  Owner),
        ("GET",    "/v1/sessions/{id}/tokens",         Session,  Owner),
        ("POST",   "/v1/sessions/{id}/tokens",         Session,  HumanOwner(Tokens)),
        ("DELETE", "/v1/sessions/{id}/tokens/{token}", Session,  Owner),
        ("GET",    "/v1/credits",                      Anything, Owner),
        ("POST",   "/v1/credits/top-ups",              Anything, HumanOwner(Money)),
        ("GET",    "/v1/credits/ledger",               Anything, Owner),
        ("GET",    "/v1/approvals",                    Listing,  Holder(Read)),
        ("GET",    "/v1/approvals/{id}",               Approval, Holder(Read)),
        ("POST",   "/v1/approvals/{id}/approve",       Approval, Holder(Approve)),
        ("POST",   "/v1/approvals/{id}/deny",          Approval, Holder(Approve)),
        ("GET",    "/v1/artifacts",                    Listing,  Holder(Read)),
        ("GET",    "/v1/artifacts/{id}",               Artifact, Holder(Read)),
        ("GET",    "/v1/artifacts/{id}/content",       Artifact, Holder(Read)),
        ("GET",    "/v1/suggested-work",               Anything, Owner),
        ("POST",   "/v1/suggested-work/{id}/task",     Anything, Owner),
        ("POST",   "/v1/suggested-work/{id}/archive",  Anything, Owner),
        ("GET",    "/v1/tasks",                        Anything, Owner),
        ("POST",   "/v1/tasks",                        Anything, Owner),
        ("GET",    "/v1/tasks/{id}",                   Anything, Owner),
        ("POST",   "/v1/tasks/{id}/claim",             Anything, Owner),
        ("POST",   "/v1/tasks/{id}/release",           Anything, Owner),
        ("POST",   "/v1/tasks/{id}/complete",          Anything, Owner),
        ("POST",   "/v1/tasks/{id}/cancel",            Anything, Owner),
        ("POST",   "/v1/import",                       Anything, Owner),
        ("POST",   "/v1/gc",                           Anything, Owner),
        // Any session may have named them.
        ("GET",    "/v1/blobs/{sha256}",               Anything, Owner),
    ]
};

/// What a request is about, and who may ask.
fn rule(method: &str, path: &str) -> (About, Who) {
    let row = ROUTES.iter().find(|row| (row.0, row.1) == (method, path));
    row.map_or((About::Anything, Who::Owner), |row| (row.2, row.3))
}

/// What was named of the things that a token may be about.
struct Named<'a> {
    /// The `{id}` of the path.
    id: &'a str,
    /// Each `?session=` of the query.
    sessions: &'a [String],
}

/// Whether whoever shows a token may ask this. Another session's things are answered as if they were not there, whether or not
/// they are; so an id must be whole, or its beginning would tell of others.
///
/// # Errors
/// `not_found`, `forbidden_scope`.
fn check(bearer: &Bearer, (about, who): (About, Who), named: &Named<'_>) -> Result<(), Problem> {
    let is_ours = |id: &str| {
        let session = stream_id(id).map(session_id);
        session.is_ok_and(|session| session == bearer.session || sabotage::is_on("reach-another-session"))
    };
    let id = named.id;
    match about {
        About::Anything => {}
        About::Session if is_ours(id) => {}
        About::Session => return Err(no_session(id)),
        About::Approval if approval_session(id).is_some_and(|of| is_ours(&session_id(of))) => {}
        About::Approval => return Err(no_approval(id)),
        About::Artifact if artifact_place(id).is_ok_and(|(of, _)| is_ours(&of)) => {}
        About::Artifact => return Err(no_artifact(id)),
        About::Listing => match named.sessions.iter().find(|id| !is_ours(id)) {
            Some(other) => return Err(no_session(other)),
            None if named.sessions.is_empty() => {
                let detail = format!(
                    "the token {} is for one session; name it with ?session=",
                    bearer.id
                );
                return Err(Problem::new(Code::ForbiddenScope, detail).next(
                    "name the session of the token",
                    format!("?session={}", bearer.session),
                ));
            }
            None => {}
        },
    }
    match who {
        Who::Anyone => Ok(()),
        Who::Holder(scope) if bearer.may(scope) => Ok(()),
        Who::Holder(scope) => {
            let detail = format!("the token {} does not hold the scope {}", bearer.id, scope.word());
            let human = if scope == Scope::Approve {
                " --human NAME"
            } else {
                ""
            };
            let mint = format!(
                "longhaul token create {} --scope {}{human}",
                bearer.session,
                scope.word()
            );
            Err(Problem::new(Code::ForbiddenScope, detail).next("mint one that does, as the owner", mint))
        }
        Who::Owner | Who::HumanOwner(_) => Err(owners_alone(bearer)),
    }
}

fn owners_alone(bearer: &Bearer) -> Problem {
    let detail = format!(
        "no token may do this, whatever its scopes; {} was shown",
        bearer.id
    );
    Problem::new(Code::ForbiddenScope, detail).next(
        "ask as the owner of the data directory, without a token",
        "longhaul --help",
    )
}

/// A token that a request shows, and what it allows.
#[derive(Clone, Debug)]
pub(super) struct Held {
    text: TokenText,
    pub(super) bearer: Bearer,
}

impl Held {
    /// The token that this request is held to, if it shows one.
    pub(super) fn by(request: &HttpRequest) -> Option<Self> {
        request.extensions().get::<Self>().cloned()
    }

    /// Whose wish this request is, where it shows a token: the human that it was minted for, or else the token itself.
    pub(super) fn name(request: &HttpRequest) -> Option<String> {
        let Bearer { id, human, .. } = Self::by(request)?.bearer;
        Some(human.unwrap_or(id))
    }

    /// Whether it still counts: what takes long may outlive it.
    ///
    /// # Errors
    /// `unauthorized`, `token_expired`, `agent_session_invalid`.
    pub(super) async fn still_counts(&self, edge: &Edge) -> Result<(), Refusal> {
        let text = self.text.clone();
        edge.ask(|control| async move { control.bearer(&text).await })
            .await
            .map(drop)
    }

    /// What no token may do, on a route where tokens may do something.
    pub(super) fn not_this(&self) -> Refusal {
        owners_alone(&self.bearer).into()
    }
}

/// Holds a request for `path` to the token that it shows, and keeps agents from what is for humans.
pub(super) async fn hold(
    path: &'static str,
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    match admitted(path, &mut request).await {
        Ok(held) => {
            if let Some(held) = held {
                request.extensions_mut().insert(held);
            }
            Ok(next.call(request).await?.map_into_boxed_body())
        }
        Err(refusal) => Ok(request.error_response(refusal)),
    }
}

/// Routes that take parameters beside the token. On every other one a parameter is a mistake, which must not pass for a wish.
const WITH_PARAMETERS: [&str; 7] = [
    "/v1/sessions",
    "/v1/sessions/{id}/events",
    "/v1/credits/ledger",
    "/v1/approvals",
    "/v1/artifacts",
    "/v1/tasks",
    "/healthz",
];

async fn admitted(path: &str, request: &mut ServiceRequest) -> Result<Option<Held>, Refusal> {
    let rule = rule(request.method().as_str(), path);
    if request.method() != Method::GET || !WITH_PARAMETERS.contains(&path) {
        query::<Nothing>(request.request())?;
    }
    let edge = request
        .app_data::<web::Data<Edge>>()
        .expect("every route is given the edge")
        .clone();
    let trusts = sabotage::is_on("let-a-token-vouch") && shown_token(request.request())?.is_some();
    if let Some(what) = rule.1.for_humans().filter(|_| !trusts) {
        Peer::of_request(request.request())
            .refuse_agents(what, &edge)
            .await?;
    }
    let Some(text) = shown_token(request.request())? else {
        return Ok(None);
    };
    let shown = text.clone();
    let bearer = edge
        .ask(|control| async move { control.bearer(&shown).await })
        .await?;
    let id = match rule.0 {
        About::Anything | About::Listing => String::new(),
        // Read as the handlers read it, so that both mean the same.
        About::Session | About::Approval | About::Artifact => {
            let named = request.extract::<web::Path<Id>>().await;
            named
                .map_err(|error| Refusal::unreadable(format!("the path cannot be read: {error}")))?
                .into_inner()
                .id
        }
    };
    let sessions: Vec<String> = parameters(request.query_string())
        .filter_map(|(name, value)| (name == "session").then_some(value))
        .collect();
    let named = Named {
        id: &id,
        sessions: &sessions,
    };
    check(&bearer, rule, &named)?;
    Ok(Some(Held { text, bearer }))
}

#[derive(Deserialize)]
struct Id {
    id: String,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    const OURS: &str = "s_0190aa00000070008000000000000001";
    const OTHERS: &str = "s_0190aa00000070008000000000000002";

    fn bearer(scopes: &[Scope]) -> Bearer {
        Bearer {
            id: "tk_1".into(),
            session: OURS.into(),
            scopes: scopes.to_vec(),
            human: None,
        }
    }

    /// The id of something of this session, as the route wants it.
    fn something(about: About, session: &str) -> String {
        let digits = &session[2..];
        match about {
            About::Anything | About::Listing => String::new(),
            About::Session => session.to_owned(),
            About::Approval => format!("ap_{digits}{}", "0".repeat(16)),
            About::Artifact => format!("a_{digits}_7"),
        }
    }

    fn asks(scopes: &[Scope], method: &str, path: &str, session: &str) -> Result<(), Code> {
        let rule = rule(method, path);
        let id = something(rule.0, session);
        let sessions = [session.to_owned()];
        let named = Named {
            id: &id,
            sessions: if rule.0 == About::Listing { &sessions } else { &[] },
        };
        check(&bearer(scopes), rule, &named).map_err(|problem| problem.code)
    }

    /// B-TOKEN-1, B-GATE-3: each route against each scope, alone and together.
    #[test]
    fn each_route_is_for_the_scope_that_the_table_says_and_for_no_other() {
        for &(method, path, about, who) in ROUTES {
            for scope in Scope::ALL {
                let wanted = match who {
                    Who::Anyone => Ok(()),
                    Who::Holder(holder) if holder == scope => Ok(()),
                    _ => Err(Code::ForbiddenScope),
                };
                assert_eq!(
                    asks(&[scope], method, path, OURS),
                    wanted,
                    "{method} {path} {scope:?}"
                );
            }
            let by_all = matches!(who, Who::Anyone | Who::Holder(_));
            assert_eq!(
                asks(&Scope::ALL, method, path, OURS).is_ok(),
                by_all,
                "{method} {path}"
            );
            // Another session is not there, whatever the token may do in its own.
            if about != About::Anything {
                assert_eq!(
                    asks(&Scope::ALL, method, path, OTHERS),
                    Err(Code::NotFound),
                    "{method} {path}"
                );
                assert_eq!(
                    asks(&[], method, path, OTHERS),
                    Err(Code::NotFound),
                    "{method} {path}"
                );
            }
        }
        let by_scope = |scope| {
            let rows = ROUTES.iter().filter(|row| row.3 == Who::Holder(scope));
            rows.count()
        };
        assert_eq!(Scope::ALL.map(by_scope), [7, 4, 2]);
    }

    #[test]
    fn a_route_that_is_in_no_table_is_the_owners_alone() {
        for (method, path) in [
            ("PUT", "/v1/sessions/{id}"),
            ("GET", "/v1/new"),
            ("HEAD", "/v1/sessions/{id}"),
        ] {
            assert_eq!(
                asks(&Scope::ALL, method, path, OURS),
                Err(Code::ForbiddenScope),
                "{method} {path}"
            );
        }
    }

    #[test]
    fn an_id_must_be_whole_and_a_list_must_name_the_session() {
        let all = bearer(&Scope::ALL);
        let named = |about, id: &str, sessions: &[&str]| {
            let sessions: Vec<String> = sessions.iter().map(ToString::to_string).collect();
            let named = Named {
                id,
                sessions: &sessions,
            };
            check(&all, (about, Who::Holder(Scope::Read)), &named).map_err(|problem| problem.code)
        };
        for id in [&OURS[..20], &OURS[2..], "s_", "", "nightly"] {
            assert_eq!(named(About::Session, id, &[]), Err(Code::NotFound), "{id}");
        }
        for id in [&something(About::Approval, OURS)[..30], "ap_", OURS] {
            assert_eq!(named(About::Approval, id, &[]), Err(Code::NotFound), "{id}");
        }
        for id in [format!("a_{}_7", &OURS[2..20]), format!("a_{}", &OURS[2..])] {
            assert_eq!(named(About::Artifact, &id, &[]), Err(Code::NotFound), "{id}");
        }
        assert_eq!(named(About::Listing, "", &[]), Err(Code::ForbiddenScope));
        assert_eq!(named(About::Listing, "", &[OURS, OTHERS]), Err(Code::NotFound));
        assert_eq!(named(About::Listing, "", &[OURS]), Ok(()));
    }

    /// A route that is added and not thought of here is the owner's alone; this test makes one think.
    #[test]
    fn every_route_is_in_the_table_and_in_the_document() {
        let routes = include_str!("routes.rs");
        let served: BTreeSet<&str> = routes
            .split("at(\"")
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
            .collect();
        let judged: BTreeSet<&str> = ROUTES.iter().map(|row| row.1).collect();
        assert_eq!(served, judged);
        let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/http-api.md");
        let document = std::fs::read_to_string(document).unwrap();
        for (method, path, ..) in ROUTES {
            assert!(
                document.contains(&format!("`{method} {path}`")),
                "{method} {path} is not in docs/http-api.md"
            );
        }
    }
}
