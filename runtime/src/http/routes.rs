//! The routes: which path is which call of the router.

use actix_web::body::BoxBody;
use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::http::header::{ACCEPT, CACHE_CONTROL, ETAG, HeaderName, LOCATION};
use actix_web::middleware::from_fn;
use actix_web::{Error, HttpRequest, HttpResponse, Resource, Responder, web};
use longhaul_actors::session::ApprovalDecision;

use super::access::{Held, hold};
use super::edge::Edge;
use super::peer::Peer;
use super::refusal::Refusal;
use super::request::{Approve, Body, Deny, Nothing, header, query, whole};
use super::stream;
use crate::api::{
    ApprovalsQuery, ArtifactsQuery, Cancel, ClaimTask, Code, Collect, CompleteTask, CreateTask, Decide,
    EventsQuery, Fork, LedgerQuery, ListQuery, Mint, OpenTask, Pause, Problem, Remove, Resume, Send, Start,
    Started, TaskChange, TasksQuery, TopUp, WhyTask,
};
use crate::lineage::ForHumans;

type Answer = Result<HttpResponse, Refusal>;

/// Goes with an answer that holds a token: whoever keeps answers shall not keep this one.
const NOT_KEPT: (HeaderName, &str) = (CACHE_CONTROL, "no-store");

/// Every route, and an answer for what is none.
pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .app_data(web::PathConfig::default().error_handler(|error, _| {
            Refusal::unreadable(format!("the path cannot be read: {error}")).into()
        }))
        .service(at("/healthz", "GET").route(web::get().to(healthy)))
        .service(at("/readyz", "GET").route(web::get().to(ready)))
        .service(
            at("/v1/sessions", "GET, POST")
                .route(web::get().to(list))
                .route(web::post().to(start)),
        )
        .service(at("/v1/sessions/{id}", "GET").route(web::get().to(show)))
        .service(at("/v1/sessions/{id}/events", "GET").route(web::get().to(events)))
        .service(at("/v1/sessions/{id}/messages", "POST").route(web::post().to(send)))
        .service(at("/v1/sessions/{id}/pause", "POST").route(web::post().to(pause)))
        .service(at("/v1/sessions/{id}/resume", "POST").route(web::post().to(resume)))
        .service(at("/v1/sessions/{id}/cancel", "POST").route(web::post().to(cancel)))
        .service(at("/v1/sessions/{id}/archive", "POST").route(web::post().to(archive)))
        .service(at("/v1/sessions/{id}/fork", "POST").route(web::post().to(fork)))
        .service(at("/v1/sessions/{id}/checkpoints", "POST").route(web::post().to(checkpoint)))
        .service(at("/v1/sessions/{id}/repair", "POST").route(web::post().to(repair)))
        .service(at("/v1/sessions/{id}/adopt", "POST").route(web::post().to(adopt)))
        .service(
            at("/v1/sessions/{id}/tokens", "GET, POST")
                .route(web::get().to(tokens))
                .route(web::post().to(mint)),
        )
        .service(at("/v1/sessions/{id}/tokens/{token}", "DELETE").route(web::delete().to(revoke)))
        .service(at("/v1/credits", "GET").route(web::get().to(account)))
        .service(at("/v1/credits/top-ups", "POST").route(web::post().to(top_up)))
        .service(at("/v1/credits/ledger", "GET").route(web::get().to(ledger)))
        .service(at("/v1/approvals", "GET").route(web::get().to(approvals)))
        .service(at("/v1/approvals/{id}", "GET").route(web::get().to(approval)))
        .service(at("/v1/approvals/{id}/approve", "POST").route(web::post().to(approve)))
        .service(at("/v1/approvals/{id}/deny", "POST").route(web::post().to(deny)))
        .service(at("/v1/artifacts", "GET").route(web::get().to(artifacts)))
        .service(at("/v1/artifacts/{id}", "GET").route(web::get().to(artifact)))
        .service(at("/v1/artifacts/{id}/content", "GET").route(web::get().to(artifact_content)))
        .service(at("/v1/suggested-work", "GET").route(web::get().to(suggested_work)))
        .service(at("/v1/suggested-work/{id}/task", "POST").route(web::post().to(open_task)))
        .service(at("/v1/suggested-work/{id}/archive", "POST").route(web::post().to(archive_task)))
        .service(
            at("/v1/tasks", "GET, POST")
                .route(web::get().to(tasks))
                .route(web::post().to(create_task)),
        )
        .service(at("/v1/tasks/{id}", "GET").route(web::get().to(task)))
        .service(at("/v1/tasks/{id}/claim", "POST").route(web::post().to(claim_task)))
        .service(at("/v1/tasks/{id}/release", "POST").route(web::post().to(release_task)))
        .service(at("/v1/tasks/{id}/complete", "POST").route(web::post().to(complete_task)))
        .service(at("/v1/tasks/{id}/cancel", "POST").route(web::post().to(cancel_task)))
        .service(at("/v1/sessions/{id}/remove", "POST").route(web::post().to(remove)))
        .service(at("/v1/import", "POST").route(web::post().to(import)))
        .service(at("/v1/gc", "POST").route(web::post().to(collect)))
        .service(at("/v1/blobs/{sha256}", "GET").route(web::get().to(blob)))
        .default_service(web::to(no_such_route));
}

/// A path that holds whoever asks to the token that they show, and refuses every other method by naming those it has.
fn at(
    path: &'static str,
    methods: &'static str,
) -> Resource<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<BoxBody>,
        Error = Error,
        InitError = (),
    >,
> {
    web::resource(path)
        .default_service(web::to(move |request: HttpRequest| async move {
            Err::<HttpResponse, _>(Refusal::wrong_method(request.method(), request.path(), methods))
        }))
        .wrap(from_fn(move |request, next| hold(path, request, next)))
}

async fn no_such_route(request: HttpRequest) -> Answer {
    Err(Refusal::no_such_route(request.path()))
}

/// The process is alive.
async fn healthy() -> impl Responder {
    web::Json(serde_json::json!({ "ok": true }))
}

/// The process takes requests, and its journal can be read and written.
async fn ready(edge: web::Data<Edge>) -> Answer {
    if edge.is_closing() {
        return Err(Problem::new(Code::NotServing, "the server is being stopped").into());
    }
    edge.ask(|control| async move { control.writable().await })
        .await?;
    let one = ListQuery {
        limit: Some(1),
        ..ListQuery::default()
    };
    edge.ask(|control| async move { control.list(one).await }).await?;
    let quarantined = edge
        .ask(|control| async move { control.quarantined().await })
        .await?;
    // One damaged session does not make the others wait, so it is named and no more.
    Ok(HttpResponse::Ok().json(if quarantined.is_empty() {
        serde_json::json!({ "ok": true })
    } else {
        serde_json::json!({ "ok": true, "quarantined": quarantined })
    }))
}

async fn start(edge: web::Data<Edge>, request: HttpRequest, Body(mut wish): Body<Start>) -> Answer {
    if let Some(key) = header(&request, "idempotency-key")? {
        wish.idempotency_key = Some(key.to_owned());
    }
    if wish.token {
        // As where a token is minted: no agent gets one.
        Peer::of_request(&request)
            .refuse_agents(ForHumans::Tokens, &edge)
            .await?;
    }
    let started = edge
        .wish(|control| async move { control.start(wish).await })
        .await?;
    Ok(begun(started))
}

/// The answer about a session that was begun, or found again.
fn begun(started: Started) -> HttpResponse {
    let mut answer = if started.repeated {
        HttpResponse::Ok()
    } else {
        HttpResponse::Created()
    };
    answer.insert_header((LOCATION, format!("/v1/sessions/{}", started.id)));
    if started.token.is_some() {
        answer.insert_header(NOT_KEPT);
    }
    answer.json(started)
}

async fn list(edge: web::Data<Edge>, request: HttpRequest) -> Answer {
    let wanted: ListQuery = query(&request)?;
    let page = edge
        .ask(|control| async move { control.list(wanted).await })
        .await?;
    Ok(HttpResponse::Ok().json(page))
}

async fn show(edge: web::Data<Edge>, id: web::Path<String>) -> Answer {
    let view = edge.ask(|control| async move { control.show(&id).await }).await?;
    Ok(HttpResponse::Ok().json(view))
}

async fn events(edge: web::Data<Edge>, request: HttpRequest, id: web::Path<String>) -> Answer {
    let wanted: EventsQuery = query(&request)?;
    let held = Held::by(&request);
    let id = id.into_inner();
    if wants_stream(&request) {
        let seen = header(&request, "last-event-id")?;
        return stream::answer(edge.into_inner(), id, wanted, seen, held).await;
    }
    let page = match stream::page_or_closing(&edge, &id, wanted.clone()).await {
        Some(page) => page?,
        // Whoever waits for a record while the server stops is told that there is none yet.
        None => {
            stream::page(
                &edge,
                &id,
                EventsQuery {
                    wait_ms: 0,
                    ..wanted.clone()
                },
            )
            .await?
        }
    };
    // It may have run out, or have been revoked, while there was nothing to tell.
    if let Some(held) = held.filter(|_| wanted.wait_ms > 0) {
        held.still_counts(&edge).await?;
    }
    Ok(HttpResponse::Ok().json(page))
}

/// Whether the client takes a stream of events; a page is what everybody else gets.
fn wants_stream(request: &HttpRequest) -> bool {
    let accepted = request
        .headers()
        .get_all(ACCEPT)
        .filter_map(|value| value.to_str().ok());
    let mut kinds = accepted
        .flat_map(|value| value.split(','))
        .map(|kind| kind.split(';').next().unwrap_or(kind));
    kinds.any(|kind| kind.trim().eq_ignore_ascii_case("text/event-stream"))
}

async fn send(
    edge: web::Data<Edge>,
    request: HttpRequest,
    id: web::Path<String>,
    Body(mut message): Body<Send>,
) -> Answer {
    if let Some(key) = header(&request, "idempotency-key")? {
        message.idempotency_key = Some(key.to_owned());
    }
    message.by = Held::name(&request);
    let accepted = edge
        .wish(|control| async move { control.send(&id, message).await })
        .await?;
    Ok(HttpResponse::Ok().json(accepted))
}

async fn pause(
    edge: web::Data<Edge>,
    request: HttpRequest,
    id: web::Path<String>,
    Body(mut wish): Body<Pause>,
) -> Answer {
    wish.by = Held::name(&request);
    let accepted = edge
        .wish(|control| async move { control.pause(&id, wish).await })
        .await?;
    Ok(HttpResponse::Ok().json(accepted))
}

async fn resume(
    edge: web::Data<Edge>,
    request: HttpRequest,
    id: web::Path<String>,
    Body(mut wish): Body<Resume>,
) -> Answer {
    wish.by = Held::name(&request);
    // To let a session go on is to steer it; to let it cost more is to spend what is the owner's, and no agent's to allow.
    if wish.budget.is_some() {
        Peer::of_request(&request)
            .refuse_agents(ForHumans::Budgets, &edge)
            .await?;
        if let Some(held) = Held::by(&request) {
            return Err(held.not_this());
        }
    }
    let accepted = edge
        .wish(|control| async move { control.resume(&id, wish).await })
        .await?;
    Ok(HttpResponse::Ok().json(accepted))
}

async fn cancel(
    edge: web::Data<Edge>,
    request: HttpRequest,
    id: web::Path<String>,
    Body(mut wish): Body<Cancel>,
) -> Answer {
    wish.by = Held::name(&request);
    let accepted = edge
        .wish(|control| async move { control.cancel(&id, wish).await })
        .await?;
    Ok(HttpResponse::Ok().json(accepted))
}

async fn archive(edge: web::Data<Edge>, id: web::Path<String>, _: Body<Nothing>) -> Answer {
    let accepted = edge
        .wish(|control| async move { control.archive(&id).await })
        .await?;
    Ok(HttpResponse::Ok().json(accepted))
}

async fn fork(
    edge: web::Data<Edge>,
    request: HttpRequest,
    id: web::Path<String>,
    Body(mut wish): Body<Fork>,
) -> Answer {
    if let Some(key) = header(&request, "idempotency-key")? {
        wish.idempotency_key = Some(key.to_owned());
    }
    let started = edge
        .wish(|control| async move { control.fork(&id, wish).await })
        .await?;
    Ok(begun(started))
}

async fn checkpoint(edge: web::Data<Edge>, id: web::Path<String>, _: Body<Nothing>) -> Answer {
    let accepted = edge
        .wish(|control| async move { control.checkpoint(&id).await })
        .await?;
    Ok(HttpResponse::Ok().json(accepted))
}

async fn repair(edge: web::Data<Edge>, id: web::Path<String>, _: Body<Nothing>) -> Answer {
    let accepted = edge
        .wish(|control| async move { control.repair(&id).await })
        .await?;
    Ok(HttpResponse::Ok().json(accepted))
}

async fn adopt(edge: web::Data<Edge>, id: web::Path<String>, _: Body<Nothing>) -> Answer {
    let accepted = edge
        .wish(|control| async move { control.adopt(&id).await })
        .await?;
    Ok(HttpResponse::Ok().json(accepted))
}

async fn account(edge: web::Data<Edge>) -> Answer {
    let account = edge.ask(|control| async move { control.account().await }).await?;
    Ok(HttpResponse::Ok().json(account))
}

async fn top_up(edge: web::Data<Edge>, Body(wish): Body<TopUp>) -> Answer {
    let granted = edge
        .wish(|control| async move { control.top_up(wish).await })
        .await?;
    Ok(if granted.repeated {
        HttpResponse::Ok().json(granted)
    } else {
        HttpResponse::Created().json(granted)
    })
}

async fn ledger(edge: web::Data<Edge>, request: HttpRequest) -> Answer {
    let wanted: LedgerQuery = query(&request)?;
    let page = edge
        .ask(|control| async move { control.ledger(wanted).await })
        .await?;
    Ok(HttpResponse::Ok().json(page))
}

async fn approvals(edge: web::Data<Edge>, request: HttpRequest) -> Answer {
    let wanted: ApprovalsQuery = query(&request)?;
    let page = edge
        .ask(|control| async move { control.approvals(wanted).await })
        .await?;
    Ok(HttpResponse::Ok().json(page))
}

async fn approval(edge: web::Data<Edge>, id: web::Path<String>) -> Answer {
    let view = edge
        .ask(|control| async move { control.approval(&id).await })
        .await?;
    Ok(HttpResponse::Ok().json(view))
}

async fn approve(
    edge: web::Data<Edge>,
    request: HttpRequest,
    id: web::Path<String>,
    Body(wish): Body<Approve>,
) -> Answer {
    decide(edge, &request, id, ApprovalDecision::Approve, wish.evidence).await
}

async fn deny(
    edge: web::Data<Edge>,
    request: HttpRequest,
    id: web::Path<String>,
    Body(wish): Body<Deny>,
) -> Answer {
    decide(edge, &request, id, ApprovalDecision::Deny, wish.reason).await
}

/// That no agent asks was looked at before, as for every route that is for humans.
async fn decide(
    edge: web::Data<Edge>,
    request: &HttpRequest,
    id: web::Path<String>,
    decision: ApprovalDecision,
    evidence: String,
) -> Answer {
    let decided = Decide {
        decision,
        evidence,
        by: Held::name(request),
    };
    let accepted = edge
        .wish(|control| async move { control.decide(&id, decided).await })
        .await?;
    Ok(HttpResponse::Ok().json(accepted))
}

async fn mint(edge: web::Data<Edge>, id: web::Path<String>, Body(wish): Body<Mint>) -> Answer {
    let minted = edge
        .wish(|control| async move { control.mint(&id, wish).await })
        .await?;
    Ok(HttpResponse::Created().insert_header(NOT_KEPT).json(minted))
}

async fn tokens(edge: web::Data<Edge>, id: web::Path<String>) -> Answer {
    let page = edge
        .ask(|control| async move { control.tokens(&id).await })
        .await?;
    Ok(HttpResponse::Ok().json(page))
}

async fn revoke(edge: web::Data<Edge>, ids: web::Path<(String, String)>) -> Answer {
    let (id, token) = ids.into_inner();
    let revoked = edge
        .wish(|control| async move { control.revoke(&id, &token).await })
        .await?;
    Ok(HttpResponse::Ok().json(revoked))
}

async fn artifacts(edge: web::Data<Edge>, request: HttpRequest) -> Answer {
    let wanted: ArtifactsQuery = query(&request)?;
    let page = edge
        .ask(|control| async move { control.artifacts(wanted).await })
        .await?;
    Ok(HttpResponse::Ok().json(page))
}

async fn artifact(edge: web::Data<Edge>, id: web::Path<String>) -> Answer {
    let view = edge
        .ask(|control| async move { control.artifact(&id).await })
        .await?;
    Ok(HttpResponse::Ok().json(view))
}

async fn artifact_content(edge: web::Data<Edge>, id: web::Path<String>) -> Answer {
    let (sha256, bytes) = edge
        .ask(|control| async move {
            let artifact = control.artifact(&id).await?;
            let bytes = control.blob(&artifact.sha256).await?;
            Ok((artifact.sha256, bytes))
        })
        .await?;
    Ok(body(&sha256, bytes))
}

async fn suggested_work(edge: web::Data<Edge>) -> Answer {
    let page = edge
        .ask(|control| async move { control.tasks(TasksQuery::suggested()).await })
        .await?;
    Ok(HttpResponse::Ok().json(page))
}

async fn tasks(edge: web::Data<Edge>, request: HttpRequest) -> Answer {
    let wanted: TasksQuery = query(&request)?;
    let page = edge
        .ask(|control| async move { control.tasks(wanted).await })
        .await?;
    Ok(HttpResponse::Ok().json(page))
}

async fn task(edge: web::Data<Edge>, id: web::Path<String>) -> Answer {
    let view = edge.ask(|control| async move { control.task(&id).await }).await?;
    Ok(HttpResponse::Ok().json(view))
}

async fn create_task(
    edge: web::Data<Edge>,
    request: HttpRequest,
    Body(mut wish): Body<CreateTask>,
) -> Answer {
    if let Some(key) = header(&request, "idempotency-key")? {
        wish.key.get_or_insert_with(|| key.to_owned());
    }
    let created = edge
        .wish(|control| async move { control.create_task(wish).await })
        .await?;
    let mut answer = if created.repeated {
        HttpResponse::Ok()
    } else {
        HttpResponse::Created()
    };
    answer.insert_header((LOCATION, format!("/v1/tasks/{}", created.task.id)));
    Ok(answer.json(created))
}

async fn open_task(edge: web::Data<Edge>, id: web::Path<String>, Body(wish): Body<OpenTask>) -> Answer {
    change_task(edge, id, TaskChange::Open(wish)).await
}

async fn archive_task(edge: web::Data<Edge>, id: web::Path<String>, Body(wish): Body<WhyTask>) -> Answer {
    change_task(edge, id, TaskChange::Archive(wish)).await
}

async fn claim_task(edge: web::Data<Edge>, id: web::Path<String>, Body(wish): Body<ClaimTask>) -> Answer {
    change_task(edge, id, TaskChange::Claim(wish)).await
}

async fn release_task(edge: web::Data<Edge>, id: web::Path<String>, _: Body<Nothing>) -> Answer {
    change_task(edge, id, TaskChange::Release).await
}

async fn complete_task(
    edge: web::Data<Edge>,
    id: web::Path<String>,
    Body(wish): Body<CompleteTask>,
) -> Answer {
    change_task(edge, id, TaskChange::Complete(wish)).await
}

async fn cancel_task(edge: web::Data<Edge>, id: web::Path<String>, Body(wish): Body<WhyTask>) -> Answer {
    change_task(edge, id, TaskChange::Cancel(wish)).await
}

async fn change_task(edge: web::Data<Edge>, id: web::Path<String>, change: TaskChange) -> Answer {
    let changed = edge
        .wish(|control| async move { control.change_task(&id, change).await })
        .await?;
    Ok(HttpResponse::Ok().json(changed))
}

async fn remove(edge: web::Data<Edge>, id: web::Path<String>, Body(wish): Body<Remove>) -> Answer {
    let removed = edge
        .wish(|control| async move { control.remove(&id, wish).await })
        .await?;
    Ok(HttpResponse::Ok().json(removed))
}

async fn collect(edge: web::Data<Edge>, Body(wish): Body<Collect>) -> Answer {
    let collected = edge
        .wish(|control| async move { control.collect(wish).await })
        .await?;
    Ok(HttpResponse::Ok().json(collected))
}

async fn import(edge: web::Data<Edge>, payload: web::Payload) -> Answer {
    let portable = whole(payload, edge.settings.import_limit).await?;
    let imported = edge
        .wish(|control| async move { control.import(portable).await })
        .await?;
    Ok(HttpResponse::Ok().json(imported))
}

async fn blob(edge: web::Data<Edge>, sha256: web::Path<String>) -> Answer {
    let sha256 = sha256.into_inner();
    // Checked here as well as behind: it becomes part of a path there, and of a header here.
    if sha256.len() != 64
        || !sha256
            .bytes()
            .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
    {
        return Err(Refusal::unreadable(format!(
            "{sha256:?} is no sha256; it has 64 digits 0-9 a-f"
        )));
    }
    let name = sha256.clone();
    let bytes = edge
        .ask(|control| async move { control.blob(&name).await })
        .await?;
    Ok(body(&sha256, bytes))
}

/// The bytes of a body. What is named by its hash never changes.
fn body(sha256: &str, bytes: Vec<u8>) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((ETAG, format!("\"{sha256}\"")))
        .insert_header((CACHE_CONTROL, "private, max-age=31536000, immutable"))
        .content_type("application/octet-stream")
        .body(bytes)
}
