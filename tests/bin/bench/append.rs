//! Durable appends, beside the yardstick: the two take turns, and the median of the paired ratios counts.

use std::time::{Duration, Instant};

use longhaul_journal::{
    Draft, Epoch, Journal, Level, LocalJournal, NewRecord, Options, Receipt, Seq, Standing, StreamId,
};

use crate::kit::resident_bytes;
use crate::load::{Measured, PAYLOAD, Store, drive};
use crate::plan::{Failure, Plan};
use crate::row::Row;
use crate::yardstick::Yardstick;

/// Appends that wait while the yardstick is judged itself, and how many it must take in a second. Below that the machine was
/// at something else, or the disk is another one: no ratio to such a yardstick says anything.
const JUDGED_AT: usize = 64;
const YARDSTICK_PER_S: f64 = 300_000.0;

/// Appends over a thousand streams, with few and with many waiting.
pub(crate) fn few_streams(plan: &Plan) -> Result<(), Failure> {
    let mut yardstick = Yardstick::new(plan.folder())?;
    for waiting in [1, 8, 64, 512] {
        let mut journal = Writers::open(plan, plan.count.unwrap_or(1_000))?;
        let (yard, ours) = in_turns(plan, &mut yardstick, &mut journal, waiting)?;
        journal.remove()?;
        pair(plan, waiting, &yard, &ours).print(plan);
    }
    Ok(())
}

/// Appends over as many streams as sleep on a machine; the index of streams must keep up, or at least not pile up.
pub(crate) fn many_streams(plan: &Plan) -> Result<(), Failure> {
    let streams = plan.count.unwrap_or(100_000);
    let mut yardstick = Yardstick::new(plan.folder())?;
    let mut journal = Writers::open(plan, streams)?;
    let before = resident_bytes();
    let (yard, ours) = in_turns(plan, &mut yardstick, &mut journal, 64)?;
    let grown = resident_bytes().saturating_sub(before);
    let closing = Instant::now();
    journal.remove()?;
    pair(plan, 64, &yard, &ours)
        .with("streams", streams)
        .with("grown_bytes", grown)
        .number("close_s", closing.elapsed().as_secs_f64(), 2)
        .print(plan);
    Ok(())
}

/// How fast the journal takes appends of `waiting` clients; for benches that are judged by it.
pub(crate) fn rate(plan: &Plan, waiting: usize) -> Result<Measured, Failure> {
    let mut journal = Writers::open(plan, 1_000)?;
    let measured = drive(&mut journal, waiting, plan.time)?;
    journal.remove()?;
    Ok(measured)
}

fn in_turns(
    plan: &Plan,
    yardstick: &mut Yardstick,
    journal: &mut Writers,
    waiting: usize,
) -> Result<(Measured, Measured), Failure> {
    let mut pairs = Vec::new();
    for _ in 0..plan.rounds {
        pairs.push((
            drive(yardstick, waiting, plan.time)?,
            drive(journal, waiting, plan.time)?,
        ));
        // What the last run left to write in the background is not the next one's fault.
        std::thread::sleep(Duration::from_millis(200));
    }
    pairs.sort_by(|one, other| (one.1.rate / one.0.rate).total_cmp(&(other.1.rate / other.0.rate)));
    Ok(pairs[pairs.len() / 2])
}

fn pair(plan: &Plan, waiting: usize, yard: &Measured, ours: &Measured) -> Row {
    let row = Row::new(plan)
        .measured(waiting, ours)
        .number("yardstick_per_s", yard.rate, 0)
        .number("ratio", ours.rate / yard.rate, 2)
        .number("yardstick_p50_us", yard.p50_us, 0)
        .number("p50_ratio", ours.p50_us / yard.p50_us, 2);
    if waiting == JUDGED_AT && yard.rate < YARDSTICK_PER_S {
        return row.with("yardstick_broken", true);
    }
    row
}

/// A journal, and writers that take turns.
#[derive(Debug)]
pub(crate) struct Writers {
    folder: std::path::PathBuf,
    journal: LocalJournal,
    writers: Vec<(StreamId, Epoch, u64)>,
    turn: usize,
}

impl Writers {
    fn open(plan: &Plan, streams: u64) -> Result<Self, Failure> {
        let folder = plan.folder().join("journal-of-bench");
        let (journal, _) = LocalJournal::open(&folder, Options::default())?;
        let writers = (0..streams)
            .map(|number| StreamId::named("bench", "local", &number.to_string()))
            .map(|stream| (stream, journal.claim(stream), 0))
            .collect();
        Ok(Self {
            folder,
            journal,
            writers,
            turn: 0,
        })
    }

    fn remove(self) -> Result<(), Failure> {
        self.journal.close();
        Ok(std::fs::remove_dir_all(&self.folder)?)
    }
}

impl Store for Writers {
    type Receipt = Receipt;

    fn submit(&mut self) -> Receipt {
        let count = self.writers.len();
        let (stream, epoch, seq) = &mut self.writers[self.turn * 7919 % count];
        let draft = draft(*stream, *epoch, *seq, 1);
        *seq += 1;
        self.turn += 1;
        self.journal.submit(draft)
    }

    fn wait(receipt: Receipt) -> Result<(), Failure> {
        receipt.wait()?;
        Ok(())
    }
}

/// A frame of so many records of 256 bytes.
pub(crate) fn draft(stream: StreamId, epoch: Epoch, expected: u64, records: usize) -> Draft {
    let record = || NewRecord {
        type_name: "command.run".into(),
        type_version: 1,
        cause: None,
        level: Level::Progress,
        payload: vec![b'x'; PAYLOAD],
    };
    Draft {
        stream,
        kind: "bench".into(),
        epoch,
        expected: Seq(expected),
        time_ms: 1_764_000_000_000,
        standing: Standing::Done,
        records: std::iter::repeat_with(record).take(records).collect(),
    }
}
