//! B-LOG-5: a writer is killed at random instants; what it was told is durable is there, every time.
//!
//! Its own `main`, because the same binary is also the writer that gets killed.

#![allow(clippy::unwrap_used)] // helpers of tests are tests too

mod common;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use common::{Dice, content, draft, small, stream};
use longhaul_journal::{Journal, LocalJournal, OpenError, SubmitError, verify};

const WRITER: &str = "LONGHAUL_TEST_WRITER";
const STREAMS: u64 = 4;
const KILLS: u64 = 12;

fn main() {
    match std::env::var_os(WRITER) {
        Some(folder) => write_until_killed(Path::new(&folder)),
        None => acknowledged_frames_survive_kill_9(),
    }
}

fn acknowledged_frames_survive_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let mut dice = Dice::seeded("kill -9");
    let mut told: BTreeMap<u64, u64> = BTreeMap::new();
    for kill in 0..KILLS {
        told.extend(run_and_kill(
            folder.path(),
            Duration::from_millis(5 + dice.below(250)),
        ));
        // A sixth of the time nobody looks in between, so that a killed recovery is recovered from as well.
        if dice.below(6) == 0 {
            continue;
        }
        let (journal, report) = LocalJournal::open(folder.path(), small()).unwrap();
        assert_eq!(report.damaged, [], "kill {kill}");
        for (number, frames) in content(&journal, STREAMS) {
            let head = frames.last().map_or(0, |frame| frame.last_seq().0);
            let acknowledged = told.get(&number).copied().unwrap_or(0);
            assert!(
                head >= acknowledged,
                "kill {kill}: stream {number} was told {acknowledged}, has {head}"
            );
            for (frame, expected) in frames.iter().zip(1..) {
                assert_eq!(frame.first_seq().0, expected, "kill {kill}: stream {number}");
                let text = format!("{{\"text\":\"{}\"}}", said(number, expected));
                assert_eq!(
                    frame.records[0].event.payload,
                    text.as_bytes(),
                    "kill {kill}: stream {number}"
                );
            }
        }
        drop(journal);
        assert!(verify(folder.path(), None).unwrap().is_sound(), "kill {kill}");
    }
    let frames: u64 = told.values().sum();
    assert!(frames > 0, "no writer ever got as far as an acknowledgement");
    println!("{KILLS} kills, {frames} acknowledged frames, none lost");
}

/// Runs a writer for so long, kills it, and returns the last seq it was told of per stream.
fn run_and_kill(folder: &Path, after: Duration) -> BTreeMap<u64, u64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .env(WRITER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let (lines, told) = mpsc::channel();
    let reader = thread::spawn(move || {
        output
            .lines()
            .map_while(Result::ok)
            .try_for_each(|line| lines.send(line))
    });
    // The instant is random anyway; waiting on the channel only keeps it from being before the first word.
    let mut seen: Vec<String> = told.recv_timeout(Duration::from_secs(20)).into_iter().collect();
    let second = LocalJournal::open(folder, small());
    assert!(
        matches!(&second, Err(OpenError::InUse { holder, .. }) if holder.pid == child.id()),
        "a directory in use names its owner: {second:?}"
    );
    let until = Instant::now() + after;
    while let Ok(line) = told.recv_timeout(until.saturating_duration_since(Instant::now())) {
        seen.push(line);
    }
    child.kill().unwrap();
    child.wait().unwrap();
    seen.extend(told.iter());
    drop(reader.join());
    let parse = |line: &String| {
        let (number, seq) = line.split_once(' ')?;
        Some((number.parse().ok()?, seq.parse().ok()?))
    };
    let mut last = BTreeMap::new();
    for (number, seq) in seen.iter().filter_map(parse) {
        let known: &mut u64 = last.entry(number).or_default();
        *known = (*known).max(seq);
    }
    last
}

fn write_until_killed(folder: &Path) {
    let (journal, _) = LocalJournal::open(folder, small()).unwrap();
    println!("open");
    thread::scope(|scope| {
        for number in 0..STREAMS {
            let journal = &journal;
            scope.spawn(move || {
                let epoch = journal.claim(stream(number));
                let mut next = journal.head(stream(number)).unwrap().map_or(0, |head| head.seq.0);
                loop {
                    let receipts: Vec<_> = (next..next + 3)
                        .map(|seq| journal.submit(draft(stream(number), epoch, seq, &said(number, seq + 1))))
                        .collect();
                    for receipt in receipts {
                        match receipt.wait() {
                            Ok(durable) => next = durable.seq.0,
                            Err(SubmitError::Closed) => return,
                            Err(other) => panic!("{other}"),
                        }
                        // One write per line: whatever reaches the pipe was acknowledged.
                        let mut out = std::io::stdout().lock();
                        if out
                            .write_all(format!("{number} {next}\n").as_bytes())
                            .and_then(|()| out.flush())
                            .is_err()
                        {
                            return;
                        }
                    }
                }
            });
        }
    });
}

fn said(number: u64, seq: u64) -> String {
    format!("{number} says {seq}")
}
