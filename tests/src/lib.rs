//! What tests across crates share: a repository with a real bug, playbooks, and a runtime to run them in.

pub mod acts;
pub mod child;
pub mod dice;
pub mod fleet;
pub mod invariants;
pub mod isolated;
pub mod leftovers;
pub mod matrix;
pub mod trace;
pub mod watched;
pub mod wreck;

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use longhaul::api::{EventsQuery, RecordView, Send as Message, Start, Started};
use longhaul::sandbox::SandboxOptions;
use longhaul::{Control, Options, Runtime};
use longhaul_actors::session::{Limits, Mode};

/// Options whose shim is this binary of the package under test.
pub fn options(shim: &str) -> Options {
    let mut options = Options::default();
    options.shim = Some(PathBuf::from(shim));
    // Nobody waits for a place but where that is what is tested.
    options.active_sessions = Some(1_000);
    options.sandbox = sandbox();
    options
}

/// How the commands of tests across crates are walled in: as `LONGHAUL_SANDBOX` says, which children read as well, and
/// not at all without it, so that these tests run on any machine.
pub fn sandbox() -> SandboxOptions {
    match sandbox_word() {
        "isolated" => SandboxOptions::default(),
        _ => SandboxOptions::process(),
    }
}

/// The value of `--sandbox` for programs under test.
pub fn sandbox_word() -> &'static str {
    match std::env::var("LONGHAUL_SANDBOX").as_deref() {
        Ok("isolated") => "isolated",
        _ => "process",
    }
}

/// Opens a runtime that works for every session.
pub async fn open(directory: &Path, shim: &str) -> Runtime {
    Runtime::open(directory, options(shim))
        .await
        .expect("the directory opens")
}

/// Closes a runtime. One that has not closed after a minute fails its test.
pub async fn close(runtime: Runtime) {
    in_time("the runtime closes", runtime.close()).await;
}

/// What comes of this, which must come within a minute.
pub async fn in_time<T>(what: &str, coming: impl Future<Output = T>) -> T {
    let came = tokio::time::timeout(Duration::from_secs(60), coming).await;
    came.unwrap_or_else(|_| panic!("not within a minute: {what}"))
}

/// Waits until this holds; gives up after a minute, which is a failure.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(
            tokio::time::Instant::now() < deadline,
            "not within a minute: {what}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Writes a playbook and returns the name by which a session is started with it.
pub fn playbook(folder: &Path, text: &str) -> String {
    let file = folder.join("playbook.toml");
    std::fs::write(&file, text).expect("the playbook is written");
    format!("playbook:{}", file.display())
}

/// Makes a repository in this folder, whose one commit holds these files.
pub fn repository(folder: &Path, files: &[(&str, &str)]) -> PathBuf {
    let repository = folder.join("repository");
    std::fs::create_dir(&repository).expect("a folder");
    for (name, content) in files {
        std::fs::write(repository.join(name), content).expect("the file is written");
    }
    let git = |line: &str| {
        let words = line.split(' ');
        let status = Command::new("git").current_dir(&repository).args(words).status();
        assert!(status.expect("git is installed").success(), "git {line}");
    };
    git("init --quiet");
    git("add --all");
    git("-c user.name=fleet -c user.email=fleet@localhost commit --quiet --allow-empty -m first");
    repository
}

/// Starts a session that ends when its playbook does.
pub async fn start(control: &Arc<dyn Control>, brain: String, goal: &str) -> Started {
    let request = Start {
        goal: goal.into(),
        brain: Some(brain),
        mode: longhaul_actors::session::Mode::Bounded,
        ..Start::default()
    };
    control.start(request).await.expect("it starts")
}

/// Starts an interactive session with bounds of its own, and returns its id.
pub async fn limited(control: &Arc<dyn Control>, brain: String, limits: Limits) -> String {
    let request = Start {
        goal: "be held to bounds".into(),
        brain: Some(brain),
        mode: Mode::Interactive,
        limits: Some(limits.into()),
        ..Start::default()
    };
    control.start(request).await.expect("it starts").id
}

/// Steers a session with these words.
pub async fn say(control: &Arc<dyn Control>, id: &str, text: &str) {
    let message = Message {
        text: text.into(),
        ..Message::default()
    };
    control.send(id, message).await.expect("it takes messages");
}

/// Every path below `root`, with what `told` says of it and what is in it: the bytes of a file, the aim of a link.
pub fn tree(root: &Path, told: impl Fn(&Metadata) -> String) -> BTreeMap<PathBuf, String> {
    let (mut tree, mut folders) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("readable") {
            let path = entry.expect("readable").path();
            let meta = fs::symlink_metadata(&path).expect("it is there");
            let what = if meta.is_file() {
                format!("{:?}", fs::read(&path).expect("readable"))
            } else if meta.is_symlink() {
                format!("{:?}", fs::read_link(&path).expect("a link"))
            } else {
                String::new()
            };
            if meta.is_dir() {
                folders.push(path.clone());
            }
            let line = format!("{} {what}", told(&meta));
            tree.insert(path.strip_prefix(root).expect("below").to_owned(), line);
        }
    }
    tree
}

/// The home of the commands of a session: kept from one to the next, and seen behind walls as well. The place for what
/// tests and commands tell each other.
pub fn home(data: &Path, id: &str) -> PathBuf {
    let session = id.trim_start_matches("s_");
    data.join("sessions").join(session).join("private/home")
}

/// Everything a session wrote, once it waits for somebody or has ended. Gives up after a minute, which is a failure.
pub async fn log_until(control: &Arc<dyn Control>, id: &str, states: &[&str]) -> Vec<RecordView> {
    let (mut log, mut after) = (Vec::new(), 0);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        let query = EventsQuery {
            after,
            wait_ms: 500,
            ..EventsQuery::default()
        };
        let page = control.events(id, query).await.expect("the log is readable");
        after = page.next_after;
        log.extend(page.events);
        if after == page.head && states.contains(&page.state.as_str()) {
            return log;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "still {} after a minute:\n{}",
            page.state,
            lines(&log)
        );
    }
}

/// A log as lines, for messages of failing tests.
pub fn lines(log: &[RecordView]) -> String {
    log.iter()
        .map(|record| {
            format!(
                "{:>4} {:<24} {}\n",
                record.seq, record.type_name, record.stored.data
            )
        })
        .collect()
}

/// The types of a log, in order.
pub fn types(log: &[RecordView]) -> Vec<&str> {
    log.iter().map(|record| record.type_name.as_str()).collect()
}

/// Writes a brain as a shell script and returns the name by which a session is started with it. `$step` is the number
/// of the question that a line of `answers` answers.
pub fn shell_brain(folder: &Path, name: &str, before: &str, answers: &str) -> String {
    let file = folder.join(format!("{name}.sh"));
    let script = format!(
        "{before}\nwhile read -r line; do\n  case $line in\n    *'\"type\":\"next\"'*)\n      \
         step=${{line#*'\"step\":'}}; step=${{step%%,*}}\n      {answers}\n      ;;\n  esac\ndone\n"
    );
    std::fs::write(&file, script).expect("the script is written");
    format!("process:sh {}", file.display())
}

/// The answer of a shell brain that ends its turn.
pub const YIELDS: &str = r#"echo "{\"type\":\"answer\",\"step\":$step,\"end\":{\"kind\":\"yield\"}}""#;

/// Waits until a session has written a record of this type (and whose data holds this text); gives up after a minute.
pub async fn until_record(control: &Arc<dyn Control>, id: &str, type_name: &str, text: &str) -> RecordView {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    let mut after = 0;
    loop {
        let query = EventsQuery {
            after,
            wait_ms: 500,
            ..EventsQuery::default()
        };
        let page = control.events(id, query).await.expect("the log is readable");
        after = page.next_after;
        let mut events = page.events.into_iter();
        let found = events
            .find(|record| record.type_name == type_name && record.stored.data.to_string().contains(text));
        if let Some(found) = found {
            return found;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "no {type_name} with {text:?} after a minute; it is {}",
            page.state
        );
    }
}

/// Records of one type.
pub fn of_type<'a>(log: &'a [RecordView], type_name: &str) -> Vec<&'a RecordView> {
    log.iter()
        .filter(|record| record.type_name == type_name)
        .collect()
}

/// Processes whose environment holds this text, by id.
pub fn processes_with(environment: &str) -> Vec<u32> {
    let there = leftovers::pids();
    there
        .filter(|pid| {
            // Those of others, and those that have just ended, cannot be read.
            let bytes = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            bytes
                .windows(environment.len())
                .any(|window| window == environment.as_bytes())
        })
        .collect()
}
