//! Programs that go on beside the steps: which of them run, who watches over them, and what ends them.

use longhaul_actors::ports::BrainFailure;
use longhaul_actors::session::{
    AnswerEnd, Command, DeniedEgress, Effect, Isolation, PauseReason, SERVICES_LIMIT, SendMode, ServiceEnd,
    Start, ToolCall, ToolOutcome,
};
use serde_json::json;

use crate::story::{
    Story, bounded, calls, cancel, ends, exec, exited, finishes, gone, human, interactive, resume, send,
    thinking,
};

fn service(action: &str, name: &str) -> ToolCall {
    let mut args = json!({ "action": action, "name": name });
    if action == "start" {
        args["command"] = json!("serve");
    }
    ToolCall {
        tool: "service".into(),
        args,
    }
}

fn started(name: &str) -> ToolOutcome {
    ToolOutcome::ServiceStarted {
        name: name.into(),
        active_ms: 5,
    }
}

/// The service that was started as this step has ended.
fn ended(step: u64) -> Command {
    Command::ServiceEnded {
        step,
        end: ServiceEnd::default(),
    }
}

/// A session whose service `web`, step 2, runs, and whose brain has been asked again: step 3 is open.
fn serving(start: Start) -> Story {
    thinking(start)
        .answers(calls([service("start", "web")]))
        .settles(started("web"))
}

fn pause(now: bool) -> Command {
    Command::Pause {
        by: human(),
        reason: PauseReason::Requested,
        now,
    }
}

/// B-HANDS-5
#[test]
fn a_service_goes_on_beside_the_steps_and_is_watched() {
    serving(interactive())
        .then(["service.started web", "tool.completed", "model.started"])
        .owes(["think", "watchservice"])
        .answers(calls([exec("curl localhost:8000")]))
        .owes(["act", "watchservice"])
        .settles(exited("hello"))
        .answers(ends(AnswerEnd::Yield))
        .stands("idle")
        .owes(["watchservice"]);
}

/// B-HANDS-5
#[test]
fn a_command_beside_a_service_is_told_which() {
    let story = serving(interactive()).answers(calls([exec("curl localhost:8000")]));
    let owed = story.world.owed();
    assert!(matches!(&owed[0].effect, Effect::Act { around, .. } if around.service == Some(2)));
}

/// B-HANDS-5
#[test]
fn a_service_that_ends_by_itself_is_written_down() {
    serving(interactive())
        .when(ended(2))
        .then(["service.ended web itself"])
        .owes(["think"])
        .when(ended(2))
        .then_nothing();
}

/// B-HANDS-5
#[test]
fn a_service_that_the_brain_stops_has_one_end() {
    let stopping = || serving(interactive()).answers(calls([service("stop", "web")]));
    let stopped = ToolOutcome::ServiceStopped {
        service: 2,
        end: ServiceEnd::default(),
        active_ms: 5,
    };
    stopping()
        .settles(stopped.clone())
        .then(["service.ended web asked", "tool.completed", "model.started"]);
    // Its watch may see the end before the act has settled.
    stopping()
        .when(ended(2))
        .then(["service.ended web asked"])
        .settles(stopped)
        .then(["tool.completed", "model.started"]);
}

/// B-HANDS-5
#[test]
fn names_and_numbers_of_services_are_bounded() {
    let mut story = serving(interactive());
    story = story.answers(calls([service("start", "web")])).then([
        "model.completed",
        "tool.started service",
        "tool.failed service_exists",
        "model.started",
    ]);
    for n in 1..SERVICES_LIMIT {
        let name = format!("s{n}");
        story = story
            .answers(calls([service("start", &name)]))
            .settles(started(&name));
    }
    story
        .answers(calls([service("start", "more")]))
        .then([
            "model.completed",
            "tool.started service",
            "tool.failed too_many_services",
            "model.started",
        ])
        .answers(calls([service("logs", "nobody")]))
        .then([
            "model.completed",
            "tool.started service",
            "tool.failed no_such_service",
            "model.started",
        ])
        .answers(calls([service("start", "No Name")]))
        .then([
            "model.completed",
            "tool.started service",
            "tool.failed invalid_arguments",
            "model.started",
        ]);
}

/// B-HANDS-5
#[test]
fn a_session_hibernates_once_its_services_have_ended() {
    let idle = serving(interactive())
        .answers(ends(AnswerEnd::Yield))
        .stands("idle");
    let since = idle.world.state.phase_since_ms - 1_000;
    idle.at(since + 179_999)
        .when(Command::Alarm)
        .then_nothing()
        .at(since + 180_000)
        .when(Command::Alarm)
        .then(["service.stop_requested web idle"])
        .stands("idle")
        .owes(["watchservice", "endservice"])
        .when(Command::Alarm)
        .then_nothing()
        .when(ended(2))
        .then(["service.ended web idle"])
        .owes([])
        .when(Command::Alarm)
        .then(["session.hibernated"]);
}

/// B-HANDS-5, B-IDLE-1: a question may stay open for days, a service may not.
#[test]
fn a_session_that_waits_for_a_human_ends_its_services_in_time() {
    let asked = AnswerEnd::Ask { text: "well?".into() };
    let story = serving(interactive())
        .answers(ends(asked))
        .stands("awaiting_input");
    let since = story.world.state.phase_since_ms - 1_000;
    story
        .at(since + 180_000)
        .when(Command::Alarm)
        .then(["service.stop_requested web idle"])
        .when(ended(2))
        .then(["service.ended web idle"])
        .stands("awaiting_input")
        .owes([]);
}

/// B-HANDS-5
#[test]
fn a_pause_comes_about_once_the_services_have_ended() {
    for now in [false, true] {
        let paused = serving(interactive())
            .answers(ends(AnswerEnd::Yield))
            .when(pause(now))
            .then([
                "session.pause_requested requested",
                "service.stop_requested web paused",
            ]);
        paused
            .when(ended(2))
            .then(["service.ended web paused", "session.paused requested"])
            .owes([]);
    }
}

/// B-HANDS-5
#[test]
fn a_pause_that_is_withdrawn_leaves_the_services_ending() {
    serving(interactive())
        .answers(ends(AnswerEnd::Yield))
        .when(pause(false))
        .when(resume())
        .then(["session.resumed 0"])
        .stands("idle")
        .when(ended(2))
        .then(["service.ended web paused"])
        .stands("idle");
}

/// B-HANDS-5
#[test]
fn a_run_completes_once_its_services_have_ended() {
    serving(bounded())
        .answers(finishes())
        .then(["model.completed", "service.stop_requested web ended"])
        .stands("running")
        .when(ended(2))
        .then([
            "service.ended web ended",
            "turn.completed finished",
            "session.completed success",
        ]);
}

/// B-HANDS-5
#[test]
fn a_message_during_the_end_of_the_services_is_not_lost() {
    serving(bounded())
        .answers(finishes())
        .when(send("one more thing", SendMode::Queue))
        .then([
            "user.message",
            "turn.completed yielded",
            "turn.started input 14 14",
            "model.started",
        ])
        .owes(["think", "watchservice", "endservice"]);
}

/// B-HANDS-5
#[test]
fn a_session_whose_brain_is_gone_fails_once_its_services_have_ended() {
    serving(bounded())
        .fails(BrainFailure::Gone("no file".into()))
        .then(["model.completed", "service.stop_requested web ended"])
        .when(ended(2))
        .then([
            "service.ended web ended",
            "turn.completed failed",
            "session.failed brain_gone",
        ]);
}

/// B-HANDS-5, B-STOP-1
#[test]
fn a_cancel_ends_the_services_with_everything_else() {
    serving(bounded())
        .when(cancel())
        .owes(["stop"])
        .when(gone())
        .then([
            "service.ended web canceled",
            "model.completed",
            "turn.completed canceled",
            "session.canceled",
        ]);
}

/// B-HANDS-5, B-CRASH-1
#[test]
fn a_service_is_watched_again_after_a_crash_of_the_server() {
    serving(interactive())
        .when_the_server_crashes()
        .owes(["think", "watchservice"])
        .answers(ends(AnswerEnd::Yield))
        .when_the_server_crashes()
        .then_nothing()
        .owes(["watchservice"]);
}

/// B-HANDS-3
#[test]
fn what_an_act_was_kept_from_stands_before_its_end() {
    let place = DeniedEgress {
        host: "evil.test".into(),
        port: 443,
        reason: "not_allowed".into(),
        times: 2,
    };
    let denied = ToolOutcome::Denied {
        denied: vec![place],
        then: Box::new(exited("")),
    };
    thinking(interactive())
        .answers(calls([exec("curl https://evil.test")]))
        .settles(denied)
        .then(["egress.denied evil.test 443 2", "command.run", "model.started"]);
}

/// B-HANDS-3: without walls the list holds nobody, and the record does not pretend that it does.
#[test]
fn the_record_says_what_commands_may_reach() {
    let ready = |given_network: &str, network: &[&str]| {
        let start = Start {
            network: network.iter().map(ToString::to_string).collect(),
            ..interactive()
        };
        let isolation = Isolation {
            network: Some(given_network.into()),
            ..Isolation::default()
        };
        let story = crate::story::given(start)
            .when(Command::SlotGranted)
            .when(Command::Prepared {
                result: Ok(isolation),
            });
        let ready = &story.world.records[3];
        assert_eq!(ready.event.type_name, "sandbox.ready");
        let payload: serde_json::Value = serde_json::from_slice(&ready.event.payload).expect("JSON");
        payload["data"]["isolation"]["network"]
            .as_str()
            .expect("a word")
            .to_owned()
    };
    assert_eq!(ready("host", &["a.test:443"]), "host");
    assert_eq!(ready("none", &["a.test:443"]), "listed");
    assert_eq!(ready("none", &[]), "none");
}
