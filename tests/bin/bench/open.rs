//! What a journal takes on disk, and how soon it is open again after it was killed.

use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};

use longhaul_journal::{Journal, LocalJournal, Options, StreamId, stats};

use crate::append::draft;
use crate::kit::{disk_bytes, killed_when_ready, play, resident_bytes, tell};
use crate::load::PAYLOAD;
use crate::plan::{Failure, Plan};
use crate::row::Row;

const STREAMS: u64 = 1_000;

/// Bytes on disk, catalogue included; the zeros ahead of the last frame are room, not data.
pub(crate) fn size(plan: &Plan) -> Result<(), Failure> {
    let records = plan.count.unwrap_or(1_000_000);
    for per_frame in [1, 4] {
        let folder = plan.folder().join(format!("size-{per_frame}"));
        let (journal, _) = LocalJournal::open(&folder, Options::default())?;
        write(&journal, records, per_frame)?;
        journal.close();
        drop(journal);
        settle(&folder)?;
        let counted = stats(&folder)?;
        let catalogue = disk_bytes(&folder.join("catalogue"))?;
        let events = (counted.records * PAYLOAD as u64) as f64;
        let data = counted.frame_bytes + counted.segments * 64;
        Row::new(plan)
            .with("records", counted.records)
            .with("records_per_frame", per_frame)
            .with("frame_bytes", data)
            .with("catalogue_bytes", catalogue)
            .number("ratio", (data + catalogue) as f64 / events, 2)
            .with("yardstick", "bytes of the events")
            .print(plan);
        std::fs::remove_dir_all(&folder)?;
    }
    Ok(())
}

/// Opens and closes until the background has nothing left to index but the segment that is written to.
fn settle(folder: &Path) -> Result<(), Failure> {
    let mut unindexed = u64::MAX;
    loop {
        let (journal, found) = LocalJournal::open(folder, Options::default())?;
        std::thread::sleep(Duration::from_millis(500));
        journal.close();
        if found.frames_scanned >= unindexed {
            return Ok(());
        }
        unindexed = found.frames_scanned;
    }
}

/// Opening after a kill in the middle of writing.
pub(crate) fn open(plan: &Plan) -> Result<(), Failure> {
    let records = plan.count.unwrap_or(5_000_000);
    let folder = plan.folder().join("open");
    let mut opened = Vec::new();
    killed_when_ready("write-on", &folder, records)?;
    for _ in 0..plan.rounds {
        // Killed again each time, so that each opening finds a tail that nobody closed.
        opened.push(play("open", &folder, 0)?);
        killed_when_ready("write-on", &folder, 100_000)?;
    }
    let seconds = |found: &serde_json::Map<String, serde_json::Value>| {
        found
            .get("open_s")
            .and_then(serde_json::Value::as_f64)
            .unwrap_or(f64::NAN)
    };
    opened.sort_by(|one, other| seconds(one).total_cmp(&seconds(other)));
    Row::new(plan)
        .with("records", records)
        .and(
            &opened[opened.len() / 2],
            &["open_s", "frames_scanned", "resident_bytes"],
        )
        .number("slowest_s", opened.last().map_or(f64::NAN, seconds), 3)
        .print(plan);
    Ok(())
}

/// Writes so many records, says so, and goes on until it is killed.
pub(crate) fn write_on(folder: &Path, records: u64) -> Result<(), Failure> {
    let (journal, _) = LocalJournal::open(folder, Options::default())?;
    write(&journal, records, 1)?;
    tell(serde_json::json!({ "written": records }))?;
    write(&journal, u64::MAX, 1)
}

/// Opens it and says how long that took.
pub(crate) fn open_and_look(folder: &Path, _: u64) -> Result<(), Failure> {
    let begun = Instant::now();
    let (journal, found) = LocalJournal::open(folder, Options::default())?;
    let open_s = begun.elapsed().as_secs_f64();
    let resident = resident_bytes();
    tell(serde_json::json!({
        "open_s": open_s,
        "frames_scanned": found.frames_scanned,
        "resident_bytes": resident,
    }))?;
    journal.close();
    Ok(())
}

fn write(journal: &LocalJournal, records: u64, per_frame: usize) -> Result<(), Failure> {
    let mut writers = Vec::new();
    for number in 0..STREAMS {
        let stream = StreamId::named("bench", "local", &number.to_string());
        let head = journal.head(stream)?.map_or(0, |head| head.seq.0);
        writers.push((stream, journal.claim(stream), head));
    }
    let mut receipts = VecDeque::new();
    let (mut written, mut turn) = (0, 0);
    while written < records {
        let count = writers.len();
        let (stream, epoch, seq) = &mut writers[turn * 7919 % count];
        receipts.push_back(journal.submit(draft(*stream, *epoch, *seq, per_frame)));
        *seq += per_frame as u64;
        written += per_frame as u64;
        turn += 1;
        if receipts.len() >= 512
            && let Some(receipt) = receipts.pop_front()
        {
            receipt.wait()?;
        }
    }
    for receipt in receipts {
        receipt.wait()?;
    }
    Ok(())
}
