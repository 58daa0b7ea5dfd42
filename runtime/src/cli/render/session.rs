//! Sessions as a list of lines, and one session as a card.

use longhaul_actors::session::Mode;

use super::line::Look;
use super::text::{count, cut, escaped, first_line, span};
use crate::api::SessionView;

/// The line over a list of sessions.
pub(crate) fn list_heading() -> String {
    format!("{:<34}  {:<17}  {:<20}  goal", "id", "state", "updated")
}

/// A session as a line.
pub(crate) fn list_line(session: &SessionView, look: Look) -> String {
    let updated = session
        .updated_at
        .split_once('.')
        .map_or(session.updated_at.as_str(), |(whole, _)| whole);
    let updated = updated.trim_end_matches('Z').replace('T', " ");
    let marks = match (&session.quarantined, session.archived) {
        (Some(_), _) => "(quarantined) ",
        (None, true) => "(archived) ",
        (None, false) => "",
    };
    let goal = escaped(first_line(&session.goal));
    let line = format!(
        "{:<34}  {:<17}  {updated:<20}  {marks}{goal}",
        session.id, session.state
    );
    match look.width {
        Some(width) => cut(&line, width).into_owned(),
        None => line,
    }
}

/// A session as lines of `name  value`; what is not there is left out.
pub(crate) fn card(session: &SessionView) -> Vec<String> {
    let mut rows: Vec<(&str, String)> = vec![("id", session.id.clone())];
    let state = match &session.paused_reason {
        Some(reason) => format!("{} ({})", session.state, reason.replace('_', " ")),
        None => session.state.clone(),
    };
    let mode = match session.mode {
        Mode::Bounded => "bounded",
        Mode::Interactive => "interactive",
    };
    let usage = &session.usage;
    rows.push(("state", state));
    rows.extend((!session.paused_detail.is_empty()).then(|| ("because", session.paused_detail.clone())));
    rows.extend(session.quarantined.clone().map(|why| ("quarantined", why)));
    rows.extend(session.archived.then(|| ("archived", "yes".into())));
    rows.extend((!session.outcome.is_empty()).then(|| ("outcome", session.outcome.clone())));
    rows.push(("goal", session.goal.clone()));
    rows.push(("brain", session.brain.clone()));
    rows.push(("mode", mode.into()));
    rows.extend(session.key.clone().map(|key| ("key", key)));
    rows.push(("owner", session.owner.clone()));
    rows.push(("started", session.started_at.clone()));
    rows.push(("updated", session.updated_at.clone()));
    rows.push(("head", session.head.to_string()));
    rows.push(("turns", session.turns.to_string()));
    rows.extend(
        session
            .step
            .as_ref()
            .map(|step| ("step", format!("{} {}, since {}", step.step, step.kind, step.seq))),
    );
    rows.extend(session.approval.clone().map(|asked| ("approval", asked.id)));
    rows.extend((session.unread > 0).then(|| ("unread", count(session.unread as u64, "message"))));
    rows.extend(
        session
            .isolation
            .clone()
            .map(|isolation| ("isolation", isolation)),
    );
    rows.extend(session.workspace.clone().map(|folder| ("workspace", folder)));
    rows.push(("active", span(usage.active_ms)));
    let tokens = usage.input_tokens + usage.output_tokens;
    rows.extend((tokens > 0).then(|| {
        (
            "tokens",
            format!("{} in, {} out", usage.input_tokens, usage.output_tokens),
        )
    }));
    rows.extend(session.credits.as_ref().map(|credits| {
        let budget = credits.budget.as_ref().map(|budget| format!(" of {budget}"));
        (
            "credits",
            format!("{}{}", credits.spent, budget.unwrap_or_default()),
        )
    }));
    rows.extend(session.metadata.clone().map(|metadata| ("metadata", metadata)));
    rows.into_iter()
        .map(|(name, value)| format!("{name:<11}  {}", escaped(&value)))
        .collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use longhaul_actors::session::Usage;

    use super::*;
    use crate::api::StepView;

    /// A session in the middle of its work.
    pub(crate) fn session() -> SessionView {
        SessionView {
            id: "s_0190aaaabbbbccccddddeeeeffff0000".into(),
            state: "running".into(),
            paused_reason: None,
            mode: Mode::Bounded,
            goal: "make the test pass\nand be quick".into(),
            brain: "playbook:fix.toml".into(),
            owner: "local".into(),
            key: None,
            head: 41,
            started_at: "2026-01-02T12:04:07.181Z".into(),
            updated_at: "2026-01-02T12:05:00.000Z".into(),
            turns: 2,
            step: Some(StepView {
                step: 7,
                kind: "exec".into(),
                seq: 40,
            }),
            approval: None,
            unread: 1,
            archived: false,
            isolation: Some("process".into()),
            run_limit_ms: None,
            forked_from: None,
            network: Vec::new(),
            services: Vec::new(),
            usage: Usage {
                active_ms: 1250,
                ..Usage::default()
            },
            paused_detail: String::new(),
            credits: None,
            outcome: String::new(),
            workspace: None,
            quarantined: None,
            metadata: None,
        }
    }

    #[test]
    fn a_list_has_one_line_each() {
        let archived = SessionView {
            archived: true,
            state: "completed".into(),
            ..session()
        };
        let lines = [
            list_heading(),
            list_line(&session(), Look::default()),
            list_line(&archived, Look::default()),
        ];
        assert_eq!(
            lines,
            [
                "id                                  state              updated               goal",
                "s_0190aaaabbbbccccddddeeeeffff0000  running            2026-01-02 12:05:00   make the test pass",
                "s_0190aaaabbbbccccddddeeeeffff0000  completed          2026-01-02 12:05:00   (archived) make the test pass",
            ]
        );
    }

    #[test]
    fn a_card_leaves_out_what_is_not_there() {
        assert_eq!(
            card(&session()),
            [
                "id           s_0190aaaabbbbccccddddeeeeffff0000",
                "state        running",
                "goal         make the test pass\\nand be quick",
                "brain        playbook:fix.toml",
                "mode         bounded",
                "owner        local",
                "started      2026-01-02T12:04:07.181Z",
                "updated      2026-01-02T12:05:00.000Z",
                "head         41",
                "turns        2",
                "step         7 exec, since 40",
                "unread       1 message",
                "isolation    process",
                "active       1.2s",
            ]
        );
    }

    #[test]
    fn a_card_says_why_a_session_rests() {
        let paused = SessionView {
            state: "paused".into(),
            paused_reason: Some("crash_loop".into()),
            ..session()
        };
        assert_eq!(card(&paused)[1], "state        paused (crash loop)");
    }
}
