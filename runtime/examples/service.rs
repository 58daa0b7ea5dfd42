//! A service of one's own with agent sessions inside: reads goals from standard input, one a line, and works on each.
//!
//!     cargo run --example service -- data steps.toml
//!
//! Kill it anywhere and start it again: what was under way goes on, and its progress is printed from where it was.

use std::error::Error;
use std::sync::Arc;

use longhaul::api::{EventsQuery, ListQuery, Start};
use longhaul::journal::Level;
use longhaul::{Control, Options, Runtime};
use tokio::io::{AsyncBufReadExt, BufReader};

fn main() -> Result<(), Box<dyn Error>> {
    longhaul::intercept(); // before any thread: this program is the shim of its own commands
    serve()
}

#[tokio::main]
async fn serve() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(data), Some(playbook)) = (args.next(), args.next()) else {
        return Err("usage: service DATA_DIR PLAYBOOK".into());
    };
    let runtime = Runtime::open(data, Options::default()).await?;
    let mut watchers = tokio::task::JoinSet::new();
    for session in runtime.control().list(ListQuery::default()).await?.sessions {
        watchers.spawn(watch(runtime.control(), session.id, session.head));
    }
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(goal) = lines.next_line().await? {
        let request = Start {
            // The goal is its name: saying it twice makes one session.
            key: Some(goal.clone()),
            goal,
            brain: Some(format!("playbook:{playbook}")),
            mode: longhaul::actors::session::Mode::Bounded,
            ..Start::default()
        };
        match runtime.control().start(request).await {
            Ok(started) => drop(watchers.spawn(watch(runtime.control(), started.id, 0))),
            Err(problem) => eprintln!("{}: {problem}", problem.code.name()),
        }
    }
    while watchers.join_next().await.is_some() {}
    runtime.close().await;
    Ok(())
}

/// Prints what a person wants to read, until nothing follows any more.
async fn watch(control: Arc<dyn Control>, id: String, from: u64) {
    let mut after = from;
    loop {
        let query = EventsQuery {
            after,
            level: Level::User,
            wait_ms: 10_000,
            ..EventsQuery::default()
        };
        let page = match control.events(&id, query).await {
            Ok(page) => page,
            Err(problem) => return eprintln!("{id}: {problem}"),
        };
        for record in page.events {
            println!(
                "{id} {:>4} {} {}",
                record.seq, record.type_name, record.stored.data
            );
        }
        after = page.next_after;
        let waits_for_somebody = matches!(page.state.as_str(), "awaiting_input" | "paused");
        if after == page.head && (page.ended || waits_for_somebody) {
            return;
        }
    }
}
