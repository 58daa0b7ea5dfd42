//! Forks with real files and real commands: what the fork has, what it does not do, and what it survives.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use longhaul::Control;
use longhaul::api::{Code, Fork, RecordView, Start};
use longhaul::{Mode as Hosting, Options, Runtime};
use longhaul_actors::session::Mode;
use longhaul_tests::{
    close, home, invariants, lines, log_until, of_type, open, options, playbook, types, until, until_record,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_longhaul-under-test");

async fn interactive(control: &Arc<dyn Control>, brain: String) -> String {
    let request = Start {
        goal: "work in turns".into(),
        brain: Some(brain),
        mode: Mode::Interactive,
        ..Start::default()
    };
    control.start(request).await.expect("it starts").id
}

async fn say(control: &Arc<dyn Control>, id: &str) {
    let message = longhaul::api::Send {
        text: "go on".into(),
        ..Default::default()
    };
    control.send(id, message).await.expect("it takes messages");
}

async fn fork(control: &Arc<dyn Control>, id: &str, at: u64) -> String {
    let request = Fork {
        at: Some(at),
        ..Fork::default()
    };
    control.fork(id, request).await.expect("it can be forked").id
}

async fn workspace(control: &Arc<dyn Control>, id: &str) -> PathBuf {
    let shown = control.show(id).await.expect("it is there");
    shown.workspace.expect("it has one").into()
}

/// Everything of a tree but who owns it.
fn seen(root: &Path) -> BTreeMap<PathBuf, String> {
    longhaul_tests::tree(root, |meta| {
        format!("{:o} {:?}", meta.mode(), (meta.mtime(), meta.mtime_nsec()))
    })
}

/// The shared records, without the session they are shown of.
fn shared(log: &[RecordView], to: u64) -> Vec<String> {
    let shared = log.iter().filter(|record| record.seq <= to);
    shared
        .map(|it| {
            format!(
                "{} {} {} {} {}",
                it.seq, it.ts, it.type_name, it.stored.actor, it.stored.data
            )
        })
        .collect()
}

/// Turns that leave a mark each in the home, which is no part of what a fork gets, so that doing it again would be seen;
/// and that change files.
fn two_turns(folder: &Path) -> String {
    let text = "[[step]]\nrun = \"echo one >> ~/marks; printf 1 > a; mkdir -p d; ln -s a d/link; chmod 750 a\"\n\n\
         [[step]]\nyield = true\n\n\
         [[step]]\nrun = \"echo two >> ~/marks; printf 2 > a; rm -r d; cat a\"\n\n\
         [[step]]\nyield = true\n\n[[step]]\nrun = \"echo three >> ~/marks; cat a > last\"\n\n[[step]]\nfinish = \"done\"\n";
    playbook(folder, text)
}

/// What a session has done, by its marks.
fn marks(data: &Path, id: &str) -> String {
    let marks = fs::read_to_string(home(data, id).join("marks")).unwrap_or_default();
    marks.lines().collect::<Vec<&str>>().join(" ")
}

/// A fork at the end of the first turn has the files of then and the records up to then, goes on from there in its own way,
/// and does nothing twice.
#[tokio::test]
async fn a_fork_has_the_records_and_the_files_of_its_seq_and_repeats_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let (brain, data) = (two_turns(folder.path()), folder.path().join("data"));
    let runtime = open(&data, PROGRAM).await;
    let control = runtime.control();
    let id = interactive(&control, brain).await;
    let created = until_record(&control, &id, "checkpoint.created", "").await;
    let at = created.stored.data["at"].as_u64().expect("a seq");
    let then = seen(&workspace(&control, &id).await);
    say(&control, &id).await;
    until_record(&control, &id, "tool.started", "two").await;
    let log = log_until(&control, &id, &["idle"]).await;
    assert_eq!(marks(&data, &id), "one two");
    let now = seen(&workspace(&control, &id).await);
    assert_ne!(then, now);

    let fork_id = fork(&control, &id, at).await;
    let of_fork = log_until(&control, &fork_id, &["idle"]).await;
    assert_eq!(shared(&of_fork, at), shared(&log, at));
    assert_eq!(
        of_fork[usize::try_from(at).unwrap()].type_name,
        "session.forked",
        "{}",
        lines(&of_fork)
    );
    assert_eq!(
        of_fork[usize::try_from(at).unwrap()].stored.data["from"],
        id.as_str()
    );
    assert_eq!(seen(&workspace(&control, &fork_id).await), then);
    let shown = control.show(&fork_id).await.expect("it is there");
    assert_eq!(
        shown.forked_from.map(|from| (from.id, from.seq)),
        Some((id.clone(), at))
    );

    say(&control, &fork_id).await;
    until_record(&control, &fork_id, "tool.started", "two").await;
    log_until(&control, &fork_id, &["idle"]).await;
    assert_eq!(
        (marks(&data, &id).as_str(), marks(&data, &fork_id).as_str()),
        ("one two", "two"),
        "the second turn ran once in each, the first in the source alone"
    );
    assert_eq!(
        seen(&workspace(&control, &id).await),
        now,
        "the source is what it was"
    );
    close(runtime).await;
}

/// The source can be canceled and removed: the fork goes on to its end.
#[tokio::test]
async fn a_fork_survives_its_source() {
    let folder = tempfile::tempdir().expect("a folder");
    let (brain, data) = (two_turns(folder.path()), folder.path().join("data"));
    let runtime = open(&data, PROGRAM).await;
    let control = runtime.control();
    let id = interactive(&control, brain).await;
    let created = until_record(&control, &id, "checkpoint.created", "").await;
    let fork_id = fork(&control, &id, created.stored.data["at"].as_u64().expect("a seq")).await;
    control
        .cancel(&id, Default::default())
        .await
        .expect("it can be canceled");
    log_until(&control, &id, &["canceled"]).await;
    assert_eq!(marks(&data, &id), "one");
    fs::remove_dir_all(workspace(&control, &id).await.parent().expect("its folder")).expect("removed");
    close(runtime).await;

    let runtime = open(&data, PROGRAM).await;
    let control = runtime.control();
    for _ in 0..2 {
        log_until(&control, &fork_id, &["idle"]).await;
        say(&control, &fork_id).await;
    }
    let log = log_until(
        &control,
        &fork_id,
        &["completed", "failed", "paused", "awaiting_input"],
    )
    .await;
    assert_eq!(
        log.last().map(|last| last.type_name.as_str()),
        Some("session.completed"),
        "{}",
        lines(&log)
    );
    assert_eq!(marks(&data, &fork_id), "two three");
    let frames = frames(&runtime, &data, &fork_id).await;
    invariants::seqs_are_dense_and_time_never_falls(&frames);
    invariants::frames_are_chained(&frames);
    invariants::the_first_record_starts_the_session(&frames);
    invariants::turns_pair(&frames);
    invariants::the_sealed_standing_is_the_folds(&frames);
}

async fn frames(runtime: &Runtime, data: &Path, id: &str) -> Vec<Arc<longhaul_journal::Frame>> {
    close(runtime.clone()).await;
    let stream = longhaul::api::stream_id(id).expect("an id");
    let offline = longhaul_journal::Offline::open(data).expect("it opens");
    let mut frames = Vec::new();
    offline
        .walk(Some(stream), |entry| {
            if let longhaul_journal::Entry::Frame(frame) = entry {
                frames.push(frame);
            }
            std::ops::ControlFlow::Continue(())
        })
        .expect("readable");
    frames
}

/// Between the acts of a turn nothing was kept: the error names what can be forked, and a fork there is what it says.
#[tokio::test]
async fn a_seq_whose_files_are_not_kept_is_refused_with_those_that_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let brain = playbook(
        folder.path(),
        "[[step]]\nrun = \"echo 1 > a\"\n\n[[step]]\nrun = \"echo 2 > a\"\n\n[[step]]\nfinish = \"done\"\n",
    );
    let runtime = open(&folder.path().join("data"), PROGRAM).await;
    let control = runtime.control();
    let id = longhaul_tests::start(&control, brain, "two acts").await.id;
    let log = log_until(&control, &id, &["completed"]).await;
    let runs = of_type(&log, "command.run");
    let (first, second, head) = (runs[0].seq, runs[1].seq, log.len() as u64);
    let wish = |at| Fork {
        at: Some(at),
        ..Fork::default()
    };
    let problem = control
        .fork(&id, wish(first))
        .await
        .expect_err("nothing was kept there");
    assert_eq!(problem.code, Code::NotForkable, "{problem}");
    let begins = of_type(&log, "tool.started")[0].seq;
    assert!(
        problem.detail.contains(&format!("1-{begins}, {second}-{head}")),
        "{problem}"
    );
    assert!(!problem.next_actions.is_empty());
    for at in [0, head + 1] {
        let problem = control.fork(&id, wish(at)).await.expect_err("no record");
        assert_eq!(problem.code, Code::InvalidRequest, "{problem}");
    }

    // A run that has ended goes on in a fork from before its end, with the files that it left.
    let before_the_end = of_type(&log, "model.completed").last().expect("it was asked").seq - 1;
    let fork_id = fork(&control, &id, before_the_end).await;
    let of_fork = log_until(&control, &fork_id, &["completed"]).await;
    assert_eq!(of_type(&of_fork, "command.run").len(), 2, "{}", lines(&of_fork));
    let copied = fs::read_to_string(workspace(&control, &fork_id).await.join("a"));
    assert_eq!(copied.expect("it is there"), "2\n");
    // And from its very beginning: nothing had been made.
    let fork_id = fork(&control, &id, 2).await;
    let of_fork = log_until(&control, &fork_id, &["completed"]).await;
    assert_eq!(of_type(&of_fork, "command.run").len(), 2, "{}", lines(&of_fork));
    close(runtime).await;
}

/// A fork in the middle of an act: the act is unknown in the fork and is not done there, while it goes on in the source.
#[tokio::test]
async fn an_act_under_way_in_the_source_is_unknown_in_the_fork() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = "[[step]]\nrun = \"echo begun >> ~/marks; while ! test -e ~/gate; do sleep 0.01; done\"\n\n[[step]]\nfinish = \"done\"\n";
    let (brain, data) = (playbook(folder.path(), text), folder.path().join("data"));
    let runtime = open(&data, PROGRAM).await;
    let control = runtime.control();
    let id = longhaul_tests::start(&control, brain, "wait").await.id;
    let begun = until_record(&control, &id, "tool.started", "").await;
    until("the command has begun", || !marks(&data, &id).is_empty()).await;
    let fork_id = fork(&control, &id, begun.seq).await;
    let of_fork = log_until(
        &control,
        &fork_id,
        &["awaiting_input", "completed", "failed", "paused"],
    )
    .await;
    let after = &types(&of_fork)[usize::try_from(begun.seq).unwrap()..];
    assert_eq!(
        &after[..2],
        ["session.forked", "tool.outcome_unknown"],
        "{}",
        lines(&of_fork)
    );
    assert_eq!(of_type(&of_fork, "tool.started").len(), 1, "{}", lines(&of_fork));
    assert_eq!(
        (marks(&data, &id).as_str(), marks(&data, &fork_id).as_str()),
        ("begun", "")
    );
    fs::write(home(&data, &id).join("gate"), "").expect("written");
    log_until(&control, &id, &["completed"]).await;
    close(runtime).await;
}

/// The same request again is the same fork; another one under its key is a conflict; and nobody serves while it is made.
#[tokio::test]
async fn a_fork_is_made_once_also_where_nobody_serves() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let brain = two_turns(folder.path());
    let runtime = open(&data, PROGRAM).await;
    let control = runtime.control();
    let id = interactive(&control, brain).await;
    log_until(&control, &id, &["idle"]).await;
    until_record(&control, &id, "checkpoint.created", "").await;
    close(runtime).await;

    let mut dormant: Options = options(PROGRAM);
    dormant.mode = Hosting::Dormant;
    let runtime = Runtime::open(&data, dormant).await.expect("it opens");
    let control = runtime.control();
    let request = Fork {
        key: Some("other way".into()),
        say: Some("do it differently".into()),
        ..Fork::default()
    };
    let made = control
        .fork(&id, request.clone())
        .await
        .expect("it can be forked");
    assert_eq!((made.repeated, made.state.as_str()), (false, "queued"));
    let again = control
        .fork(
            &id,
            Fork {
                at: None,
                ..request.clone()
            },
        )
        .await
        .expect("the same");
    assert_eq!((again.repeated, &again.id), (true, &made.id));
    let other = Fork {
        say: Some("another".into()),
        ..request
    };
    let conflict = control.fork(&id, other).await.expect_err("the key is taken");
    assert_eq!(conflict.code, Code::IdempotencyConflict);
    // Without a server the files can be kept all the same.
    let accepted = control.checkpoint(&id).await.expect("it is written down");
    until_record(
        &control,
        &id,
        "checkpoint.created",
        &format!("\"at\":{}", accepted.seq),
    )
    .await;
    close(runtime).await;
}
