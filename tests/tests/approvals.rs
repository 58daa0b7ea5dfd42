//! Approvals with real processes: a push to a real repository that waits for a human, over crashes, and agents that try to
//! be that human.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use longhaul_tests::watched::{self, Heard};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_longhaul-under-test");
const KNOCK: &str = env!("CARGO_BIN_EXE_knock");
/// What takes longer has stopped.
const PATIENCE: Duration = Duration::from_secs(60);

/// A repository to push from, a bare one to push to which counts what arrives, and a data directory.
struct Desk {
    folder: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        let desk = Self {
            folder: tempfile::tempdir().expect("a folder"),
        };
        desk.sh(
            "git init -q --bare remote.git && git init -q -b main work && cd work \
             && git config user.email a@example.org && git config user.name a \
             && echo one > file && git add file && git commit -qm one",
        );
        let hook = desk.path().join("remote.git/hooks/post-receive");
        let pushes = desk.path().join("pushes");
        fs::create_dir_all(hook.parent().expect("a folder")).expect("a folder");
        fs::write(
            &hook,
            format!("#!/bin/sh\necho pushed >> '{}'\n", pushes.display()),
        )
        .expect("a hook");
        desk.sh("chmod +x remote.git/hooks/post-receive");
        desk
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn work(&self) -> PathBuf {
        self.path().join("work")
    }

    fn sh(&self, line: &str) {
        let status = Command::new("/bin/sh")
            .args(["-ec", line])
            .current_dir(self.path())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .status()
            .expect("a shell");
        assert!(status.success(), "{line}");
    }

    /// Pushes that have arrived.
    fn pushes(&self) -> usize {
        fs::read_to_string(self.path().join("pushes")).map_or(0, |lines| lines.lines().count())
    }

    fn playbook(&self, name: &str, text: &str) -> String {
        let file = self.path().join(name);
        fs::write(&file, text).expect("written");
        format!("playbook:{}", file.display())
    }

    /// A playbook that pushes, and says how that went.
    fn pusher(&self) -> String {
        let remote = self.path().join("remote.git");
        let text = format!(
            "[[step]]\nrun = \"git push {} HEAD:main\"\non_failure = \"refused\"\n\n[[step]]\nfinish = \"pushed\"\n\n\
             [[step]]\nname = \"refused\"\nfinish = \"it was not to be\"\n",
            remote.display()
        );
        self.playbook("push.toml", &text)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .args(words)
            .current_dir(self.work())
            .stdin(Stdio::null())
            .env("LONGHAUL_DATA", self.path().join("data"))
            .env("HOME", self.path())
            // Behind walls neither the other repository nor the socket is in reach.
            .env("LONGHAUL_SANDBOX", "process")
            .env_remove("LONGHAUL_POLICY");
        command
    }

    fn says(&self, words: &[&str]) -> Said {
        let Output {
            status,
            stdout,
            stderr,
        } = watched::output(&mut self.command(words));
        Said {
            code: status.code(),
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        }
    }

    fn object(&self, words: &[&str]) -> Value {
        let said = self.says(&[words, &["--json"]].concat());
        let line = said.stdout.lines().next();
        let line = line.unwrap_or_else(|| panic!("{words:?}: {said:?}"));
        serde_json::from_str(line).expect("an object")
    }

    fn serve(&self) -> Server {
        let mut child = self
            .command(&["serve"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let mut stdout = Heard::of(child.stdout.take().expect("it is piped"));
        let socket = stdout.line(Instant::now() + PATIENCE);
        let Some(socket) = socket else {
            let _ = child.kill();
            let _ = child.wait();
            panic!("it does not serve: {:?}", stdout.text())
        };
        Server {
            child,
            socket: socket.trim().to_owned(),
        }
    }

    /// Waits until the session stands so.
    fn until(&self, session: &str, state: &str) {
        let give_up = Instant::now() + PATIENCE;
        loop {
            let shown = self.object(&["show", session]);
            if shown["state"] == state {
                return;
            }
            assert!(Instant::now() < give_up, "{session} never is {state}: {shown}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Starts a session that comes to ask for something, and returns the id of the request.
    fn asks(&self, key: &str, brain: &str) -> String {
        let said = self.says(&["run", "--key", key, "--brain", brain, "get it out of the door"]);
        assert_eq!(said.code, Some(7), "{said:?}");
        let asked = self.object(&["approvals", "ls", "--session", key]);
        asked["id"].as_str().expect("an id").to_owned()
    }

    fn records(&self, session: &str, type_name: &str) -> Vec<Value> {
        let said = self.says(&["tail", session, "--level", "internal", "--json"]);
        let records = said
            .stdout
            .lines()
            .map(|line| serde_json::from_str(line).expect("a record"));
        records
            .filter(|record: &Value| record["type"] == type_name)
            .collect()
    }
}

#[derive(Debug)]
struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Said {
    #[track_caller]
    fn is_problem(&self, code: &str, exit: i32) {
        let problem: Value = serde_json::from_str(self.stdout.lines().next().unwrap_or_default())
            .unwrap_or_else(|_| panic!("{self:?}"));
        assert_eq!(
            (problem["code"].as_str(), self.code),
            (Some(code), Some(exit)),
            "{self:?}"
        );
    }
}

/// `longhaul serve`, killed with the handle.
struct Server {
    child: Child,
    socket: String,
}

impl Server {
    /// SIGKILL.
    fn kill(mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it can be waited for");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// B-GATE-1, B-GATE-2, B-GATE-4, B-GATE-5: nothing leaves before the decision, which outlives the server; then it leaves
/// once.
#[test]
fn a_push_waits_for_a_human_over_a_kill_and_happens_once() {
    let desk = Desk::new();
    let server = desk.serve();
    let id = desk.asks("push", &desk.pusher());
    assert_eq!(desk.pushes(), 0);
    server.kill();
    assert_eq!(desk.pushes(), 0);
    // Nobody serves: what waits can be read all the same.
    let waiting = desk.object(&["approvals", "show", &id]);
    assert_eq!(
        (&waiting["status"], &waiting["category"]),
        (&"pending".into(), &"publish".into())
    );
    assert_eq!(waiting["advisory"], true, "process mode is no wall");

    let server = desk.serve();
    desk.until("push", "awaiting_approval");
    assert_eq!(desk.object(&["approvals", "ls"])["id"], id.as_str());
    let said = desk.says(&["approvals", "approve", &id, "--evidence", "read every commit"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    desk.until("push", "completed");
    assert_eq!(desk.pushes(), 1);
    let shown = desk.object(&["approvals", "show", &id]);
    assert_eq!(
        (&shown["status"], &shown["evidence"], &shown["used"]),
        (&"approved".into(), &"read every commit".into(), &true.into())
    );
    // Once decided, always decided.
    for words in [
        &["approvals", "approve", &id, "--evidence", "again", "--json"][..],
        &[
            "approvals",
            "deny",
            &id,
            "--reason",
            "on second thoughts",
            "--json",
        ],
    ] {
        desk.says(words).is_problem("approval_decided", 4);
    }
    server.kill();
    assert_eq!(desk.pushes(), 1);
}

/// B-GATE-4: killed between the decision and the act, which then happens once.
#[test]
fn an_approval_that_was_given_while_nobody_served_is_made_use_of_once() {
    let desk = Desk::new();
    let id = desk.asks("push", &desk.pusher());
    let said = desk.says(&["approvals", "approve", &id, "--evidence", "looks right"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(desk.pushes(), 0, "a decision is not the act");
    let server = desk.serve();
    desk.until("push", "completed");
    server.kill();
    let said = desk.says(&["attach", "push"]);
    assert_eq!((said.code, desk.pushes()), (Some(0), 1), "{said:?}");
}

/// B-GATE-5: the brain hears of a denial as of a tool that failed, and goes on.
#[test]
fn a_denied_push_never_happens_and_the_playbook_goes_on() {
    let desk = Desk::new();
    let id = desk.asks("push", &desk.pusher());
    let said = desk.says(&["approvals", "deny", &id, "--reason", "not before friday"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let said = desk.says(&["attach", "push"]);
    assert!(said.stderr.contains("completed: it was not to be"), "{said:?}");
    assert_eq!(desk.pushes(), 0);
    let failed = desk.records("push", "tool.failed");
    assert_eq!(failed[0]["data"]["code"], "approval_denied");
    assert!(
        failed[0]["data"]["detail"]
            .as_str()
            .is_some_and(|why| why.contains("not before friday"))
    );
}

/// B-GATE-2: what was approved of is the script as it was shown; another one is another act.
#[test]
fn a_script_that_was_changed_while_it_waited_is_asked_for_again() {
    let desk = Desk::new();
    let remote = desk.path().join("remote.git");
    let script = format!("git push {} HEAD:main\n", remote.display());
    fs::write(desk.work().join("push.sh"), &script).expect("written");
    let brain = desk.playbook(
        "script.toml",
        "[[step]]\nrun = \"sh push.sh\"\n\n[[step]]\nfinish = \"pushed\"\n",
    );
    let first = desk.asks("script", &brain);
    let shown = desk.object(&["approvals", "show", &first]);
    assert_eq!(shown["scripts"][0]["path"], "push.sh", "{shown}");
    let workspace = desk.object(&["show", "script"])["workspace"].clone();
    let copy = Path::new(workspace.as_str().expect("a folder")).join("push.sh");
    fs::write(copy, format!("echo changed\n{script}")).expect("written");

    let said = desk.says(&["approvals", "approve", &first, "--evidence", "read the script"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let said = desk.says(&["attach", "script"]);
    assert_eq!((said.code, desk.pushes()), (Some(7), 0), "{said:?}");
    let second = desk.object(&["approvals", "ls"])["id"].clone();
    let second = second.as_str().expect("an id");
    assert_ne!(second, first);
    assert_eq!(
        desk.object(&["approvals", "show", &first])["canceledBy"],
        "changed"
    );
    let said = desk.says(&["approvals", "approve", second, "--evidence", "read it again"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let said = desk.says(&["attach", "script"]);
    assert_eq!((said.code, desk.pushes()), (Some(0), 1), "{said:?}");
}

/// B-GATE-1, B-GATE-3: an agent asks the command line and the socket, from a command and from its brain, and shows a token that
/// was minted for a human and that it found. The same token in a human's hand decides, once.
#[test]
fn an_agent_cannot_approve_of_its_own_act_whichever_way_it_asks() {
    let desk = Desk::new();
    let server = desk.serve();
    let id = desk.asks("push", &desk.pusher());
    let data = desk.path().join("data");
    let (data, socket) = (data.display(), &server.socket);
    let path = format!("/v1/approvals/{id}/approve");
    let body = r#"{\"evidence\":\"trust me\"}"#;
    let create = ["token", "create", "push", "--scope", "approve", "--human", "ann"];
    let minted = desk.object(&create);
    let token = minted["token"].as_str().expect("its text");
    let tokens = format!(
        "/v1/sessions/{}/tokens",
        minted["session"].as_str().expect("an id")
    );
    // Where the agent can read it, and does.
    fs::write(desk.path().join("found.sh"), format!("found='{token}'\n")).expect("written");
    let found = format!(". {}/found.sh", desk.path().display());
    // Without its marks, in a session of its own, with the environment of a human.
    let tries = [
        format!("{PROGRAM} --data {data} approvals approve {id} --evidence mine --json; true"),
        format!("env -i {PROGRAM} --data {data} approvals approve {id} --evidence mine --json; true"),
        format!("env -i {KNOCK} {socket} {path} '{body}'"),
        format!("setsid env -i {KNOCK} {socket} {path} '{body}' | cat"),
        format!("(env -i {KNOCK} {socket} {path} '{body}' &) | cat"),
        // With the token of a human.
        format!(
            "{found}; LONGHAUL_TOKEN=$found {PROGRAM} --data {data} approvals approve {id} --evidence mine --json; true"
        ),
        format!("{found}; env -i {KNOCK} {socket} {path} '{body}' $found"),
        format!("{found}; setsid env -i {KNOCK} {socket} {path}?token=$found '{body}' | cat"),
        format!("{found}; (env -i {KNOCK} {socket} {path} '{body}' $found &) | cat"),
        // With one of its own.
        format!("env -i {PROGRAM} --data {data} token create push --scope approve --human me --json; true"),
        format!("env -i {KNOCK} {socket} /v1/sessions '{{\\\"goal\\\":\\\"more\\\",\\\"token\\\":true}}'"),
        format!("env -i {KNOCK} {socket} {tokens} '{{\\\"scopes\\\":[\\\"read\\\"]}}'"),
        // Money is what it stops for as well: it grants itself none, and raises no budget.
        format!(
            "env -i {KNOCK} {socket} /v1/credits/top-ups '{{\\\"amount\\\":\\\"9\\\",\\\"requestId\\\":\\\"mine\\\"}}'"
        ),
        format!("env -i {KNOCK} {socket} /v1/sessions/push/resume '{{\\\"budget\\\":\\\"9\\\"}}'"),
    ];
    let steps: Vec<String> = tries
        .iter()
        .map(|line| {
            format!("[[step]]\nrun = \"\"\"{line}\"\"\"\nexpect = {{ contains = \"self_approval\" }}\n")
        })
        .collect();
    let brain = desk.playbook(
        "tries.toml",
        &format!("{}\n[[step]]\nfinish = \"refused each time\"\n", steps.join("\n")),
    );
    let said = desk.says(&["run", "--key", "tries", "--brain", &brain, "approve of it"]);
    assert!(said.stderr.contains("completed: refused each time"), "{said:?}");

    // The brain itself is an agent as well.
    let answer = desk.path().join("answer");
    let agent = desk.path().join("agent.sh");
    fs::write(
        &agent,
        format!(
            "#!/bin/sh\nwhile read -r line; do case $line in *'\"type\":\"next\"'*)\n\
             env -i {KNOCK} {socket} {path} '{{\"evidence\":\"mine\"}}' > {answer} 2>&1\n\
             echo '{{\"type\":\"answer\",\"step\":1,\"end\":{{\"kind\":\"finish\",\"summary\":\"tried\"}}}}';; esac; done\n",
            answer = answer.display()
        ),
    )
    .expect("written");
    desk.sh("chmod +x agent.sh");
    let said = desk.says(&[
        "run",
        "--key",
        "brain",
        "--brain",
        &format!("process:{}", agent.display()),
        "approve of it",
    ]);
    let answer = fs::read_to_string(&answer).unwrap_or_default();
    assert!(
        answer.contains("403") && answer.contains("self_approval"),
        "{answer} {said:?}"
    );

    assert_eq!(desk.object(&["approvals", "show", &id])["status"], "pending");
    assert_eq!(desk.pushes(), 0);
    assert_eq!(desk.records("push", "approval.decided"), [] as [Value; 0]);
    // A human at the same socket may, with the very same token; nobody may twice.
    let knocks = |path: &str, body: &str| {
        let mut knock = Command::new(KNOCK);
        knock.args([socket, path, body, token]).stdin(Stdio::null());
        String::from_utf8_lossy(&watched::output(&mut knock).stdout).into_owned()
    };
    let without = knocks(&path, r#"{"evidence":""}"#);
    assert!(without.contains("400"), "{without}");
    let knocked = knocks(&path, r#"{"evidence":"read the diff"}"#);
    assert!(knocked.contains("200"), "{knocked}");
    desk.until("push", "completed");
    for (path, body) in [
        (&path, r#"{"evidence":"again"}"#),
        (&path.replace("approve", "deny"), r#"{"reason":"no"}"#),
    ] {
        let again = knocks(path, body);
        assert!(
            again.contains("409") && again.contains("approval_decided"),
            "{again}"
        );
    }
    assert_eq!(desk.pushes(), 1);
    let decided = desk.records("push", "approval.decided");
    assert_eq!((&decided[0]["data"]["by"], decided.len()), (&"ann".into(), 1));
    assert_eq!(decided[0]["actor"]["id"], "ann");
}

/// B-GATE-3: a child of a brain that has left its family and its session, kept nothing of its environment, and has outlived
/// the brain by the time it asks.
#[test]
fn an_orphan_of_a_brain_can_neither_decide_nor_grant_credit() {
    let desk = Desk::new();
    let server = desk.serve();
    let id = desk.asks("push", &desk.pusher());
    let (here, socket) = (desk.path().display(), &server.socket);
    let away = desk.path().join("away.sh");
    let wishes = [
        format!("approvals approve {id} --evidence mine"),
        format!("approvals deny {id} --reason mine"),
        "token create push --scope approve --human me".to_owned(),
        "credits top-up 9".to_owned(),
        "resume push --budget 9".to_owned(),
    ];
    let asks: Vec<String> = wishes
        .iter()
        .map(|wish| format!("{PROGRAM} --data {here}/data --json {wish}\n"))
        .collect();
    let knocks = format!("{KNOCK} {socket} /v1/approvals/{id}/approve '{{\"evidence\":\"mine\"}}'\n");
    fs::write(
        &away,
        format!(
            "exec > {here}/answers 2>&1\ntouch {here}/away\nuntil [ -e {here}/go ]; do sleep 0.05; done\n{}{knocks}touch {here}/done\n",
            asks.concat()
        ),
    )
    .expect("written");
    let agent = desk.path().join("agent.sh");
    fs::write(
        &agent,
        format!(
            "#!/bin/sh\nwhile read -r line; do case $line in *'\"type\":\"next\"'*)\n\
             (setsid env -i PATH=/usr/bin:/bin sh {away} <&- 2>&- >&- &)\n\
             until [ -e {here}/away ]; do sleep 0.01; done\n\
             echo '{{\"type\":\"answer\",\"step\":1,\"end\":{{\"kind\":\"finish\",\"summary\":\"left\"}}}}';; esac; done\n",
            away = away.display()
        ),
    )
    .expect("written");
    desk.sh("chmod +x agent.sh");
    let brain = format!("process:{}", agent.display());
    let said = desk.says(&["run", "--key", "brain", "--brain", &brain, "approve of it"]);
    assert!(said.stderr.contains("completed: left"), "{said:?}");

    desk.sh("touch go");
    let give_up = Instant::now() + PATIENCE;
    while !desk.path().join("done").exists() {
        assert!(Instant::now() < give_up, "the orphan never came to its end");
        std::thread::sleep(Duration::from_millis(20));
    }
    let answers = fs::read_to_string(desk.path().join("answers")).expect("it answered");
    let refused = answers.matches("\"code\":\"self_approval\"").count();
    assert_eq!(refused, wishes.len() + 1, "{answers}");
    assert_eq!(desk.object(&["approvals", "show", &id])["status"], "pending");
    assert_eq!(desk.object(&["credits", "show"])["granted"]["credits"], "5.00");
    assert_eq!(desk.pushes(), 0);
}

/// B-GATE-3: what is wrong with a decision is said with its code, and nothing is decided.
#[test]
fn a_decision_that_cannot_be_taken_says_why() {
    let desk = Desk::new();
    let id = desk.asks("push", &desk.pusher());
    let unknown = format!("ap_{}", "0".repeat(48));
    let foreign = format!("{}{}", &id[..35], "0".repeat(16));
    let long = "x".repeat(5_000);
    let rows: [(&[&str], &str, i32); 8] = [
        (
            &["approvals", "approve", &unknown, "--evidence", "x"],
            "not_found",
            1,
        ),
        (
            &["approvals", "approve", &foreign, "--evidence", "x"],
            "not_found",
            1,
        ),
        (
            &["approvals", "approve", "ap_", "--evidence", "x"],
            "not_found",
            1,
        ),
        // The beginning of an id is enough to look, not to decide.
        (
            &["approvals", "approve", &id[..40], "--evidence", "x"],
            "not_found",
            1,
        ),
        (
            &["approvals", "approve", &id, "--evidence", ""],
            "invalid_request",
            2,
        ),
        (
            &["approvals", "approve", &id, "--evidence", &long],
            "payload_too_large",
            2,
        ),
        (&["approvals", "approve", &id], "invalid_request", 2),
        (&["approvals", "show", &unknown], "not_found", 1),
    ];
    for (words, code, exit) in rows {
        desk.says(&[words, &["--json"]].concat()).is_problem(code, exit);
    }
    let shown = desk.object(&["approvals", "show", &id[..40]]);
    assert_eq!(
        (&shown["id"], &shown["status"]),
        (&id.as_str().into(), &"pending".into())
    );
    // An interrupt makes it void.
    let said = desk.says(&["send", "push", "never mind", "--mode", "interrupt"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    desk.says(&["approvals", "approve", &id, "--evidence", "x", "--json"])
        .is_problem("approval_decided", 4);
    assert_eq!(
        desk.object(&["approvals", "show", &id])["canceledBy"],
        "interrupt"
    );
    assert_eq!(desk.says(&["approvals", "ls", "--json"]).stdout, "");
}
