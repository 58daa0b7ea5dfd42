//! At most so many sessions are at work at the same time; the others wait their turn, or are not started.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use longhaul::api::{Code, EventsQuery, OnLimit, Resume, Start};
use longhaul::{Control, Runtime};
use longhaul_actors::session::Mode;
use longhaul_tests::{close, log_until, options, playbook};

const PROGRAM: &str = env!("CARGO_BIN_EXE_longhaul-under-test");
const LIMIT: usize = 5;

async fn open(directory: &Path) -> Runtime {
    let mut options = options(PROGRAM);
    options.active_sessions = None;
    Runtime::open(directory, options)
        .await
        .expect("the directory opens")
}

fn request(brain: &str, key: &str, on_limit: OnLimit) -> Start {
    Start {
        goal: "work".into(),
        brain: Some(brain.to_owned()),
        mode: Mode::Bounded,
        key: Some(key.into()),
        on_limit,
        ..Start::default()
    }
}

/// A playbook whose command waits until there is a file in its home, which is seen behind walls as well.
fn waits(folder: &Path) -> String {
    let line = "until test -e ~/go; do sleep 0.02; done";
    playbook(
        folder,
        &format!("[[step]]\nrun = \"{line}\"\n\n[[step]]\nfinish = \"done\"\n"),
    )
}

/// Lets them all go, those that get a home only later too, for as long as this is held.
struct Go(tokio::task::JoinHandle<()>);

impl Go {
    fn to_all_of(data: &Path) -> Self {
        let sessions = data.join("sessions");
        Self(tokio::spawn(async move {
            loop {
                for session in std::fs::read_dir(&sessions).into_iter().flatten().flatten() {
                    // Who is not being worked on yet has none.
                    let _ = std::fs::write(session.path().join("private/home/go"), "");
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }))
    }
}

impl Drop for Go {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Sessions that work now, as their logs have it.
async fn at_work(control: &dyn Control, keys: &[String]) -> usize {
    let mut at_work = 0;
    for key in keys {
        let state = control.show(key).await.expect("it is there").state;
        at_work += usize::from(["starting", "running", "recovering"].contains(&state.as_str()));
    }
    at_work
}

/// B-CREDIT-8: fifty at once; never more than five at work, and all of them get their turn.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_fifty_sessions_five_work_at_a_time_and_all_get_their_turn() {
    let folder = tempfile::tempdir().expect("a folder");
    let brain = waits(folder.path());
    let runtime = open(&folder.path().join("data")).await;
    let control = runtime.control();
    let keys: Vec<String> = (0..50).map(|number| format!("job-{number}")).collect();
    let starts = keys
        .iter()
        .map(|key| control.start(request(&brain, key, OnLimit::Queue)));
    for started in futures_util::future::join_all(starts).await {
        started.expect("it is started");
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    let occupied = loop {
        let account = control.account().await.expect("it answers");
        let occupied = account.sessions.expect("it serves");
        if occupied.active == LIMIT && occupied.queued == 45 {
            break occupied;
        }
        assert!(Instant::now() < deadline, "after a minute still {occupied:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    };
    assert_eq!(occupied.limit, LIMIT);
    assert_eq!(at_work(&*control, &keys).await, LIMIT);
    let _go = Go::to_all_of(&folder.path().join("data"));
    // From here on they take turns; whatever the moment, no more than five are at work.
    let mut open: BTreeSet<&String> = keys.iter().collect();
    let mut spans = Vec::new();
    while let Some(key) = open.pop_first() {
        log_until(&control, key, &["completed"]).await;
        spans.push(span(&*control, key).await);
    }
    let most = spans.iter().map(|(begun, _)| {
        let covers = |(from, to): &&(String, String)| from <= begun && begun < to;
        spans.iter().filter(covers).count()
    });
    assert!(most.max() <= Some(LIMIT), "{spans:?}");
    close(runtime).await;
}

/// When a session had a place: from its first record of work to its last.
async fn span(control: &dyn Control, key: &str) -> (String, String) {
    let page = control
        .events(key, EventsQuery::default())
        .await
        .expect("it has a log");
    let of = |type_name: &str| {
        let found = page.events.iter().find(|record| record.type_name == type_name);
        found.unwrap_or_else(|| panic!("{type_name} of {key}")).ts.clone()
    };
    (of("sandbox.starting"), of("session.completed"))
}

/// B-CREDIT-8: who would not wait is told how many work, and no session is made.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_fifty_that_would_not_wait_five_are_started() {
    let folder = tempfile::tempdir().expect("a folder");
    let brain = waits(folder.path());
    let runtime = open(&folder.path().join("data")).await;
    let control = runtime.control();
    let keys: Vec<String> = (0..50).map(|number| format!("job-{number}")).collect();
    let starts = keys
        .iter()
        .map(|key| control.start(request(&brain, key, OnLimit::Reject)));
    let (mut started, mut rejected) = (0, 0);
    for answer in futures_util::future::join_all(starts).await {
        match answer {
            Ok(_) => started += 1,
            Err(problem) => {
                assert_eq!(problem.code, Code::ConcurrencyLimit, "{problem:?}");
                assert_eq!(
                    (problem.status, problem.fields.active, problem.fields.limit),
                    (429, Some(LIMIT), Some(LIMIT))
                );
                rejected += 1;
            }
        }
    }
    assert_eq!((started, rejected), (LIMIT, 45));
    let page = control.list(Default::default()).await.expect("it answers");
    assert_eq!(page.sessions.len(), LIMIT, "no session was made of the others");
    let _go = Go::to_all_of(&folder.path().join("data"));
    for session in page.sessions {
        log_until(&control, &session.id, &["completed"]).await;
    }
    close(runtime).await;
}

/// B-CREDIT-8: those that were at work count first after a restart, and one that rests has no place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restart_those_at_work_keep_their_places_and_a_paused_one_frees_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let brain = waits(folder.path());
    let data = folder.path().join("data");
    let runtime = open(&data).await;
    let control = runtime.control();
    let keys: Vec<String> = (0..7).map(|number| format!("job-{number}")).collect();
    for key in &keys {
        control
            .start(request(&brain, key, OnLimit::Queue))
            .await
            .expect("it is started");
    }
    until_active(&*control, LIMIT, 2).await;
    close(runtime).await;

    let runtime = open(&data).await;
    let control = runtime.control();
    until_active(&*control, LIMIT, 2).await;
    let mut working = None;
    for key in &keys {
        if control.show(key).await.expect("it is there").state == "running" {
            working = Some(key);
        }
    }
    let paused = working.expect("one of them works");
    let now = longhaul::api::Pause {
        now: true,
        ..longhaul::api::Pause::default()
    };
    control.pause(paused, now).await.expect("granted");
    until_active(&*control, LIMIT, 1).await;
    assert_eq!(control.show(paused).await.expect("it is there").state, "paused");
    control.resume(paused, Resume::default()).await.expect("granted");
    until_active(&*control, LIMIT, 2).await;
    let _go = Go::to_all_of(&folder.path().join("data"));
    for key in &keys {
        // The one whose command was ended asks what is to be done about that.
        log_until(&control, key, &["completed", "awaiting_input"]).await;
    }
    close(runtime).await;
}

async fn until_active(control: &dyn Control, active: usize, queued: usize) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let account = control.account().await.expect("it answers");
        let occupied = account.sessions.expect("it serves");
        assert!(occupied.active <= LIMIT, "{occupied:?}");
        if (occupied.active, occupied.queued) == (active, queued) {
            return;
        }
        assert!(Instant::now() < deadline, "after a minute still {occupied:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
