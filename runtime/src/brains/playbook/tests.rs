//! The playbook as its author meets it: what is answered, given what happened; and what is said of a text with an error.

use std::collections::HashMap;

use longhaul_actors::ports::Brain;
use longhaul_actors::session::{BrainSpec, SendMode, StuckEvidence, TurnEnd, TurnStuck, Verdict};
use longhaul_journal::{Journal, MemoryJournal, Seq};

use super::*;
use crate::brains::PinnedPlaybooks;
use crate::brains::conformance::Subject;
use crate::brains::stage::{Stage, brief, command, exited, failed, unknown};

/// Texts by a name that stands for their hash.
struct Texts(HashMap<String, String>);

impl PlaybookSource for Texts {
    fn load(&self, sha256: &str) -> Result<String, SourceError> {
        let text = self.0.get(sha256).cloned();
        text.ok_or_else(|| SourceError::Gone(format!("there is no blob {sha256}")))
    }
}

fn brain(text: &str) -> PlaybookBrain {
    PlaybookBrain::new(Texts(HashMap::from([("abc".into(), text.into())])))
}

fn spec() -> BrainSpec {
    BrainSpec {
        kind: "playbook".into(),
        name: "play.toml".into(),
        sha256: Some("abc".into()),
        args: Vec::new(),
    }
}

/// The part of the conformance suite, as a playbook.
pub(in crate::brains) struct Part;

impl Subject for Part {
    fn fresh(&self) -> Box<dyn Brain> {
        let handler = "[[on_message]]\ncontains = 'changelog'\n[[on_message.step]]\nwrite = 'CHANGELOG'\ncontent = 'new'\n";
        Box::new(brain(&format!(
            "[[step]]\nrun = 'one'\n[[step]]\nrun = 'two'\n{handler}"
        )))
    }

    fn spec(&self) -> BrainSpec {
        spec()
    }
}

/// One thing that happens, or the answer that must come now.
enum Scene {
    Answer(&'static str),
    /// The answer begins so; for long texts.
    Begins(&'static str),
    Exit(i32, &'static str),
    Verdict(Verdict),
    Failed(Option<&'static str>),
    Unknown,
    /// Settled from outside before it began.
    Unbegun,
    Message(&'static str),
    Queued(&'static str),
    Turn,
    EndTurn(TurnEnd),
    Looped,
}
use Scene::*;

/// Plays scenes. Each answer must also come from a brain that has seen none of the earlier calls.
fn play(text: &str, scenes: impl IntoIterator<Item = Scene>) {
    runtime().block_on(async {
        let (kept, mut stage) = (brain(text), Stage::new(spec(), "the goal"));
        for (number, scene) in scenes.into_iter().enumerate() {
            match scene {
                Answer(_) | Begins(_) => {
                    let fresh = brain(text).next(stage.call()).await;
                    let answer = stage.ask(&kept).await;
                    assert_eq!(
                        fresh, answer,
                        "scene {number}: a fold from scratch answers the same"
                    );
                    let told =
                        answer.map_or_else(|failure| format!("failure {failure}"), |answer| brief(&answer));
                    match scene {
                        Begins(start) => assert!(told.starts_with(start), "scene {number}: {told}"),
                        Answer(whole) => assert_eq!(told, whole, "scene {number}"),
                        _ => unreachable!("matched above"),
                    }
                }
                Exit(code, stdout) => stage.settle(exited(code, stdout)),
                Verdict(verdict) => stage.settle(command(verdict, "")),
                Failed(by) => stage.settle(failed("it went wrong", by)),
                Unbegun => stage.write([failed("it never began", Some("interrupt"))(99)]),
                Unknown => stage.settle(unknown("the machine was restarted")),
                Message(text) => stage.hear(text, SendMode::Steer),
                Queued(text) => stage.hear(text, SendMode::Queue),
                Turn => stage.begin_turn(),
                EndTurn(reason) => stage.end_turn(reason),
                Looped => {
                    let (digest, times) = (String::new(), 5);
                    let evidence = StuckEvidence::Loop { digest, times };
                    stage.write([TurnStuck { evidence }.into()]);
                }
            }
        }
    });
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime without drivers")
}

fn problem(text: &str) -> String {
    Playbook::parse("play.toml", text)
        .expect_err("it has an error")
        .to_string()
}

#[test]
fn steps_follow_each_other_and_the_end_is_a_finish() {
    play(
        "[[step]]\nsay = 'hi'\n[[step]]\nrun = 'make test'\n[[step]]\nread = 'README'\n",
        [
            Answer("say hi | exec make test"),
            Exit(0, "ok"),
            Answer("read README"),
            Failed(None),
            Begins("fail step 3 (line 5) failed: read README: not_found: it went wrong"),
        ],
    );
    play(
        "[[step]]\nrun = 'true'\n",
        [
            Answer("exec true"),
            Exit(0, ""),
            Answer("finish the playbook is done: 1 step"),
        ],
    );
}

#[test]
fn a_failing_step_fails_the_run_and_says_why() {
    play(
        "[[step]]\nname = 'test'\nrun = 'make test'\n",
        [
            Answer("exec make test"),
            Exit(2, "1 test FAILED"),
            Answer(
                "fail step 1 `test` (line 1) failed: make test: it ended with exit code 2; the end of what it said:\n1 test FAILED",
            ),
        ],
    );
}

#[test]
fn an_outcome_chooses_the_branch() {
    let text = "
        [[step]]
        name = 'test'
        run = 'make test'
        on_success = 'keep'
        on_failure = 'next'
        [[step]]
        expect = { stdout_contains = 'off by one' }
        [[step]]
        replace = 'a.sh'
        old = '<='
        new = '<'
        on_success = 'test'
        [[step]]
        name = 'keep'
        patch = true
    ";
    play(
        text,
        [
            Answer("exec make test"),
            Exit(1, "off by one"),
            Answer("edit a.sh"),
            Exit(0, ""),
            Answer("exec make test"),
            Exit(0, ""),
            Answer("patch"),
        ],
    );
    play(
        text,
        [
            Answer("exec make test"),
            Exit(1, "no compiler"),
            Begins("fail step 2 (line 7) failed: its stdout"),
        ],
    );
}

#[test]
fn repeats_are_bounded() {
    let text = "[[step]]\nname = 'a'\nrun = 'x'\nat_most = 2\non_success = 'a'\n";
    let twice = [
        Answer("exec x"),
        Exit(0, ""),
        Answer("exec x"),
        Exit(0, ""),
        Begins("fail step 1 `a` (line 1) was come to 3"),
    ];
    play(text, twice);
    let text = "[[step]]\nrun = 'x'\nretry = 1\n";
    play(
        text,
        [
            Answer("exec x"),
            Exit(1, ""),
            Answer("exec x"),
            Exit(1, ""),
            Begins("fail step 1 (line 1) failed: x"),
        ],
    );
    play(
        "[[step]]\nname = 'a'\nsay = 'x'\non_success = 'a'\n",
        [Begins("say x\n\nx\n\nx")],
    );
}

const CHANGELOG: &str = "
    [[step]]
    run = 'one'
    [[step]]
    expect = { contains = 'ok' }
    [[step]]
    run = 'two'
    [[on_message]]
    contains = 'Changelog'
    [[on_message.step]]
    write = 'CHANGELOG'
    content = 'new'
    [[on_message.step]]
    say = 'bumped'
";

#[test]
fn a_message_puts_its_steps_in_once() {
    let steered = [
        Answer("exec one"),
        Message("also bump the changelog"),
        Exit(0, "ok"),
        Answer("write CHANGELOG"),
        Exit(0, "not what the step below judges"),
        Answer("say bumped | exec two"),
        Message("the changelog, please"),
        Exit(0, ""),
        Begins("say Already done: \"the changelog, please\" | finish"),
    ];
    play(CHANGELOG, steered);
}

#[test]
fn a_message_that_fits_nothing_is_answered_once() {
    let scenes = [
        Answer("exec one"),
        Message("are you there?"),
        Exit(0, "ok"),
        Answer(
            "say Noted, but this playbook has no [[on_message]] for \"are you there?\"; it goes on as written. | exec two",
        ),
        Exit(0, ""),
        Answer("finish the playbook is done: 3 steps"),
    ];
    play(CHANGELOG, scenes);
}

/// B-STEER-2
#[test]
fn a_message_outside_the_window_is_left_for_the_next_call() {
    runtime().block_on(async {
        let (brain, mut stage) = (brain(CHANGELOG), Stage::new(spec(), "the goal"));
        let call = stage.begin();
        stage.hear("bump the changelog", SendMode::Steer);
        let answer = brain.next(call).await;
        assert_eq!(answer.as_ref().map(brief), Ok("exec one".into()));
        stage.complete(&answer);
        stage.settle(exited(0, "ok"));
        let answer = stage.ask(&brain).await;
        assert_eq!(answer.as_ref().map(brief), Ok("write CHANGELOG".into()));
    });
}

/// B-STEER-1
#[test]
fn a_queued_message_is_seen_in_the_next_turn() {
    let text = "
        [[step]]
        run = 'one'
        [[step]]
        yield = true
        [[on_message]]
        contains = 'more'
        [[on_message.step]]
        run = 'more'
    ";
    let scenes = [
        Answer("exec one"),
        Queued("more"),
        Exit(0, ""),
        Answer("yield"),
        Turn,
        Answer("exec more"),
    ];
    play(text, scenes);
}

#[test]
fn a_question_takes_what_is_said_after_it() {
    let text = "
        [[step]]
        name = 'ask'
        ask = 'Deploy?'
        expect = { contains = 'yes' }
        on_failure = 'no'
        [[step]]
        run = 'deploy'
        [[step]]
        name = 'no'
        finish = 'left alone'
    ";
    play(
        text,
        [
            Answer("ask Deploy?"),
            Message("yes, go"),
            Turn,
            Answer("exec deploy"),
        ],
    );
    play(
        text,
        [
            Answer("ask Deploy?"),
            Message("no"),
            Turn,
            Answer("finish left alone"),
            Turn,
            Answer("finish left alone"),
        ],
    );
}

/// B-CRASH-3: what cannot be known is told and asked about, never silently done again.
#[test]
fn a_step_in_doubt_asks_the_human() {
    let text = "[[step]]\nrun = 'deploy'\n[[step]]\nrun = 'check'\n";
    let asked = "ask step 1 (line 1) (deploy) is in doubt: the machine was restarted. Look";
    play(
        text,
        [
            Answer("exec deploy"),
            Unknown,
            Begins(asked),
            Message("Repeat."),
            Turn,
            Answer("exec deploy"),
        ],
    );
    play(
        text,
        [
            Answer("exec deploy"),
            Unknown,
            Begins(asked),
            Message("continue"),
            Turn,
            Answer("exec check"),
        ],
    );
    play(
        text,
        [
            Answer("exec deploy"),
            Unknown,
            Begins(asked),
            Message("stop"),
            Turn,
            Begins("fail step 1 (line 1) was given up"),
        ],
    );
    play(
        text,
        [
            Answer("exec deploy"),
            Unknown,
            Begins(asked),
            Message("hm"),
            Turn,
            Begins("say Noted, but"),
            Message("continue"),
            Turn,
            Answer("exec check"),
        ],
    );
}

#[test]
fn a_step_in_doubt_does_what_it_says_itself() {
    let repeat = "[[step]]\nrun = 'x'\non_unknown = 'repeat'\n";
    play(repeat, [Answer("exec x"), Unknown, Answer("exec x")]);
    let go_on = "[[step]]\nrun = 'x'\non_unknown = 'continue'\n";
    play(go_on, [Answer("exec x"), Unknown, Begins("finish")]);
    let harmless = "[[step]]\nread = 'x'\n";
    play(harmless, [Answer("read x"), Unknown, Answer("read x")]);
}

#[test]
fn an_interrupted_act_is_in_doubt_and_one_that_never_began_is_done() {
    let text = "[[step]]\nrun = 'deploy'\n";
    let cut = |how| {
        [
            Answer("exec deploy"),
            Message("wait"),
            how,
            EndTurn(TurnEnd::Interrupted),
            Turn,
            Begins("say Noted, but"),
        ]
    };
    play(text, cut(Verdict(Verdict::Canceled)));
    play(text, cut(Failed(Some("interrupt"))));
    play(
        text,
        [
            Answer("exec deploy"),
            Unbegun,
            EndTurn(TurnEnd::Interrupted),
            Turn,
            Answer("exec deploy"),
        ],
    );
    play(
        text,
        [
            Answer("exec deploy"),
            EndTurn(TurnEnd::Interrupted),
            Turn,
            Answer("exec deploy"),
        ],
    );
}

/// B-STUCK-2: told of a loop, a playbook asks the human; and takes the reply to the runtime's own question too.
#[test]
fn a_loop_is_not_gone_on_with_without_a_human() {
    let text = "[[step]]\nrun = 'poll'\nretry = 9\n[[step]]\nrun = 'on'\n";
    let asked = "ask step 1 (line 1) (poll) is in doubt: the same act";
    let told = |word| {
        [
            Answer("exec poll"),
            Exit(1, ""),
            Looped,
            Begins(asked),
            Message(word),
            Turn,
        ]
    };
    play(text, told("continue").into_iter().chain([Answer("exec on")]));
    let second_rung = [
        Answer("exec poll"),
        Exit(1, ""),
        Looped,
        EndTurn(TurnEnd::Stuck),
        Message("continue"),
        Turn,
        Answer("exec on"),
    ];
    play(text, told("repeat").into_iter().chain(second_rung));
    let text = "[[step]]\nrun = 'poll'\n[[step]]\nrun = 'on'\n";
    let moved_on = [Answer("exec poll"), Exit(0, ""), Looped, Answer("exec on")];
    play(text, moved_on);
}

#[test]
fn a_call_without_an_answer_is_not_counted() {
    runtime().block_on(async {
        let (brain, mut stage) = (brain("[[step]]\nrun = 'one'\n"), Stage::new(spec(), "the goal"));
        let _ = stage.begin();
        stage.complete(&Err(BrainFailure::TimedOut(1)));
        assert_eq!(stage.ask(&brain).await.as_ref().map(brief), Ok("exec one".into()));
    });
}

#[test]
fn the_log_of_another_playbook_is_not_guessed_at() {
    runtime().block_on(async {
        let mut stage = Stage::new(spec(), "the goal");
        stage
            .ask(&brain("[[step]]\nrun = 'one'\n"))
            .await
            .expect("an answer");
        stage.settle(exited(0, ""));
        let other = brain("[[step]]\nread = 'one'\n").next(stage.call()).await;
        let Err(BrainFailure::Gone(why)) = other else {
            panic!("{other:?}")
        };
        assert!(
            why.contains("a call of exec") && why.contains("a call of read"),
            "{why}"
        );
    });
}

#[test]
fn a_pinned_playbook_comes_from_the_blobs() {
    let journal = Arc::new(MemoryJournal::new());
    let stored = journal
        .blobs()
        .put(&mut &b"[[step]]\nsay = 'hi'\n"[..])
        .expect("stored");
    let source = PinnedPlaybooks(journal);
    assert_eq!(
        source.load(&stored.id.to_string()),
        Ok("[[step]]\nsay = 'hi'\n".into())
    );
    for absent in ["", "abc", &"0".repeat(64)] {
        assert!(
            matches!(source.load(absent), Err(SourceError::Gone(_))),
            "{absent}"
        );
    }
}

#[test]
fn a_playbook_that_is_gone_says_so() {
    runtime().block_on(async {
        let brain = PlaybookBrain::new(Texts(HashMap::new()));
        let stage = Stage::new(spec(), "the goal");
        let answer = brain.next(stage.call()).await;
        let why = "playbook play.toml: there is no blob abc".into();
        assert_eq!(answer, Err(BrainFailure::Gone(why)));
    });
}

/// Whatever happens, in whatever order: a fold kept from call to call and a fold from scratch answer the same.
#[test]
fn a_kept_fold_changes_no_answer() {
    let text = format!(
        "{CHANGELOG}
        [[step]]
        name = 'three'
        run = 'three'
        retry = 2
        on_failure = 'ask'
        [[step]]
        yield = true
        [[step]]
        name = 'ask'
        ask = 'again?'
        expect = {{ contains = 'yes' }}
        on_success = 'three'
        on_failure = 'next'
    "
    )
    .replace(
        "    [[on_message]]",
        "[[on_message]]\ncontains = 'never'\n[[on_message.step]]\nsay = 'x'\n[[on_message]]",
    );
    let steps = text
        .find("        [[step]]\n        name = 'three'")
        .expect("it is there");
    let text = format!("{}{}", &text[steps..], &text[..steps]);
    for seed in 1..=100_u64 {
        println!("seed {seed}");
        let mut random = Random(seed);
        runtime().block_on(async {
            let (kept, mut stage) = (brain(&text), Stage::new(spec(), "the goal"));
            for _ in 0..30 {
                match random.below(9) {
                    0 => stage.hear("bump the changelog", SendMode::Steer),
                    1 => stage.hear("yes, repeat", SendMode::Queue),
                    2 => stage.settle(exited(1, "ok")),
                    3 => stage.settle(unknown("?")),
                    4 => {
                        stage.end_turn(TurnEnd::Interrupted);
                        stage.begin_turn();
                    }
                    5 => stage.hear("repeat", SendMode::Interrupt),
                    6 => {
                        let _ = stage.begin();
                        stage.complete(&Err(BrainFailure::TimedOut(1)));
                    }
                    _ => stage.settle(exited(0, "ok")),
                }
                if random.below(3) > 0 {
                    let call = stage.begin();
                    if random.below(3) == 0 {
                        stage.hear("yes", SendMode::Steer);
                    }
                    let scratch = brain(&text).next(call.clone()).await;
                    let answer = kept.next(call).await;
                    assert_eq!(scratch, answer);
                    assert!(answer.is_ok(), "{answer:?}");
                    stage.complete(&answer);
                }
                if random.below(10) == 0 {
                    kept.release(stage.session).await;
                }
            }
            let early = stage.call_up_to(Seq(stage.head().0 / 2));
            assert_eq!(
                brain(&text).next(early.clone()).await,
                kept.next(early).await,
                "an earlier window"
            );
        });
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

#[test]
fn an_error_names_file_line_and_what_to_write_instead() {
    for (text, told) in [
        (
            "",
            "play.toml:1: there is no [[step]] here, so a run would end at once; write at least",
        ),
        (
            "[[steps]]\nrun = 'x'\n",
            "play.toml:1: unknown field `steps`, expected `step` or `on_message`; did you mean `step`?",
        ),
        (
            "[[step]]\nrun = 'x'\n\n[[step]]\nrunn = 'x'\n",
            "play.toml:5: unknown field `runn`, expected one of `name`, `say`, `run`",
        ),
        ("[[step]]\nrunn = 'x'\n", "did you mean `run`?"),
        ("[[step]]\nrun = 'x\n", "play.toml:2: "),
        ("[[step]]\nrun = 5\n", "play.toml:2: "),
        (
            "[[step]]\nname = 'x'\n",
            "play.toml:1: this step does nothing; give it one of run, say",
        ),
        (
            "[[step]]\nrun = 'x'\nsay = 'y'\n",
            "play.toml:3: a step does one thing, and this one has `run` and `say`",
        ),
        (
            "[[step]]\nrun = 'x'\non_failure = 'tset'\n[[step]]\nname = 'test'\nsay = 'x'\n",
            "play.toml:3: there is no step named `tset` here; did you mean `test`?",
        ),
        (
            "[[step]]\nname = 'a'\nsay = 'x'\n[[step]]\nname = 'a'\nsay = 'x'\n",
            "play.toml:5: there is already a step named `a`",
        ),
        (
            "[[step]]\nname = 'next'\nsay = 'x'\n",
            "play.toml:2: `next` cannot name a step",
        ),
        (
            "[[step]]\nrun = 'x'\ntimeout = '5 minutes'\n",
            "play.toml:3: `5 minutes` is not a length of time; write it like \"90s\"",
        ),
        (
            "[[step]]\nread = 'x'\ntimeout = '5m'\n",
            "play.toml:3: `timeout` goes with `run`, not with `read`",
        ),
        (
            "[[step]]\nwrite = 'x'\n",
            "play.toml:2: `write` needs `content` beside it",
        ),
        (
            "[[step]]\nartifact = 'x'\nkind = 'poem'\n",
            "play.toml:2: an artifact is one of report, research_note",
        ),
        (
            "[[step]]\nsay = 'x'\nretry = 1\n",
            "play.toml:3: `retry` goes with `run`, `read`, `write`, `replace`, `list`, `artifact`, `patch`, `service`, not with `say`; take it out",
        ),
        (
            "[[step]]\nservice = 'web'\n",
            "play.toml:2: `service` needs one of `start = \"COMMAND\"`, `logs = true`, `stop = true` beside it",
        ),
        (
            "[[step]]\nservice = 'web'\nlogs = true\nstop = true\n",
            "play.toml:2: `service` needs one of",
        ),
        (
            "[[step]]\nservice = 'Web'\nstop = true\n",
            "play.toml:2: the name of a service is 1 to 32 lower-case letters",
        ),
        (
            "[[step]]\nservice = 'web'\nstop = true\ncwd = 'x'\n",
            "play.toml:4: this goes with `start`, not with `stop`; take it out",
        ),
        (
            "[[step]]\nservice = 'web'\nstart = ''\n",
            "play.toml:3: `start` is empty",
        ),
        (
            "[[step]]\npatch = false\n",
            "play.toml:2: write `patch = true`, or take the step out",
        ),
        (
            "[[step]]\nrun = 'x'\nexpect = { exit = 'bad' }\n",
            "play.toml:3: `bad` is no exit code",
        ),
        (
            "[[step]]\nrun = 'x'\nat_most = 0\n",
            "play.toml:3: `at_most = 0` would never be done",
        ),
        (
            "[[on_message]]\ncontains = 'x'\n",
            "play.toml:1: this [[on_message]] has no steps",
        ),
        (
            "[[on_message]]\ncontains = ' '\n[[on_message.step]]\nsay = 'x'\n",
            "play.toml:2: `contains` is empty",
        ),
    ] {
        let problem = problem(text);
        assert!(problem.contains(told), "{text}\nsays: {problem}\nnot: {told}");
    }
}
