//! One session in a program of one's own, from its start to its end: the example of the README, word for word.
//!
//!     cargo run --example embedded
//!
//! It works in the current folder: `data` is made there, and `steps.toml` is read from there.

use longhaul::actors::session::Mode;
use longhaul::{Options, Runtime, api};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    longhaul::intercept(); // before any thread: this program is the shim of its own commands
    work()
}

#[tokio::main]
async fn work() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = Runtime::open("data", Options::default()).await?;
    let control = runtime.control();
    let request = api::Start {
        goal: "make the tests pass".into(),
        brain: Some("playbook:steps.toml".into()),
        mode: Mode::Bounded, // until the brain is done; an interactive session waits for the next message
        ..api::Start::default()
    };
    let id = control.start(request).await?.id;
    let mut query = api::EventsQuery {
        wait_ms: 10_000,
        ..api::EventsQuery::default()
    };
    loop {
        let page = control.events(&id, query.clone()).await?;
        for record in &page.events {
            println!("{:>4}  {}", record.seq, record.type_name);
        }
        query.after = page.next_after;
        let waits_for_you = ["awaiting_input", "awaiting_approval", "paused"].contains(&page.state.as_str());
        if query.after == page.head && (page.ended || waits_for_you) {
            println!("{id} is {}", page.state);
            break;
        }
    }
    runtime.close().await; // what has not ended goes on when the directory is opened again
    Ok(())
}
