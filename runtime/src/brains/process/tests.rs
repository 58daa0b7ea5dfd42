//! Programs that behave, and programs that do not: each hostile one ends with its reason and leaves no process.
//!
//! All of them are POSIX sh, so that the suite runs on a bare machine.

use std::path::{Path, PathBuf};
use std::time::Duration;

use longhaul_actors::ports::{Brain, BrainFailure};
use longhaul_actors::session::{Answer, AnswerEnd, BrainSpec, SendMode};
use tempfile::TempDir;

use super::*;
use crate::brains::conformance::Subject;
use crate::brains::stage::{Stage, brief, exited};

/// Reads the question; sets `step` to its number and adds the line to `history`.
const ASKED: &str = r#"
    history=
    asked() {
        while IFS= read -r line; do
            history="$history$line"
            case $line in
            '{"type":"next"'*) step=$(printf '%s' "$line" | sed 's/^{"type":"next","step":\([0-9]*\),.*/\1/'); return 0 ;;
            esac
        done
        exit 0
    }
    say() { printf '{"type":"answer","step":%s,"say":"%s"}\n' "$step" "$1"; }
"#;

/// The part of the conformance suite: everything it knows it finds in the records.
const PART: &str = r#"
    while asked; do
        commands=$(printf '%s\n' "$history" | awk '{n += gsub(/"type":"command.run"/, "")} END {print n}')
        call='{"tool":"exec","args":{"command":"one"}}'
        case $history in
        *'"tool":"write"'*) wish=granted ;;
        *'"text":"also bump the changelog"'*) wish=open ;;
        *) wish=none ;;
        esac
        [ $wish = granted ] && commands=$((commands - 1))
        if [ $wish = open ]; then call='{"tool":"write","args":{"path":"CHANGELOG","content":"new"}}'
        elif [ $commands = 1 ]; then call='{"tool":"exec","args":{"command":"two"}}'
        elif [ $commands -gt 1 ]; then
            printf '{"type":"answer","step":%s,"end":{"kind":"finish"}}\n' "$step"
            continue
        fi
        printf '{"type":"answer","step":%s,"calls":[%s]}\n' "$step" "$call"
    done
"#;

/// The part of the conformance suite, as a program.
pub(in crate::brains) struct Part(Program);

impl Part {
    pub(in crate::brains) fn new() -> Self {
        Self(Program::new(PART))
    }
}

impl Subject for Part {
    fn fresh(&self) -> Box<dyn Brain> {
        Box::new(brain())
    }

    fn spec(&self) -> BrainSpec {
        self.0.spec()
    }
}

/// A program in sh, in a folder of its own, which is its `$here`.
struct Program {
    folder: TempDir,
}

impl Program {
    fn new(body: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let script = format!("here={}\n{ASKED}\n{body}", folder.path().display());
        std::fs::write(folder.path().join("brain.sh"), script).expect("written");
        Self { folder }
    }

    fn spec(&self) -> BrainSpec {
        BrainSpec {
            kind: "process".into(),
            name: "/bin/sh".into(),
            sha256: None,
            args: vec![self.file("brain.sh").display().to_string()],
        }
    }

    fn stage(&self) -> Stage {
        Stage::new(self.spec(), "the goal")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.file(name)).unwrap_or_default()
    }
}

/// Bounds small enough to be met.
fn brain() -> ProcessBrain {
    let options = ProcessOptions {
        instance: "tests".into(),
        env: vec![("GREETING".into(), "hello".into())],
        start: Duration::from_secs(600),
        grace: Duration::from_millis(500),
        max_line_bytes: 4096,
        max_lines: 2500,
    };
    ProcessBrain::new(options)
}

/// Whether no process of the session's brain is left. Kills what it finds.
fn none_left(stage: &Stage) -> bool {
    leftovers::kill_of_session("tests", stage.session).is_empty()
}

fn said(answer: Result<Answer, BrainFailure>) -> String {
    brief(&answer.expect("an answer"))
}

/// Waits for a program to come to the point where it makes a file.
async fn made(file: &Path) {
    while !file.exists() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Abandons a call once the program has made `$here/there`, as a caller does whose time is up.
async fn abandon(brain: &ProcessBrain, stage: &Stage, program: &Program) {
    let there = program.file("there");
    tokio::select! {
        answer = brain.next(stage.call()) => panic!("it was to hang: {answer:?}"),
        () = made(&there) => {}
    }
}

#[tokio::test]
async fn a_child_is_greeted_once_and_then_told_only_news() {
    let program =
        Program::new("while asked; do printf '%s\\n' \"$history\" >$here/told; history=; say ok; done");
    let (brain, mut stage) = (brain(), program.stage());
    assert_eq!(said(stage.ask(&brain).await), "say ok");
    let first = program.text("told");
    assert!(
        first.contains(r#"{"type":"hello","protocol":1"#) && first.contains(r#""goal":"the goal""#),
        "{first}"
    );
    assert!(
        first.contains(r#""seq":1,"#) && first.contains(r#""windowTo":3"#),
        "{first}"
    );
    stage.hear("news", SendMode::Steer);
    stage.ask(&brain).await.expect("an answer");
    brain.release(stage.session).await;
    let second = program.text("told");
    assert!(
        !second.contains("hello") && !second.contains(r#""seq":3,"#),
        "{second}"
    );
    assert!(
        second.contains(r#""seq":4,"#) && second.contains("news"),
        "{second}"
    );
    assert!(none_left(&stage));
}

#[tokio::test]
async fn a_child_has_its_own_small_environment() {
    let program =
        Program::new("while asked; do say \"$(env | sed 's/=.*//' | sort | tr '\\n' ' ')$GREETING\"; done");
    let (brain, mut stage) = (brain(), program.stage());
    let names = said(stage.ask(&brain).await);
    assert!(
        names.contains("GREETING ") && names.contains("LONGHAUL_BRAIN ") && names.ends_with("hello"),
        "{names}"
    );
    assert!(
        !names.contains("CARGO"),
        "the tests run under cargo, whose variables must not get through: {names}"
    );
    brain.release(stage.session).await;
}

/// B-STUCK-1, B-CRASH-4: dies once, works the second time, and is told everything again.
#[tokio::test]
async fn a_child_that_crashes_is_replaced_and_told_everything() {
    let program = Program::new(
        "asked
        if [ -e $here/died ]; then printf '%s' \"$history\" >$here/told; say back; asked; fi
        : >$here/died; echo 'no more tokens' >&2; exit 3",
    );
    let (brain, mut stage) = (brain(), program.stage());
    let died = stage.ask(&brain).await.expect_err("it crashes");
    let BrainFailure::Died(why) = &died else {
        panic!("{died:?}")
    };
    assert!(
        why.contains("exit status: 3") && why.contains("no more tokens"),
        "{why}"
    );
    assert!(none_left(&stage));
    assert_eq!(said(stage.ask(&brain).await), "say back");
    let told = program.text("told");
    assert!(
        told.contains("hello") && told.contains(r#""seq":1,"#) && told.contains("the brain died"),
        "{told}"
    );
    brain.release(stage.session).await;
    assert!(none_left(&stage));
}

#[tokio::test]
async fn a_child_killed_from_outside_says_by_which_signal() {
    let program = Program::new("asked; kill -9 $$");
    let (brain, mut stage) = (brain(), program.stage());
    let died = stage.ask(&brain).await.expect_err("it is killed").to_string();
    assert!(died.contains("signal: 9"), "{died}");
}

/// B-STUCK-1: a program that sleeps before it reads its first line is not one that thinks.
#[tokio::test]
async fn a_child_that_never_begins_to_read_is_ended_and_replaced() {
    let program =
        Program::new("[ -e $here/there ] || { : >$here/there; sleep 1000; }; asked; say awake; asked");
    let mut options = brain().inner.options.clone();
    options.start = Duration::from_millis(300);
    let (brain, mut stage) = (ProcessBrain::new(options), program.stage());
    let died = stage.ask(&brain).await.expect_err("it never reads");
    assert_eq!(
        died,
        BrainFailure::Died("it did not begin to read within 300 ms".into())
    );
    assert!(none_left(&stage));
    // The next one may be slow to start on a busy machine, and is then replaced once more.
    let mut answer = stage.ask(&brain).await;
    while matches!(&answer, Err(BrainFailure::Died(why)) if why.contains("did not begin")) {
        answer = stage.ask(&brain).await;
    }
    assert_eq!(said(answer), "say awake");
    brain.release(stage.session).await;
}

/// B-STUCK-1: it has read, or it has said something, and so has begun; how long it thinks is another bound.
#[tokio::test]
async fn a_child_that_has_begun_may_think_for_longer_than_a_start_may_take() {
    let thinks = |body| async move {
        let program = Program::new(body);
        let mut options = brain().inner.options.clone();
        options.start = Duration::from_secs(2);
        let (brain, mut stage) = (ProcessBrain::new(options), program.stage());
        assert_eq!(said(stage.ask(&brain).await), "say thought", "{body}");
        brain.release(stage.session).await;
    };
    let reads = "asked; sleep 3; say thought; asked";
    let speaks = "echo '{\"type\":\"log\",\"text\":\"loading\"}'; sleep 3; asked; say thought; asked";
    tokio::join!(thinks(reads), thinks(speaks));
}

/// B-STUCK-1
#[tokio::test]
async fn a_child_that_hangs_is_gone_after_its_call_was_abandoned() {
    let program = Program::new("asked; : >$here/there; sleep 1000");
    let (brain, stage) = (brain(), program.stage());
    abandon(&brain, &stage, &program).await;
    brain.release(stage.session).await;
    assert!(none_left(&stage));
}

/// B-STUCK-1
#[tokio::test]
async fn a_child_that_ignores_sigterm_and_end_of_file_is_killed() {
    let program = Program::new("trap '' TERM; asked; : >$here/there; while :; do sleep 1000; done");
    let (brain, stage) = (brain(), program.stage());
    abandon(&brain, &stage, &program).await;
    brain.release(stage.session).await;
    assert!(none_left(&stage));
}

/// B-STUCK-1: the session takes the next message.
#[tokio::test]
async fn after_a_hang_the_next_call_meets_a_new_child() {
    let program =
        Program::new("asked; if [ -e $here/there ]; then say better; asked; fi; : >$here/there; sleep 1000");
    let (brain, mut stage) = (brain(), program.stage());
    abandon(&brain, &stage, &program).await;
    assert_eq!(said(stage.ask(&brain).await), "say better");
    brain.release(stage.session).await;
    assert!(none_left(&stage));
}

#[tokio::test]
async fn sigterm_comes_first_so_that_a_child_can_tidy_up() {
    let program = Program::new(
        "trap 'echo tidied >$here/tidied; exit' TERM; asked; : >$here/there; while :; do sleep 0.01; done",
    );
    let mut options = brain().inner.options.clone();
    options.grace = Duration::from_secs(600);
    let (brain, stage) = (ProcessBrain::new(options), program.stage());
    abandon(&brain, &stage, &program).await;
    brain.release(stage.session).await;
    assert_eq!(program.text("tidied"), "tidied\n");
}

#[tokio::test]
async fn what_a_dead_child_left_running_is_ended_too() {
    let program = Program::new("asked; (trap '' TERM; exec sleep 1000) & exit 1");
    let (brain, mut stage) = (brain(), program.stage());
    let died = stage.ask(&brain).await.expect_err("it exits").to_string();
    assert!(died.contains("exit status: 1"), "{died}");
    assert!(none_left(&stage));
}

#[tokio::test]
#[ignore = "needs setsid of util-linux"]
async fn what_left_the_group_is_found_by_its_mark() {
    let program = Program::new("asked; setsid sleep 1000 & say ok; asked");
    let (brain, mut stage) = (brain(), program.stage());
    assert_eq!(said(stage.ask(&brain).await), "say ok");
    brain.release(stage.session).await;
    assert!(none_left(&stage));
}

#[tokio::test]
async fn rubbish_is_shown_and_its_child_replaced() {
    let program = Program::new(
        "asked; [ -e $here/said ] && { say sorry; asked; }; : >$here/said; echo 'Segmentation fault'; sleep 1000",
    );
    let (brain, mut stage) = (brain(), program.stage());
    let rubbish = stage.ask(&brain).await.expect_err("rubbish");
    let BrainFailure::Rubbish(what) = &rubbish else {
        panic!("{rubbish:?}")
    };
    assert!(what.contains("Segmentation fault"), "{what}");
    assert!(none_left(&stage));
    assert_eq!(said(stage.ask(&brain).await), "say sorry");
    brain.release(stage.session).await;
}

#[tokio::test]
async fn a_flood_is_cut_off() {
    let endless = "asked; while :; do echo '{\"type\":\"log\",\"text\":\"x\"}'; done";
    let long = "asked; head -c 1000000 /dev/zero | tr '\\0' x; sleep 1000";
    for (body, told) in [
        (endless, "2500 lines without an answer to step 1"),
        (long, "a line of over 4096 bytes"),
    ] {
        let program = Program::new(body);
        let (brain, mut stage) = (brain(), program.stage());
        let flood = stage.ask(&brain).await.expect_err("a flood");
        assert_eq!(flood, BrainFailure::Rubbish(told.into()));
        assert!(none_left(&stage));
    }
}

#[tokio::test]
async fn answers_to_other_steps_and_log_lines_are_passed_over() {
    let program = Program::new(
        "while asked; do right=$step; step=0; say stale; echo; echo '{\"type\":\"log\",\"text\":\"thinking\"}'; step=$right; say fresh; done",
    );
    let (brain, mut stage) = (brain(), program.stage());
    assert_eq!(said(stage.ask(&brain).await), "say fresh");
    assert_eq!(said(stage.ask(&brain).await), "say fresh");
    brain.release(stage.session).await;
}

#[tokio::test]
async fn a_child_that_speaks_before_it_listens_does_not_block_both_ends() {
    // Both sides have more to say than a pipe holds (64 KiB).
    let text = "x".repeat(100);
    let program = Program::new(&format!(
        "i=0; while [ $i -lt 2000 ]; do echo '{{\"type\":\"log\",\"text\":\"{text}\"}}'; i=$((i + 1)); done; asked; say done; asked"
    ));
    let (brain, mut stage) = (brain(), program.stage());
    for _ in 0..1500 {
        stage.hear(&text, SendMode::Steer);
    }
    assert_eq!(said(stage.ask(&brain).await), "say done");
    brain.release(stage.session).await;
}

#[tokio::test]
async fn many_records_come_in_several_lines_and_none_is_missing() {
    let program = Program::new(
        "asked; say \"$(printf '%s' \"$history\" | awk '{n += gsub(/\"seq\":/, \"\")} END {print n}')\"; asked",
    );
    let (brain, mut stage) = (brain(), program.stage());
    for _ in 0..3000 {
        stage.hear("x", SendMode::Steer);
    }
    assert_eq!(said(stage.ask(&brain).await), format!("say {}", 3000 + 3));
    brain.release(stage.session).await;
}

#[tokio::test]
async fn a_program_that_is_gone_says_so() {
    let program = Program::new("");
    let spec = BrainSpec {
        name: program.file("no-such-program").display().to_string(),
        ..program.spec()
    };
    let mut stage = Stage::new(spec, "the goal");
    let gone = stage.ask(&brain()).await.expect_err("gone");
    assert!(
        matches!(&gone, BrainFailure::Gone(why) if why.contains("no-such-program")),
        "{gone:?}"
    );
}

#[test]
fn a_brain_dropped_after_its_runtime_takes_its_whole_group_along() {
    // Without a runtime nobody can wait for a grace time, so what ignores SIGTERM must not get one.
    let program = Program::new("trap '' TERM; asked; sleep 1000 & echo $! >$here/sleeper; say ok; wait");
    let (brain, mut stage) = (brain(), program.stage());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    assert_eq!(said(runtime.block_on(stage.ask(&brain))), "say ok");
    drop(runtime);
    drop(brain);
    // SIGKILL was sent; when the system has seen to it, the environment of the process can no longer be read.
    let environment = format!("/proc/{}/environ", program.text("sleeper").trim());
    while std::fs::read(&environment).is_ok_and(|environment| !environment.is_empty()) {
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn leftovers_of_this_instance_are_killed_and_no_others() {
    let mark = |instance| format!("{instance}-{}", std::process::id());
    let sleeper = |instance: &str| {
        let mut command = tokio::process::Command::new("sleep");
        command
            .arg("1000")
            .env(leftovers::MARK, leftovers::mark(instance, StreamId::unnamed()))
            .kill_on_drop(true);
        command.spawn().expect("sleep starts")
    };
    let (mut ours, mut theirs) = (sleeper(&mark("ours")), sleeper(&mark("theirs")));
    assert_eq!(kill_leftovers(&mark("ours")), [ours.id().expect("not awaited")]);
    assert!(!ours.wait().await.expect("it ended").success());
    assert_eq!(theirs.try_wait().expect("it runs"), None);
}

#[tokio::test]
#[ignore = "needs python3"]
async fn the_example_in_python_plays_a_session() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/brains/echo_agent.py");
    let path = std::env::var_os("PATH");
    let python = find_program("python3", Path::new("/"), path.as_deref()).expect("python3 is there");
    let spec = BrainSpec {
        kind: "process".into(),
        name: python.display().to_string(),
        sha256: None,
        args: vec![example.display().to_string()],
    };
    let options = ProcessOptions {
        instance: "tests".into(),
        ..ProcessOptions::default()
    };
    let (brain, mut stage) = (ProcessBrain::new(options), Stage::new(spec, "ls; uname"));
    let first = said(stage.ask(&brain).await);
    assert!(first.ends_with("exec ls"), "{first}");
    stage.settle(exited(0, "README"));
    stage.hear("date", SendMode::Steer);
    assert!(said(stage.ask(&brain).await).ends_with("exec uname"));
    stage.settle(exited(0, "Linux"));
    assert!(said(stage.ask(&brain).await).ends_with("exec date"));
    stage.settle(exited(1, ""));
    let end = stage.ask(&brain).await.expect("an answer").end;
    assert!(matches!(end, Some(AnswerEnd::Yield)), "{end:?}");
    brain.release(stage.session).await;
    assert!(none_left(&stage));
}
