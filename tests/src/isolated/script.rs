//! What the session does: a playbook with every kind of act that hands can do, and commands that show how often they ran.
//! It is the second run of a task whose first one fails.

/// The first run of the task.
pub const FIRST: &str = "session/1";
/// The session: its second run.
pub const SECOND: &str = "session/2";
/// The account that both are charged to.
pub const ACCOUNT: &str = "account/1";
/// The task that they work on.
pub const TASK: &str = "task/1";
/// What the session suggests.
pub const SUGGESTION: &str = "task/2";
/// What the first run does.
pub const FAILING: &str = "[[step]]\nfail = \"not the first time\"\n";
/// The commands of the playbook, in the order in which they come.
pub const COMMANDS: [&str; 6] = ["first", "heard", "steered", "served", "gated", "last"];
/// The one that is held until a message was sent.
pub const HEARD: &str = "heard";
/// What is said to the session meanwhile.
pub const MESSAGE: &str = "steer it, please";
/// The answer to what it asks.
pub const ANSWER: &str = "this one";
/// The service that runs beside the later steps.
pub const SERVICE: &str = "beside";
/// The file of the workspace in which each command leaves a line. It is no part of the patch.
pub const WORK: &str = "work.txt";

/// A command that must not run twice: it leaves one line when it begins and one when it ends, at home, and one in the
/// workspace. In between it waits until it is let go.
fn command(name: &str, prelude: &str) -> String {
    format!(
        "[[step]]\nrun = '''{prelude}echo begun >> ~/{name}; until [ -e ~/go-{name} ]; do sleep 0.005; done; \
         echo {name} >> {WORK}; echo ended >> ~/{name}; echo did {name}'''\non_unknown = \"continue\"\n\n"
    )
}

/// The playbook.
pub fn playbook() -> String {
    let [first, heard, steered, served, gated, last] = COMMANDS;
    let mut text = String::new();
    for part in [
        "[[step]]\nsay = \"here we go\"\n\n",
        &command(first, ""),
        "[[step]]\nwrite = \"notes.txt\"\ncontent = \"one\\n\"\n\n",
        "[[step]]\nreplace = \"notes.txt\"\nold = \"one\"\nnew = \"two\"\n\n",
        "[[step]]\nread = \"notes.txt\"\nexpect = { contains = \"two\" }\n\n",
        &command(heard, ""),
        "[[step]]\nask = \"which one?\"\n\n",
        &format!(
            "[[step]]\nservice = \"{SERVICE}\"\nstart = \"echo begun >> ~/{SERVICE}; exec sleep 1000\"\n\n"
        ),
        &command(
            served,
            &format!("until [ -s ~/{SERVICE} ]; do sleep 0.005; done; "),
        ),
        &command(gated, "git push nowhere main; "),
        "[[step]]\nartifact = \"notes.txt\"\nkind = \"report\"\n\n",
        "[[step]]\nwrite = \"idea.md\"\ncontent = \"# cache the index\\n\\nit is slow\\n\"\n\n",
        "[[step]]\nartifact = \"idea.md\"\nkind = \"task_suggestion\"\n\n",
        &command(last, ""),
        "[[step]]\npatch = true\n\n",
        "[[step]]\nfinish = \"done\"\n\n",
        "[[on_message]]\ncontains = \"steer\"\n\n",
        &command(steered, "").replace("[[step]]", "[[on_message.step]]"),
    ] {
        text.push_str(part);
    }
    text
}

/// What a call of each tool costs, so that the first credit does not last: a command costs more than its time.
pub const PRICES: &str = r#"{"tools": {"exec": 100000}}"#;
/// What the account begins with, in credits.
pub const INITIAL: &str = "0.24";
