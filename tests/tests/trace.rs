//! Acknowledged means on disk, read off the system calls of the real program.

use longhaul::api::{Send as Message, Start};
use longhaul_actors::session::{Mode, SendMode};
use longhaul_tests::child::Child;
use longhaul_tests::playbook;
use longhaul_tests::trace::{Ack, check};

const PROGRAM: &str = env!("CARGO_BIN_EXE_longhaul-under-test");

/// B-LOG-5, B-STREAM-3: for each acknowledgement, the write of its record, the data sync of that file, then the reply.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs strace"]
async fn every_reply_comes_after_the_data_sync_of_the_record_it_speaks_of() {
    let folder = tempfile::tempdir().expect("a folder");
    let (data, file) = (folder.path().join("data"), folder.path().join("trace"));
    let traced = "trace=write,pwrite64,writev,pwritev,pwritev2,sendto,sendmsg,fdatasync";
    let out = file.display().to_string();
    let strace = [
        "strace", "-D", "-f", "-y", "-s", "1000000", "-e", traced, "-o", &out,
    ];
    // It asks more often than it is answered, so that it takes messages to the end.
    let brain = playbook(folder.path(), &"[[step]]\nask = \"and then?\"\n\n".repeat(40));
    let mut child = Child::start(&strace, PROGRAM, &data);
    let control = child.control().await.expect("it serves");
    let mut acks = Vec::new();
    let mut ids = Vec::new();
    for number in 0..3 {
        let goal = format!("goal-{number}-of-the-trace");
        let request = Start {
            goal: goal.clone(),
            brain: Some(brain.clone()),
            mode: Mode::Interactive,
            ..Start::default()
        };
        let id = control.start(request).await.expect("it starts").id;
        acks.push(Ack {
            record: goal,
            reply: format!("\"id\":\"{id}\",\"state\""),
        });
        ids.push(id);
    }
    // At the same time, so that several are committed together.
    let sends: Vec<_> = (0..30)
        .map(|number| {
            let (control, id) = (control.clone(), ids[number % ids.len()].clone());
            let text = format!("word-{number}-of-the-trace");
            tokio::spawn(async move {
                let message = Message {
                    text: text.clone(),
                    mode: SendMode::Queue,
                    idempotency_key: None,
                    by: None,
                };
                let accepted = control.send(&id, message).await.expect("it takes messages");
                Ack {
                    record: text,
                    reply: format!("\"id\":\"{id}\",\"seq\":{},", accepted.seq),
                }
            })
        })
        .collect();
    for send in sends {
        acks.push(send.await.expect("it answers"));
    }
    assert!(child.stop().await.success());
    let trace = std::fs::read_to_string(&file).expect("strace wrote it");
    if let Err(wrong) = check(&trace, &acks) {
        panic!("{wrong}");
    }
    println!(
        "{} acknowledgements, {} lines of trace",
        acks.len(),
        trace.lines().count()
    );
}
