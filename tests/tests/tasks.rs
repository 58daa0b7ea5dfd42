//! Suggested work and tasks in a whole runtime: an agent suggests something, a human takes it up, and a run does it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use longhaul::Control;
use longhaul::api::{
    ArtifactsQuery, Cancel, Code, Decide, OpenTask, Remove, Start, TaskChange, TaskView, TasksQuery, WhyTask,
};
use longhaul_actors::session::{ApprovalDecision, Mode};
use longhaul_tests::{close, lines, log_until, of_type, open, playbook, start};

const PROGRAM: &str = env!("CARGO_BIN_EXE_longhaul-under-test");

const SUGGESTS: &str = "[[step]]\nwrite = \"idea.md\"\ncontent = \"# Cache the index\\n\\nIt is read for each request.\\n\"\n\n\
    [[step]]\nartifact = \"idea.md\"\nkind = \"task_suggestion\"\n\n[[step]]\nfinish = \"suggested\"\n";

/// Runs an agent that suggests one thing, and returns its id and that of the suggestion.
async fn suggestion(control: &Arc<dyn Control>, folder: &Path) -> (String, String) {
    let id = start(control, playbook(folder, SUGGESTS), "look around").await.id;
    let log = log_until(control, &id, &["completed"]).await;
    let made = of_type(&log, "artifact.created");
    let task = made[0].stored.data["task"].as_str();
    (id, task.unwrap_or_else(|| panic!("{}", lines(&log))).to_owned())
}

async fn change(
    control: &Arc<dyn Control>,
    id: &str,
    change: TaskChange,
) -> Result<TaskView, longhaul::api::Problem> {
    control.change_task(id, change).await.map(|changed| changed.task)
}

/// Waits until a task stands there; gives up after a minute, which is a failure.
async fn until(control: &Arc<dyn Control>, id: &str, state: &str) -> TaskView {
    let looked = async {
        loop {
            let task = control.task(id).await.expect("it is there");
            if task.state == state {
                return task;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    match tokio::time::timeout(Duration::from_secs(60), looked).await {
        Ok(task) => task,
        Err(_) => panic!("never {state}: {:?}", control.task(id).await),
    }
}

/// Starts a run of this task with such a playbook.
async fn run(control: &Arc<dyn Control>, task: &str, brain: String) -> String {
    let request = Start {
        brain: Some(brain),
        mode: Mode::Bounded,
        task: Some(task.into()),
        ..Start::default()
    };
    control.start(request).await.expect("it starts").id
}

/// B-ART-3: what a step keeps as a suggestion is one task, whose artifact has the hash that was recorded.
#[tokio::test]
async fn a_suggestion_is_a_task_that_names_its_artifact() {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = open(&folder.path().join("data"), PROGRAM).await;
    let control = runtime.control();
    let (session, id) = suggestion(&control, folder.path()).await;
    let suggested = control
        .tasks(TasksQuery::suggested())
        .await
        .expect("a list")
        .tasks;
    assert_eq!(suggested.len(), 1);
    let task = &suggested[0];
    assert_eq!((&task.id, task.title.as_str()), (&id, "Cache the index"));
    assert_eq!(task.body, "It is read for each request.");
    let source = task.source.as_ref().expect("it comes from somewhere");
    assert_eq!(source.session, session);

    let page = control
        .artifacts(ArtifactsQuery::default())
        .await
        .expect("a list");
    assert_eq!(page.artifacts.len(), 1);
    let artifact = &page.artifacts[0];
    assert_eq!(
        (artifact.task.as_ref(), &artifact.sha256, artifact.step),
        (Some(&id), &source.sha256, Some(source.step))
    );
    assert_eq!(
        &control.artifact(&artifact.id).await.expect("it is there"),
        artifact
    );
    close(runtime).await;
}

/// B-ART-3: ten at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_parallel_conversions_make_one_task() {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = open(&folder.path().join("data"), PROGRAM).await;
    let control = runtime.control();
    let (_, id) = suggestion(&control, folder.path()).await;
    let conversions = (0..10).map(|_| {
        let (control, id) = (Arc::clone(&control), id.clone());
        tokio::spawn(async move { change(&control, &id, TaskChange::Open(OpenTask::default())).await })
    });
    let (mut opened, mut refused) = (0, 0);
    for conversion in conversions.collect::<Vec<_>>() {
        match conversion.await.expect("nothing panics") {
            Ok(task) => {
                opened += 1;
                assert_eq!((task.state.as_str(), &task.id), ("open", &id));
            }
            Err(problem) => {
                refused += 1;
                assert_eq!((problem.code, problem.status), (Code::SuggestionNotOpen, 409));
                assert!(problem.detail.contains(&id), "it names the task: {problem}");
            }
        }
    }
    assert_eq!((opened, refused), (1, 9));
    let all = TasksQuery {
        all: true,
        ..TasksQuery::default()
    };
    assert_eq!(control.tasks(all).await.expect("a list").tasks.len(), 1);
    let late = change(&control, &id, TaskChange::Archive(WhyTask::default())).await;
    assert_eq!(
        late.expect_err("it is a task by now").code,
        Code::SuggestionNotOpen
    );
    close(runtime).await;
}

/// B-TASK-1: the task waits for an approval with its run, and is done with it; the run is found again by its task.
#[tokio::test]
async fn a_task_follows_its_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = open(&folder.path().join("data"), PROGRAM).await;
    let control = runtime.control();
    let (_, id) = suggestion(&control, folder.path()).await;
    let early = Start {
        brain: Some(playbook(folder.path(), SUGGESTS)),
        task: Some(id.clone()),
        ..Start::default()
    };
    let early = control.start(early).await.expect_err("it is only suggested");
    assert_eq!(early.code, Code::TaskConflict);
    change(&control, &id, TaskChange::Open(OpenTask::default()))
        .await
        .expect("it is opened");

    let pushes = "[[step]]\nrun = \"git push origin main\"\non_failure = \"not\"\n\n[[step]]\nfinish = \"pushed\"\n\n\
                  [[step]]\nname = \"not\"\nfinish = \"left for later\"\n";
    let brain = playbook(folder.path(), pushes);
    let session = run(&control, &id, brain.clone()).await;
    assert_eq!(run(&control, &id, brain.clone()).await, session, "the same run");
    let waits = until(&control, &id, "waiting_approval").await;
    assert_eq!((waits.session.as_ref(), waits.runs), (Some(&session), 1));
    let goal = control.show(&session).await.expect("it is there").goal;
    assert_eq!(goal, "Cache the index\n\nIt is read for each request.");
    let busy = change(&control, &id, TaskChange::Cancel(WhyTask::default())).await;
    assert_eq!(busy.expect_err("a run works on it").code, Code::TaskConflict);

    let asked = control
        .show(&session)
        .await
        .expect("it is there")
        .approval
        .expect("it waits");
    let denied = Decide {
        decision: ApprovalDecision::Deny,
        evidence: "not today".into(),
        by: None,
    };
    control.decide(&asked.id, denied).await.expect("it is decided");
    let done = until(&control, &id, "completed").await;
    assert_eq!(done.why, "left for later");
    close(runtime).await;
}

/// B-TASK-1: over a restart the run is watched again; when it is canceled, the task is open for the next run.
#[tokio::test]
async fn a_canceled_run_opens_its_task_again_also_over_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let runtime = open(&data, PROGRAM).await;
    let control = runtime.control();
    let (_, id) = suggestion(&control, folder.path()).await;
    change(&control, &id, TaskChange::Open(OpenTask::default()))
        .await
        .expect("it is opened");
    let asks = playbook(
        folder.path(),
        "[[step]]\nask = \"which one?\"\n\n[[step]]\nfinish = \"done\"\n",
    );
    let first = run(&control, &id, asks.clone()).await;
    log_until(&control, &first, &["awaiting_input"]).await;
    close(runtime).await;

    let runtime = open(&data, PROGRAM).await;
    let control = runtime.control();
    assert_eq!(control.task(&id).await.expect("it is there").state, "in_progress");
    control.cancel(&first, Cancel::default()).await.expect("it ends");
    let again = until(&control, &id, "open").await;
    assert!(again.why.contains("canceled"), "{again:?}");
    let second = run(&control, &id, asks).await;
    assert_ne!(first, second);
    assert_eq!(control.task(&id).await.expect("it is there").runs, 2);
    close(runtime).await;
}

/// B-ART-1: an artifact outlives its session's sandbox.
#[tokio::test]
async fn an_artifact_outlives_the_files_of_its_session() {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = open(&folder.path().join("data"), PROGRAM).await;
    let control = runtime.control();
    let (session, _) = suggestion(&control, folder.path()).await;
    control
        .remove(&session, Remove::default())
        .await
        .expect("its files go");
    let page = control
        .artifacts(ArtifactsQuery {
            session: Some(session),
            ..ArtifactsQuery::default()
        })
        .await
        .expect("a list");
    let bytes = control
        .blob(&page.artifacts[0].sha256)
        .await
        .expect("they are there");
    assert!(bytes.starts_with(b"# Cache the index"));
    close(runtime).await;
}

/// B-ART-2: hostile files are refused by name, and so is what is no suggestion; the brain is told, and nothing is filed.
#[tokio::test]
async fn what_cannot_be_kept_is_told_to_the_brain_and_nothing_is_filed() {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = open(&folder.path().join("data"), PROGRAM).await;
    let control = runtime.control();
    let mut steps =
        "[[step]]\nrun = \"echo x > note; ln -s note link; ln -s /etc/passwd out; mkdir dir; mkfifo pipe; \
                     printf '{\\\"titel\\\": 1}' > idea; head -c 70000 /dev/zero > big\"\n\n"
            .to_owned();
    let wrong = [
        ("link", "report", "symlink_refused"),
        ("out", "report", "symlink_refused"),
        ("dir", "report", "not_a_regular_file"),
        ("pipe", "report", "not_a_regular_file"),
        ("../x", "report", "path_refused"),
        ("nothing", "report", "file_not_found"),
        ("idea", "task_suggestion", "invalid_suggestion"),
        ("big", "task_suggestion", "invalid_suggestion"),
    ];
    for (index, (path, kind, _)) in wrong.iter().enumerate() {
        steps += &format!(
            "[[step]]\nartifact = \"{path}\"\nkind = \"{kind}\"\non_failure = \"after-{index}\"\n\n\
             [[step]]\nname = \"after-{index}\"\nsay = \"on\"\n\n"
        );
    }
    steps += "[[step]]\nfinish = \"tried\"\n";
    let id = start(&control, playbook(folder.path(), &steps), "keep what you find")
        .await
        .id;
    let log = log_until(&control, &id, &["completed"]).await;
    let codes: Vec<&str> = of_type(&log, "tool.failed")
        .iter()
        .map(|record| record.stored.data["code"].as_str().expect("a code"))
        .collect();
    let expected: Vec<&str> = wrong.iter().map(|(_, _, code)| *code).collect();
    assert_eq!(codes, expected, "{}", lines(&log));
    assert!(of_type(&log, "artifact.created").is_empty());
    assert!(
        control
            .tasks(TasksQuery::suggested())
            .await
            .expect("a list")
            .tasks
            .is_empty()
    );
    close(runtime).await;
}
