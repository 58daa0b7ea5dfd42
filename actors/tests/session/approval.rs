//! The gate: what may begin, what a human is asked about first, and what becomes of a request while it waits.

use longhaul_actors::Entity;
use longhaul_actors::ports::Ruling;
use longhaul_actors::session::Session;
use longhaul_actors::session::{
    Actor, ApprovalDecision, Command, EVIDENCE_LIMIT, Limits, Refusal, SendMode, ToolCall,
};
use longhaul_journal::Standing;

use crate::story::{
    Story, acting, bounded, calls, cancel, decide, exec, exited, gone, interactive, limited, pause, ready,
    resume, send, thinking, thought, unknown,
};
use crate::world::judged;

/// A session whose first act waits for a human.
fn asking() -> Story {
    thinking(interactive())
        .gated(Ruling::Ask)
        .when(thought(1, calls([push()])))
}

fn push() -> ToolCall {
    exec("git push")
}

fn pending(story: &Story) -> String {
    let approval = story
        .world
        .state
        .approval
        .as_ref()
        .expect("something is asked for");
    approval.id.clone()
}

/// The human says this of what is asked for.
fn decided(story: Story, approve: bool) -> Story {
    let id = pending(&story);
    story.when(decide(&id, approve))
}

/// A place and a workspace again, up to where it goes on.
fn seated(story: Story) -> Story {
    story.stands("queued").when(Command::SlotGranted).when(ready())
}

fn admitted(story: Story, ruling: Ruling, script: &str) -> Story {
    let step = story.world.state.steps + 1;
    story.when(Command::Admitted(judged(step, &push(), ruling, script)))
}

/// B-GATE-1: an act that is allowed begins in the frame that wanted it.
#[test]
fn an_allowed_act_costs_no_record_and_no_frame() {
    thinking(interactive())
        .when(thought(1, calls([exec("make"), exec("make test")])))
        .then(["model.completed", "tool.started exec"])
        .owes(["act"])
        .when(crate::story::acted(2, exited("ok")))
        .then(["command.run", "tool.started exec"]);
}

/// B-GATE-1
#[test]
fn without_an_admission_nothing_begins_and_it_stays_owed() {
    let story = thinking(interactive())
        .when_bare(thought(1, calls([exec("make")])))
        .then(["model.completed"])
        .stands("running")
        .owes(["admit"]);
    let other = Command::Admitted(judged(2, &exec("rm -rf /"), Ruling::Allow, ""));
    let early = Command::Admitted(judged(3, &exec("make"), Ruling::Allow, ""));
    let story = story
        .when(other)
        .then_nothing()
        .when(early)
        .then_nothing()
        .owes(["admit"])
        .when_the_server_crashes()
        .then(["runtime.crashed server false", "runtime.restarted 0"])
        .owes(["admit"]);
    let this = Command::Admitted(judged(2, &exec("make"), Ruling::Allow, ""));
    story
        .when(this.clone())
        .then(["tool.started exec"])
        .owes(["act"])
        .when(this)
        .then_nothing();
}

/// B-GATE-1
#[test]
fn a_denied_act_is_told_to_the_brain_and_the_turn_goes_on() {
    thinking(interactive())
        .gated(Ruling::Deny)
        .when(thought(1, calls([push()])))
        .then([
            "model.completed",
            "policy.denied git.push",
            "tool.started exec",
            "tool.failed policy_denied",
            "model.started",
        ])
        .owes(["think"]);
}

/// B-GATE-4: the act of an approval begins once, and only behind it.
#[test]
fn a_gated_act_waits_without_a_place_and_runs_once_it_is_approved() {
    let story = asking()
        .then(["model.completed", "approval.requested"])
        .stands("awaiting_approval")
        .owes([]);
    assert_eq!(
        Session::standing(&story.world.state),
        Standing::Waits("approval".into())
    );
    let story = decided(story, true)
        .then(["approval.decided approve"])
        .owes(["slot"]);
    let story = seated(story).then(["sandbox.ready"]).owes(["admit"]);
    let story = admitted(story, Ruling::Ask, "")
        .then(["tool.started exec"])
        .owes(["act"])
        .settles(exited("pushed"))
        .then(["command.run", "model.started"]);
    // The same act at the next step is another one.
    story
        .answers(calls([push()]))
        .then(["model.completed", "approval.requested"]);
}

/// B-GATE-4
#[test]
fn a_crash_between_the_decision_and_the_act_leaves_the_act_to_be_done() {
    let story = decided(asking(), true)
        .when_the_server_crashes()
        .then_nothing()
        .owes(["slot"]);
    let story = seated(story)
        .when_the_server_crashes()
        .then(["runtime.crashed server false", "runtime.restarted 0"])
        .owes(["admit"]);
    admitted(story, Ruling::Ask, "").then(["tool.started exec"]);
}

/// B-GATE-4: a crash in the act leaves nobody who knows; the human is told, and the approval is used up.
#[test]
fn an_approved_act_that_was_lost_is_told_and_not_done_again() {
    let story = admitted(seated(decided(asking(), true)), Ruling::Ask, "")
        .when_the_server_crashes()
        .settles(unknown())
        .then([
            "runtime.crashed hands true",
            "tool.outcome_unknown",
            "runtime.restarted 1",
            "model.started",
        ]);
    assert_eq!(story.world.state.approval, None);
    story
        .answers(calls([push()]))
        .then(["model.completed", "approval.requested"]);
}

/// B-GATE-2: the approval covers the act that was shown, not one whose script was changed meanwhile.
#[test]
fn an_act_that_has_changed_is_asked_for_again() {
    let first = asking();
    let id = pending(&first);
    let story = admitted(seated(decided(first, true)), Ruling::Ask, "another script")
        .then(["approval.canceled changed", "approval.requested"])
        .stands("awaiting_approval");
    assert_ne!(pending(&story), id);
    let story = story.when(decide(&id, true)).refused(&Refusal::NotPending(id));
    admitted(seated(decided(story, true)), Ruling::Ask, "another script").then(["tool.started exec"]);
}

/// B-GATE-2
#[test]
fn the_name_of_a_request_is_stable_over_crashes() {
    let id = pending(&asking());
    let story = thinking(interactive())
        .when_bare(thought(1, calls([push()])))
        .when_the_server_crashes();
    assert_eq!(pending(&admitted(story, Ruling::Ask, "")), id);
}

/// B-GATE-5
#[test]
fn a_denial_reaches_the_brain_as_a_tool_error_and_the_turn_goes_on() {
    let story = seated(decided(asking(), false)).then([
        "sandbox.ready",
        "tool.started exec",
        "tool.failed approval_denied",
        "model.started",
    ]);
    story.owes(["think"]);
}

/// B-GATE-5
#[test]
fn waiting_lasts_for_days_and_costs_nothing() {
    let days = 30 * 24 * 60 * 60 * 1000;
    let story = asking().at(days);
    assert_eq!(Session::due(&story.world.state), None);
    let story = story
        .when(Command::Alarm)
        .then_nothing()
        .stands("awaiting_approval");
    let spent = story.world.state.usage;
    let story = admitted(seated(decided(story, true)), Ruling::Ask, "").then(["tool.started exec"]);
    assert_eq!(story.world.state.usage, spent);
}

/// B-GATE-5
#[test]
fn a_request_that_runs_out_counts_as_denied() {
    let limits = Limits {
        approval_ms: 60_000,
        ..Limits::default()
    };
    let story = thinking(limited(interactive(), limits))
        .gated(Ruling::Ask)
        .when(thought(1, calls([push()])));
    assert_eq!(Session::standing(&story.world.state), Standing::Until(61_000));
    let story = story.at(59_999).when(Command::Alarm).then_nothing();
    let story = story.at(60_000).when(Command::Alarm).then(["approval.expired"]);
    let id = pending(&story);
    let story = story.when(decide(&id, true)).refused(&Refusal::NotPending(id));
    seated(story).then([
        "sandbox.ready",
        "tool.started exec",
        "tool.failed approval_expired",
        "model.started",
    ]);
}

/// Section 3 of the contract: an interrupt ends the wait, and the session queues for its place again.
#[test]
fn an_interrupt_makes_the_request_void() {
    let story = asking();
    let id = pending(&story);
    let story = story
        .when(send("never mind", SendMode::Interrupt))
        .then([
            "user.message",
            "session.stop_requested interrupt",
            "approval.canceled interrupt",
        ])
        .stands("stopping")
        .when(gone())
        .then(["turn.completed interrupted"])
        .stands("queued");
    let story = story.when(decide(&id, true)).refused(&Refusal::NotPending(id));
    seated(story).then(["sandbox.ready", "turn.started input 9 9", "model.started"]);
}

#[test]
fn a_cancel_makes_the_request_void() {
    asking()
        .when(cancel())
        .then(["session.stop_requested cancel", "approval.canceled cancel"])
        .when(gone())
        .then(["turn.completed canceled", "session.canceled"]);
}

#[test]
fn a_message_is_kept_and_does_not_end_the_wait() {
    let story = asking()
        .when(send("by the way", SendMode::Steer))
        .then(["user.message"])
        .stands("awaiting_approval");
    let story = admitted(seated(decided(story, true)), Ruling::Ask, "");
    story
        .settles(exited("pushed"))
        .then(["command.run", "turn.steered 9", "model.started"]);
}

#[test]
fn a_pause_keeps_the_request_and_a_resume_waits_on() {
    let story = asking()
        .when(pause())
        .then(["session.pause_requested requested", "session.paused requested"])
        .when(send("hello", SendMode::Steer))
        .when(resume())
        .stands("awaiting_approval");
    let story = decided(story.when(pause()).stands("paused"), true)
        .then(["approval.decided approve"])
        .stands("paused")
        .when(resume());
    admitted(seated(story), Ruling::Ask, "").then(["tool.started exec"]);
}

#[test]
fn an_interrupt_during_a_pause_makes_the_request_void() {
    let story = asking()
        .when(pause())
        .when(send("never mind", SendMode::Interrupt))
        .then(["user.message", "approval.canceled interrupt"])
        .when(resume());
    seated(story).then([
        "sandbox.ready",
        "turn.completed interrupted",
        "turn.started input 11 11",
        "model.started",
    ]);
}

#[test]
fn the_rest_of_a_plan_waits_with_its_first_act() {
    let story = thinking(bounded())
        .gated(Ruling::Ask)
        .when(thought(1, calls([push(), exec("make")])))
        .then(["model.completed", "approval.requested"]);
    admitted(seated(decided(story, true)), Ruling::Ask, "")
        .gated(Ruling::Allow)
        .settles(exited("pushed"))
        .then(["command.run", "tool.started exec"]);
}

/// B-GATE-3
#[test]
fn a_decision_needs_a_human_and_grounds() {
    let story = asking();
    let id = pending(&story);
    let says = |by: Actor, evidence: String| Command::Decide {
        by,
        id: id.clone(),
        decision: ApprovalDecision::Approve,
        evidence,
    };
    let human = || Actor::human("local");
    let story = story
        .when(says(Actor::AGENT, "trust me".into()))
        .refused(&Refusal::NotHuman);
    let story = story.when(says(human(), " \n".into())).refused_as_invalid();
    let story = story
        .when(says(human(), "x".repeat(EVIDENCE_LIMIT + 1)))
        .refused_as_too_large();
    let story = story
        .when(says(human(), "read it".into()))
        .then(["approval.decided approve"]);
    story
        .when(says(human(), "read it".into()))
        .refused(&Refusal::NotPending(id.clone()));
}

#[test]
fn nobody_decides_on_what_was_not_asked() {
    acting(interactive())
        .when(decide("ap_other", true))
        .refused(&Refusal::NotPending("ap_other".into()));
}
