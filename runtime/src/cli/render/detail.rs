//! What a record says, in one short line for a person.

use longhaul_actors::session::{
    AgentMessage, AgentQuestion, AnswerEnd, ApprovalCanceled, ApprovalDecided, ApprovalDecision,
    ApprovalExpired, ApprovalRequested, ArtifactCreated, CheckpointCreated, CheckpointSkipped, CommandRun,
    Completed, EgressDenied, Failed, FileWasRead, FileWritten, Forked, Isolation, ModelCompleted,
    ModelStarted, PauseRequested, Paused, PolicyDenied, Resumed, RuntimeCrashed, RuntimeRestarted,
    SandboxReady, SandboxReleased, SandboxSetupFailed, SandboxStarting, SendMode, ServiceEnded,
    ServiceStarted, ServiceStopRequested, SessionStarted, StopRequested, StopUnconfirmed, StuckEvidence,
    ToolCompleted, ToolFailed, ToolOutcomeUnknown, ToolStarted, TurnCause, TurnCompleted, TurnStarted,
    TurnSteered, TurnStuck, Usage, Used, UserMessage, Verdict,
};
use longhaul_actors::task::JournalGap;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::text::{count, first_line, last_line, size, span};
use crate::api::{RecordView, task_id};

/// The detail of a record, not yet escaped. A type that this version does not know is shown as it is stored.
pub(crate) fn detail(record: &RecordView) -> String {
    known(record).unwrap_or_else(|| record.stored.data.to_string())
}

/// `None` when this version does not know the type, or the type does not have the shape this version knows.
fn known(record: &RecordView) -> Option<String> {
    let data = &record.stored.data;
    match record.type_name.as_str() {
        "session.started" => say(data, |it: SessionStarted| {
            format!("{} ({}:{})", first_line(&it.goal), it.brain.kind, it.brain.name)
        }),
        "session.pause_requested" => say(data, |it: PauseRequested| {
            format!("{}{}", word(&it.reason), if it.now { ", at once" } else { "" })
        }),
        "session.paused" => say(data, |it: Paused| match it.detail.as_str() {
            "" => word(&it.reason),
            detail => format!("{}: {detail}", word(&it.reason)),
        }),
        "session.resumed" => say(data, |it: Resumed| match it.budget_micro {
            None => format!("after {}", span(it.paused_ms)),
            Some(budget) => format!("after {}, with a budget of {budget}", span(it.paused_ms)),
        }),
        "session.hibernated" | "session.woken" | "session.canceled" | "session.archived"
        | "session.adopted" | "runtime.stopped" => Some(String::new()),
        "session.stop_requested" => say(data, |it: StopRequested| word(&it.stop)),
        "session.stop_unconfirmed" => say(data, |it: StopUnconfirmed| {
            let pids: Vec<String> = it.pids.iter().map(u32::to_string).collect();
            format!("not confirmed gone: process {}", pids.join(" "))
        }),
        "session.completed" => say(data, |it: Completed| colon(&word(&it.outcome), &it.summary)),
        "session.failed" => say(data, |it: Failed| colon(&it.code, &it.detail)),
        "session.forked" => say(data, |it: Forked| format!("from {} at {}", it.from, it.at)),
        "journal.gap" => say(data, |it: JournalGap| {
            format!("{} to {} are lost: {}", it.from_seq, it.to_seq, it.reason)
        }),
        "user.message" => say(data, |it: UserMessage| match it.mode {
            SendMode::Interrupt => format!("(interrupts) {}", it.text),
            SendMode::Steer | SendMode::Queue => it.text,
        }),
        "agent.message" => say(data, |it: AgentMessage| it.text),
        "agent.question" => say(data, |it: AgentQuestion| it.text),
        _ => of_turn(record)
            .or_else(|| of_step(record))
            .or_else(|| of_runtime(record)),
    }
}

fn of_turn(record: &RecordView) -> Option<String> {
    let data = &record.stored.data;
    let turn = record.stored.turn.unwrap_or_default();
    match record.type_name.as_str() {
        "turn.started" => say(data, |it: TurnStarted| {
            match (it.cause, it.input_from_seq, it.input_to_seq) {
                (TurnCause::Continue, ..) => format!("turn {turn}, goes on"),
                (TurnCause::Input, from, to) if from == to => format!("turn {turn}, reads {from}"),
                (TurnCause::Input, from, to) => format!("turn {turn}, reads {from} to {to}"),
            }
        }),
        "turn.steered" => say(data, |it: TurnSteered| {
            format!("step {} sees {}", it.step, it.message_seq)
        }),
        "turn.stuck" => say(data, |it: TurnStuck| match it.evidence {
            StuckEvidence::Loop { times, .. } => format!("the same act with the same result, {times} times"),
            StuckEvidence::Deadline { spent_ms } => format!("out of time after {}", span(spent_ms)),
            StuckEvidence::Steps { steps } => format!("out of steps after {steps}"),
        }),
        "turn.completed" => say(data, |it: TurnCompleted| {
            let steps = count(it.usage.steps.into(), "step");
            join([
                word(&it.reason),
                steps,
                span(it.usage.active_ms),
                tokens(&it.usage),
            ])
        }),
        _ => None,
    }
}

fn of_step(record: &RecordView) -> Option<String> {
    let data = &record.stored.data;
    match record.type_name.as_str() {
        "model.started" => say(data, |it: ModelStarted| {
            format!("step {}, sees up to {}", it.step, it.window_to)
        }),
        "model.completed" => say(data, |it: ModelCompleted| {
            let calls: Vec<&str> = it.calls.iter().map(|call| call.tool.as_str()).collect();
            let calls = if calls.is_empty() {
                String::new()
            } else {
                format!("calls {}", calls.join(" "))
            };
            let end = it.end.as_ref().map_or("", end_of);
            let failure = it.failure.unwrap_or_default();
            join([
                format!("step {}", it.step),
                calls,
                end.into(),
                failure,
                tokens(&it.usage),
            ])
        }),
        "service.started" => say(data, |it: ServiceStarted| {
            format!("{}, step {}", it.name, it.step)
        }),
        "service.stop_requested" => say(data, |it: ServiceStopRequested| {
            format!("{} ({})", it.name, word(&it.cause))
        }),
        "service.ended" => say(data, |it: ServiceEnded| {
            let how = match (&it.end.execution, it.end.unknown) {
                (Some(run), _) => verdict(&run.verdict),
                (None, Some(why)) => format!("nobody knows how: {why}"),
                (None, None) => String::new(),
            };
            join([format!("{} ({})", it.name, word(&it.cause)), how])
        }),
        "egress.denied" => say(data, |it: EgressDenied| {
            let place = match (it.host.as_str(), it.port) {
                ("", _) => String::new(),
                (host, 0) => host.to_owned(),
                (host, port) => format!("{host}:{port}"),
            };
            join([place, it.reason, count(it.times, "time")])
        }),
        "tool.started" => say(data, |it: ToolStarted| {
            format!("step {}, {}: {}", it.step, it.tool, it.brief)
        }),
        "command.run" => say(data, |it: CommandRun| {
            let run = it.execution;
            let said = [&run.stderr, &run.stdout]
                .map(|out| last_line(if out.tail.is_empty() { &out.head } else { &out.tail }));
            let said = said.into_iter().find(|line| !line.is_empty()).unwrap_or("");
            colon(
                &format!(
                    "step {}, {} in {}{}",
                    it.step,
                    verdict(&run.verdict),
                    span(run.active_ms),
                    refused(run.used.as_ref())
                ),
                said,
            )
        }),
        "file.write" => say(data, |it: FileWritten| {
            let how = if it.file.before.is_none() {
                "new"
            } else {
                "changed"
            };
            format!(
                "step {}, {}, {how}, {}",
                it.step,
                it.file.path,
                size(it.file.bytes)
            )
        }),
        "file.read" => say(data, |it: FileWasRead| {
            format!(
                "step {}, {}, {}",
                it.step,
                it.file.path,
                size(it.file.content.bytes)
            )
        }),
        "tool.completed" => say(data, |it: ToolCompleted| {
            colon(&format!("step {}, {}", it.step, it.tool), first_line(&it.output))
        }),
        "tool.failed" => say(data, |it: ToolFailed| {
            let settled = it
                .settled_by
                .map_or(String::new(), |by| format!(" (settled by {by})"));
            colon(&format!("step {}, {}{settled}", it.step, it.code), &it.detail)
        }),
        "tool.outcome_unknown" => say(data, |it: ToolOutcomeUnknown| {
            format!("step {}, {}", it.step, it.why)
        }),
        "policy.denied" => say(data, |it: PolicyDenied| {
            colon(
                &format!("step {}, {} forbids {}", it.step, it.rule, it.action),
                &it.detail,
            )
        }),
        "approval.requested" => say(data, |it: ApprovalRequested| {
            format!(
                "step {}, {}: {} ({}, risk {})",
                it.step, it.id, it.action, it.category, it.risk
            )
        }),
        "approval.decided" => say(data, |it: ApprovalDecided| {
            let said = match it.decision {
                ApprovalDecision::Approve => "approved",
                ApprovalDecision::Deny => "denied",
            };
            format!("{said} by {}: {}", it.by, it.evidence)
        }),
        "approval.expired" => say(data, |it: ApprovalExpired| it.id),
        "approval.canceled" => say(data, |it: ApprovalCanceled| {
            format!("{}, {}", word(&it.reason), it.id)
        }),
        "artifact.created" => say(data, |it: ArtifactCreated| {
            let what = format!("{} {}, {}", it.kind, it.name, size(it.bytes));
            match it.task {
                Some(task) => format!("{what}, {}", task_id(task)),
                None => format!("{what}, sha256 {}", it.sha256),
            }
        }),
        _ => None,
    }
}

/// `isolated (namespaces root user capabilities seccomp landlock:7 proc), network none`.
fn isolation(it: &Isolation) -> String {
    let layers = it.layers.iter().map(|layer| match it.landlock_abi {
        Some(abi) if layer == "landlock" => format!("landlock:{abi}"),
        _ => layer.clone(),
    });
    let layers = layers.collect::<Vec<_>>().join(" ");
    let layers = if layers.is_empty() {
        layers
    } else {
        format!(" ({layers})")
    };
    let network = it
        .network
        .as_ref()
        .map_or(String::new(), |network| format!(", network {network}"));
    let limits = it
        .limits
        .as_ref()
        .map_or(String::new(), |limits| format!(", limits {}", limits.by));
    format!("isolation {}{layers}{network}{limits}", it.mode)
}

fn of_runtime(record: &RecordView) -> Option<String> {
    let data = &record.stored.data;
    match record.type_name.as_str() {
        "sandbox.starting" => say(data, |it: SandboxStarting| match it.generation {
            0 | 1 => String::new(),
            generation => format!("number {generation}"),
        }),
        "sandbox.ready" => say(data, |it: SandboxReady| isolation(&it.isolation)),
        "sandbox.setup_failed" => say(data, |it: SandboxSetupFailed| colon(&it.code, &it.detail)),
        "sandbox.released" => say(data, |it: SandboxReleased| {
            let freed = format!("freed {}", size(it.freed_bytes));
            match it.workspace_kept.as_str() {
                "" => freed,
                why => format!("{freed}; the workspace stays: {why}"),
            }
        }),
        "checkpoint.requested" => Some(String::new()),
        "checkpoint.created" => say(data, |it: CheckpointCreated| {
            format!("of {}: {}, {} new", it.at, size(it.bytes), size(it.added_bytes))
        }),
        "checkpoint.skipped" => say(data, |it: CheckpointSkipped| colon(&it.code, &it.detail)),
        "runtime.crashed" => say(data, |it: RuntimeCrashed| {
            colon(
                &format!("{} died after {}", word(&it.cause), it.last_seq),
                &it.detail,
            )
        }),
        "runtime.restarted" => say(data, |it: RuntimeRestarted| {
            format!("goes on from {}, attempt {}", it.resumed_from_seq, it.attempt)
        }),
        _ => None,
    }
}

fn say<T: DeserializeOwned>(data: &Value, words: impl FnOnce(T) -> String) -> Option<String> {
    T::deserialize(data).ok().map(words)
}

/// The wire name of a plain enum, with spaces for people.
fn word(name: &impl Serialize) -> String {
    match serde_json::to_value(name) {
        Ok(Value::String(name)) => name.replace('_', " "),
        _ => String::new(),
    }
}

fn end_of(end: &AnswerEnd) -> &'static str {
    match end {
        AnswerEnd::Yield => "yields",
        AnswerEnd::Ask { .. } => "asks",
        AnswerEnd::Finish { .. } => "finishes",
        AnswerEnd::Fail { .. } => "gives up",
    }
}

fn verdict(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Exited { code } => format!("exit {code}"),
        Verdict::Signaled { signal } => format!("killed by signal {signal}"),
        Verdict::Timeout { idle: false } => "out of time".into(),
        Verdict::Timeout { idle: true } => "silent for too long".into(),
        Verdict::OomKilled => "out of memory".into(),
        Verdict::OutputLimit => "too much output".into(),
        Verdict::Canceled => "canceled".into(),
        Verdict::ExecFailed { detail } => format!("not started ({detail})"),
        Verdict::DiskFull { limit } if limit.is_empty() => "disk full".into(),
        Verdict::DiskFull { limit } => format!("disk full ({})", limit.replace('_', " ")),
        Verdict::SandboxViolation => "killed for a forbidden system call".into(),
        Verdict::SandboxError { detail } => format!("sandbox failed ({detail})"),
    }
}

/// What a command wanted and did not get, in brackets; nothing for most.
fn refused(used: Option<&Used>) -> String {
    let Some(used) = used else { return String::new() };
    let kills = match used.oom_kills {
        0 => String::new(),
        kills => format!("{} for want of memory", count(kills, "kill")),
    };
    let hits = match used.pids_limit_hits {
        0 => String::new(),
        1 => "1 process refused".to_owned(),
        hits => format!("{hits} processes refused"),
    };
    match join([kills, hits]) {
        none if none.is_empty() => none,
        some => format!(" ({some})"),
    }
}

fn tokens(usage: &Usage) -> String {
    match usage.input_tokens + usage.output_tokens {
        0 => String::new(),
        all => count(all, "token"),
    }
}

fn colon(head: &str, rest: &str) -> String {
    if rest.is_empty() {
        head.to_owned()
    } else {
        format!("{head}: {rest}")
    }
}

fn join<const N: usize>(parts: [String; N]) -> String {
    let said: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    said.join(", ")
}

#[cfg(test)]
mod tests {
    use longhaul_actors::session::Body;
    use serde_json::json;

    use super::*;

    fn record(type_name: &str, data: Value) -> RecordView {
        let view = json!({
            "id": "s_0.7", "seq": 7, "ts": "2026-01-02T12:04:07.181Z", "session": "s_0", "type": type_name,
            "level": "user", "actor": { "kind": "runtime" }, "turn": 2, "data": data,
        });
        serde_json::from_value(view).expect("it has the shape of a record")
    }

    fn output(head: &str, tail: &str) -> Value {
        json!({ "head": head, "tail": tail, "bytes": head.len() })
    }

    /// One row for each type there is: what is stored, and what is said about it.
    fn table() -> Vec<(&'static str, Value, &'static str)> {
        let usage = json!({ "inputTokens": 1000, "outputTokens": 204, "activeMs": 1250, "steps": 3 });
        vec![
            (
                "session.started",
                json!({
                    "owner": "local", "goal": "make the test pass\nand be quick", "mode": "bounded", "fingerprint": "f",
                    "brain": { "kind": "playbook", "name": "fix.toml" }, "workspace": { "kind": "empty" },
                }),
                "make the test pass (playbook:fix.toml)",
            ),
            (
                "session.pause_requested",
                json!({ "reason": "requested", "now": true }),
                "requested, at once",
            ),
            ("session.paused", json!({ "reason": "crash_loop" }), "crash loop"),
            ("session.resumed", json!({ "pausedMs": 200_000 }), "after 3m 20s"),
            ("session.hibernated", json!({}), ""),
            ("session.woken", json!({}), ""),
            (
                "session.stop_requested",
                json!({ "stop": "interrupt" }),
                "interrupt",
            ),
            (
                "session.stop_unconfirmed",
                json!({ "pids": [41, 42] }),
                "not confirmed gone: process 41 42",
            ),
            (
                "session.completed",
                json!({ "outcome": "success", "summary": "fixed" }),
                "success: fixed",
            ),
            (
                "session.failed",
                json!({ "code": "brain_gone", "detail": "no file" }),
                "brain_gone: no file",
            ),
            ("session.canceled", json!({}), ""),
            ("session.archived", json!({}), ""),
            ("session.adopted", json!({}), ""),
            (
                "session.forked",
                json!({ "from": "s_7f3a", "at": 41, "owner": "local", "fingerprint": "f" }),
                "from s_7f3a at 41",
            ),
            (
                "journal.gap",
                json!({ "fromSeq": 12, "toSeq": 14, "reason": "a sector went bad", "stepsTo": 7 }),
                "12 to 14 are lost: a sector went bad",
            ),
            (
                "user.message",
                json!({ "text": "also bump it", "mode": "interrupt" }),
                "(interrupts) also bump it",
            ),
            ("agent.message", json!({ "text": "done" }), "done"),
            ("agent.question", json!({ "text": "which one?" }), "which one?"),
            (
                "turn.started",
                json!({ "cause": "input", "inputFromSeq": 2, "inputToSeq": 4 }),
                "turn 2, reads 2 to 4",
            ),
            (
                "turn.steered",
                json!({ "messageSeq": 5, "step": 3 }),
                "step 3 sees 5",
            ),
            (
                "turn.stuck",
                json!({ "evidence": { "kind": "loop", "digest": "d", "times": 5 } }),
                "the same act with the same result, 5 times",
            ),
            (
                "turn.completed",
                json!({ "reason": "needs_input", "usage": usage }),
                "needs input, 3 steps, 1.2s, 1204 tokens",
            ),
            (
                "model.started",
                json!({ "step": 3, "windowTo": 9 }),
                "step 3, sees up to 9",
            ),
            (
                "model.completed",
                json!({ "step": 3, "calls": [{ "tool": "exec" }, { "tool": "read" }], "usage": usage }),
                "step 3, calls exec read, 1204 tokens",
            ),
            (
                "tool.started",
                json!({
                    "step": 4, "tool": "exec", "brief": "make test", "digest": "d", "class": "reattach", "limitMs": 1,
                }),
                "step 4, exec: make test",
            ),
            (
                "command.run",
                json!({
                    "step": 4, "verdict": "exited", "code": 1, "stdout": output("ran 3\n1 failed\n", ""),
                    "stderr": output("", ""), "activeMs": 1249, "isolation": "process",
                }),
                "step 4, exit 1 in 1.2s: 1 failed",
            ),
            (
                "file.write",
                json!({ "step": 5, "path": "src/a.c", "bytes": 1536, "before": "aa", "after": "bb" }),
                "step 5, src/a.c, changed, 1.5 KiB",
            ),
            (
                "file.read",
                json!({ "step": 5, "path": "src/a.c", "fileSha256": "aa", "content": output("int", "") }),
                "step 5, src/a.c, 3 B",
            ),
            (
                "tool.completed",
                json!({ "step": 6, "tool": "list", "output": "a\nb" }),
                "step 6, list: a",
            ),
            (
                "tool.failed",
                json!({ "step": 6, "code": "not_found", "detail": "no x", "settledBy": "cancel" }),
                "step 6, not_found (settled by cancel): no x",
            ),
            (
                "tool.outcome_unknown",
                json!({ "step": 6, "why": "rebooted" }),
                "step 6, rebooted",
            ),
            (
                "artifact.created",
                json!({ "step": 7, "kind": "patch", "name": "changes.patch", "sha256": "abc", "bytes": 10 }),
                "patch changes.patch, 10 B, sha256 abc",
            ),
            (
                "service.started",
                json!({ "step": 7, "name": "web" }),
                "web, step 7",
            ),
            (
                "service.stop_requested",
                json!({ "step": 7, "name": "web", "cause": "idle" }),
                "web (idle)",
            ),
            (
                "service.ended",
                json!({ "step": 7, "name": "web", "cause": "itself", "unknown": "shim_died" }),
                "web (itself), nobody knows how: shim_died",
            ),
            (
                "egress.denied",
                json!({ "step": 7, "host": "evil.test", "port": 443, "reason": "not_allowed", "times": 2 }),
                "evil.test:443, not_allowed, 2 times",
            ),
            (
                "policy.denied",
                json!({ "step": 7, "tool": "exec", "action": "git push", "digest": "d", "category": "publish",
                        "rule": "goal", "detail": "the goal forbids it" }),
                "step 7, goal forbids git push: the goal forbids it",
            ),
            (
                "approval.requested",
                json!({ "id": "ap_1", "step": 7, "tool": "exec", "action": "git push", "digest": "d",
                        "category": "publish", "risk": "high", "rule": "git-push" }),
                "step 7, ap_1: git push (publish, risk high)",
            ),
            (
                "approval.decided",
                json!({ "id": "ap_1", "decision": "approve", "by": "local", "evidence": "read it", "digest": "d" }),
                "approved by local: read it",
            ),
            ("approval.expired", json!({ "id": "ap_1" }), "ap_1"),
            (
                "approval.canceled",
                json!({ "id": "ap_1", "reason": "turn_ended" }),
                "turn ended, ap_1",
            ),
            ("sandbox.starting", json!({ "generation": 2 }), "number 2"),
            (
                "sandbox.ready",
                json!({ "isolation": { "mode": "process" } }),
                "isolation process",
            ),
            (
                "sandbox.setup_failed",
                json!({ "code": "clone_failed", "detail": "no git" }),
                "clone_failed: no git",
            ),
            (
                "sandbox.released",
                json!({ "freedBytes": 12, "workspaceKept": "notes.md is in no artifact" }),
                "freed 12 B; the workspace stays: notes.md is in no artifact",
            ),
            ("checkpoint.requested", json!({}), ""),
            (
                "checkpoint.created",
                json!({ "at": 41, "entries": 3, "bytes": 12, "addedBytes": 5, "digest": "ab" }),
                "of 41: 12 B, 5 B new",
            ),
            (
                "checkpoint.skipped",
                json!({ "at": 41, "code": "workspace_missing", "detail": "it is gone" }),
                "workspace_missing: it is gone",
            ),
            (
                "runtime.crashed",
                json!({ "cause": "server", "lastSeq": 9, "counted": false }),
                "server died after 9",
            ),
            (
                "runtime.restarted",
                json!({ "attempt": 1, "resumedFromSeq": 9 }),
                "goes on from 9, attempt 1",
            ),
            ("runtime.stopped", json!({}), ""),
        ]
    }

    #[test]
    fn every_record_says_what_happened() {
        for (type_name, data, said) in table() {
            assert_eq!(
                known(&record(type_name, data)).as_deref(),
                Some(said),
                "{type_name}"
            );
        }
    }

    #[test]
    fn what_a_command_wanted_and_did_not_get_is_said() {
        let run = |verdict: Value| {
            let mut data = json!({
                "step": 4, "stdout": { "head": "", "bytes": 0 }, "stderr": { "head": "", "bytes": 0 },
                "activeMs": 90, "isolation": "process",
                "used": { "by": "hybrid", "cpuMs": 1, "memPeak": 2, "oomKills": 1, "pidsLimitHits": 2 },
            });
            let fields = data.as_object_mut().expect("an object");
            fields.extend(verdict.as_object().expect("an object").clone());
            known(&record("command.run", data)).expect("it is known")
        };
        let refused = "(1 kill for want of memory, 2 processes refused)";
        for (verdict, said) in [
            (json!({ "verdict": "exited", "code": 0 }), "exit 0"),
            (json!({ "verdict": "oom_killed" }), "out of memory"),
            (
                json!({ "verdict": "timeout", "idle": true }),
                "silent for too long",
            ),
            (
                json!({ "verdict": "disk_full", "limit": "file_size" }),
                "disk full (file size)",
            ),
        ] {
            assert_eq!(run(verdict), format!("step 4, {said} in 90ms {refused}"));
        }
        let ready = json!({ "isolation": { "mode": "isolated", "limits": { "by": "rlimit" } } });
        let said = known(&record("sandbox.ready", ready));
        assert!(said.expect("it is known").ends_with("limits rlimit"));
    }

    #[test]
    fn a_suggestion_is_shown_by_the_task_that_it_is() {
        let made = json!({ "step": 7, "kind": "task_suggestion", "name": "idea.md", "sha256": "abc", "bytes": 10,
                           "task": "t_0190aa00000070008000000000000002" });
        assert_eq!(
            detail(&record("artifact.created", made)),
            "task_suggestion idea.md, 10 B, t_0190aa00000070008000000000000002"
        );
    }

    #[test]
    fn no_type_is_missing_from_the_table() {
        let rows: Vec<&str> = table().into_iter().map(|(type_name, ..)| type_name).collect();
        assert_eq!(rows, Body::TYPES);
    }

    #[test]
    fn a_type_of_a_newer_version_is_shown_as_it_is_stored() {
        assert_eq!(
            detail(&record("session.levitated", json!({ "height": 3 }))),
            r#"{"height":3}"#
        );
        assert_eq!(
            detail(&record("session.paused", json!({ "reason": "bored" }))),
            r#"{"reason":"bored"}"#
        );
    }

    #[test]
    fn a_pause_says_what_is_missing_and_a_resume_the_new_budget() {
        let paused = record(
            "session.paused",
            json!({ "reason": "credits", "detail": "0.00 is left" }),
        );
        assert_eq!(detail(&paused), "credits: 0.00 is left");
        let resumed = record(
            "session.resumed",
            json!({ "pausedMs": 200_000, "budgetMicro": 1_500_000 }),
        );
        assert_eq!(detail(&resumed), "after 3m 20s, with a budget of 1.50");
    }

    #[test]
    fn a_command_that_said_nothing_has_only_its_verdict() {
        let quiet = json!({
            "step": 4, "verdict": "timeout", "stdout": output(" \n", ""), "stderr": output("", ""), "activeMs": 9,
            "isolation": "process",
        });
        assert_eq!(
            detail(&record("command.run", quiet)),
            "step 4, out of time in 9ms"
        );
    }
}
