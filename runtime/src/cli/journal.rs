//! `longhaul journal inspect`, `verify`, `stats`: the journal itself, read from its files whether or not it is in use.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use longhaul_actors::Entity;
use longhaul_actors::account::{Account, DEFAULT_ACCOUNT};
use longhaul_actors::session::Session;
use longhaul_actors::token::Tokens;
use longhaul_journal::{
    BadBlob, ChainHash, Damage, Entry, Frame, HeadCheck, Lost, Offline, Seq, Standing, StreamId,
    VerifyReport, acknowledge_lost, stats, verify, verify_blobs,
};
use serde_json::json;

use super::Outcome;
use super::args::{Inspect, Journal, JournalVerb, Repair, Verify};
use super::reach::Place;
use super::render::{count, escaped, heading, size};
use super::shelf::{self, Shelf};
use super::tail::print;
use super::ui::{Failure, Ui};
use super::wishes;
use crate::api::{Code, Problem, RecordView, rfc3339, session_id};
use crate::service::{ACCOUNT, OWNER, shown_name};

pub(super) async fn journal(args: Journal, place: &Place, ui: &Ui) -> Outcome {
    match args.verb {
        JournalVerb::Inspect(Inspect { id: Some(id), from }) => records(&id, from, place, ui),
        JournalVerb::Inspect(Inspect { id: None, .. }) => streams(place, ui),
        JournalVerb::Verify(args) => verified(&args, place, ui),
        JournalVerb::Repair(Repair { id: Some(id), .. }) => wishes::repair(&id, place, ui).await,
        JournalVerb::Repair(Repair { yes, .. }) => acknowledged(yes, place, ui),
        JournalVerb::Stats => counted(place, ui),
    }
}

fn there(place: &Place) -> Result<Offline, Problem> {
    shelf::open(place.data())?.ok_or_else(|| {
        Problem::new(
            Code::NotFound,
            format!("there is no journal in {}", place.data().display()),
        )
        .next("name another directory", "longhaul --data DIR journal stats")
    })
}

/// Every record of a session, hidden ones too, and what cannot be read.
fn records(id: &str, from: u64, place: &Place, ui: &Ui) -> Outcome {
    let journal = there(place)?;
    if let Ok(stream) = id.parse::<StreamId>() {
        return bare_records(&journal, stream, from, place, ui);
    }
    let shelf = Shelf::new(place.data());
    let stream = shelf.find(id)?;
    if !ui.is_json() {
        ui.line(&heading())?;
    }
    let (mut shown, mut next) = (Ok(()), Seq(1));
    let walked = journal.walk(Some(stream), |entry| {
        let Entry::Frame(frame) = entry else {
            return ControlFlow::Continue(());
        };
        shown = show(&frame, from, next, ui);
        next = frame.last_seq().next();
        if shown.is_ok() {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    });
    walked.map_err(|error| shelf::unreadable(place.data(), error))?;
    shown?;
    // A gap shows between two frames; that the last one is lost is known only to who walks every chain.
    match shelf.log(stream)?.damage {
        Some(why) => {
            ui.note(&why.to_string());
            Ok(Code::JournalDamaged.exit_code())
        }
        None => Ok(0),
    }
}

/// Every record of a stream of any kind, its payload as it is stored.
fn bare_records(journal: &Offline, stream: StreamId, from: u64, place: &Place, ui: &Ui) -> Outcome {
    if !ui.is_json() {
        ui.line(&heading())?;
    }
    let (mut shown, mut seen) = (Ok(()), false);
    let walked = journal.walk(Some(stream), |entry| {
        if let Entry::Frame(frame) = entry {
            seen = true;
            let wanted = frame.records.iter().filter(|record| record.seq.0 >= from);
            shown = wanted
                .into_iter()
                .try_for_each(|record| print(&RecordView::bare(stream, record), ui));
        }
        if shown.is_ok() {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    });
    walked.map_err(|error| shelf::unreadable(place.data(), error))?;
    shown?;
    if seen {
        return Ok(0);
    }
    Err(
        Problem::new(Code::NotFound, format!("there is no stream {stream}"))
            .next("list all streams", "longhaul journal inspect")
            .into(),
    )
}

/// Prints a frame, after saying whether records before it are missing.
fn show(frame: &Frame, from: u64, next: Seq, ui: &Ui) -> Result<(), Failure> {
    if let Some(stands) = frame.resumes_after {
        ui.note(&format!(
            "the session goes on behind a gap: what comes after seq {stands} and before {} is set aside",
            frame.first_seq()
        ));
    } else if frame.first_seq() != next {
        ui.note(&format!(
            "seq {next} cannot be read; the next one that can is {}",
            frame.first_seq()
        ));
    }
    for record in frame.records.iter().filter(|record| record.seq.0 >= from) {
        match RecordView::of(frame.stream, record) {
            Ok(view) => print(&view, ui)?,
            Err(error) => ui.note(&format!(
                "seq {} of type {}: {error}",
                record.seq, record.event.type_name
            )),
        }
    }
    Ok(())
}

/// One line per stream, whatever its kind.
fn streams(place: &Place, ui: &Ui) -> Outcome {
    let mut last: BTreeMap<StreamId, (Seq, u64, String, Standing, ChainHash)> = BTreeMap::new();
    let walked = there(place)?.walk(None, |entry| {
        if let Entry::Frame(frame) = entry {
            let kind = frame.kind.to_string();
            let head = (
                frame.last_seq(),
                frame.time_ms(),
                kind,
                frame.standing.clone(),
                frame.hash,
            );
            last.insert(frame.stream, head);
        }
        ControlFlow::Continue(())
    });
    walked.map_err(|error| shelf::unreadable(place.data(), error))?;
    if !ui.is_json() {
        ui.line(&format!(
            "{:<34}  {:<10}  {:>6}  {:<24}  {:<32}  waits",
            "stream", "kind", "seq", "time", "hash"
        ))?;
    }
    for (stream, (seq, time_ms, kind, standing, hash)) in last {
        let (id, time, waits) = (stream_name(stream, &kind), rfc3339(time_ms), waits(&standing));
        if ui.is_json() {
            let hash = hash.to_string();
            ui.object(
                &json!({ "id": id, "kind": kind, "seq": seq, "ts": time, "hash": hash, "waits": waits }),
            )?;
        } else {
            let line = format!("{id:<34}  {kind:<10}  {seq:>6}  {time:<24}  {hash}  {waits}");
            ui.line(&escaped(&line))?;
        }
    }
    Ok(0)
}

fn stream_name(stream: StreamId, kind: &str) -> String {
    if kind == Session::KIND {
        session_id(stream)
    } else {
        stream.to_string()
    }
}

/// A stream by its id alone: the account is no session, everything else that longhaul itself writes is.
fn shown_id(stream: StreamId) -> String {
    if stream == Account::stream(OWNER, DEFAULT_ACCOUNT) {
        stream.to_string()
    } else {
        session_id(stream)
    }
}

fn waits(standing: &Standing) -> String {
    match standing {
        Standing::Done => "for nothing".into(),
        Standing::Owed => "for its owner".into(),
        Standing::Until(ms) => format!("until {}", rfc3339(*ms)),
        Standing::Waits(name) => format!("for {name}"),
    }
}

/// Checks everything, and each chain against the heads that were noted elsewhere (B-LOG-6).
fn verified(args: &Verify, place: &Place, ui: &Ui) -> Outcome {
    there(place)?;
    let shelf = Shelf::new(place.data());
    let expected = args
        .head
        .iter()
        .map(|pair| expected_head(pair, &shelf))
        .collect::<Result<Vec<_>, _>>()?;
    let walk = |head| verify(place.data(), head).map_err(|error| shelf::unreadable(place.data(), error));
    // A walk proves one head; without any, one walk checks the frames.
    let heads: Vec<Option<Expected>> = if expected.is_empty() {
        vec![None]
    } else {
        expected.into_iter().map(Some).collect()
    };
    let mut sound = true;
    for (nth, head) in heads.into_iter().enumerate() {
        let report = walk(head)?;
        sound &= report.is_sound();
        tell(&report, head.filter(|_| report.head.is_some()), nth == 0, ui)?;
    }
    sound &= args.frames_only || bodies(place, ui)?;
    Ok(if sound {
        0
    } else {
        Code::JournalDamaged.exit_code()
    })
}

/// Takes note of damaged bytes that belong to nobody, after showing them.
fn acknowledged(yes: bool, place: &Place, ui: &Ui) -> Outcome {
    there(place)?;
    let report = verify(place.data(), None).map_err(|error| shelf::unreadable(place.data(), error))?;
    if !report.lost.is_empty() && !yes {
        for line in report.lost.iter().map(as_line) {
            ui.note(&line);
        }
        let detail =
            "whatever lay there is lost, and no session is known to miss it; look for it in a backup first";
        return Err(Problem::new(Code::InvalidRequest, detail)
            .next(
                "take note of it",
                "longhaul journal repair --acknowledge-lost --yes",
            )
            .into());
    }
    acknowledge_lost(place.data(), &report.lost).map_err(|error| {
        let detail = format!("cannot take note of it: {error}");
        Problem::new(Code::StorageUnavailable, detail)
    })?;
    if ui.is_json() {
        ui.object(&json!({ "acknowledged": report.lost.len() }))?;
    } else {
        let stretches = count(report.lost.len() as u64, "damaged stretch").replace("stretchs", "stretches");
        ui.line(&format!(
            "took note of {stretches} that no session is known to miss"
        ))?;
    }
    Ok(0)
}

fn as_line(lost: &Lost) -> String {
    let (position, bytes, reason) = (lost.position, lost.bytes, &lost.reason);
    format!("{bytes} damaged bytes at position {position} that belong to no stream: {reason}")
}

/// Checks the bodies as well; which are bad, and who needs them.
fn bodies(place: &Place, ui: &Ui) -> Result<bool, Failure> {
    let checked = verify_blobs(place.data()).map_err(|error| shelf::unreadable(place.data(), error))?;
    let (blobs, bad) = checked;
    for BadBlob { id, streams } in &bad {
        let sessions: Vec<String> = streams.iter().map(|stream| session_id(*stream)).collect();
        if ui.is_json() {
            ui.object(&json!({ "blob": id.to_string(), "damaged": true, "sessions": sessions }))?;
        } else {
            let who = match sessions.is_empty() {
                true => "no session names it".to_owned(),
                false => format!("needed by {}", sessions.join(" ")),
            };
            ui.line(&format!("blob {id}  damaged: its bytes have another hash; {who}"))?;
        }
    }
    if !ui.is_json() {
        ui.line(&format!("{} checked", count(blobs, "blob")))?;
    }
    Ok(bad.is_empty())
}

type Expected = (StreamId, ChainHash);

fn expected_head(pair: &str, shelf: &Shelf) -> Result<Expected, Problem> {
    let (id, hash) = pair.split_once('=').unwrap_or((pair, ""));
    let mut bytes = [0; 16];
    hex::decode_to_slice(hash, &mut bytes).map_err(|_| {
        Problem::new(
            Code::InvalidRequest,
            format!("{pair:?} is no ID=HASH; a hash has 32 hexadecimal digits"),
        )
        .next("see the hashes of today", "longhaul journal inspect")
    })?;
    // What is no session is named by its bare id.
    let stream = id.parse().or_else(|_| shelf.find(id))?;
    Ok((stream, ChainHash(bytes)))
}

fn tell(report: &VerifyReport, head: Option<Expected>, with_frames: bool, ui: &Ui) -> Result<(), Failure> {
    if ui.is_json() {
        return ui.object(&as_object(report, head));
    }
    if with_frames {
        in_words(report)
            .iter()
            .try_for_each(|line| ui.line(&escaped(line)))?;
        ways_on(report).iter().for_each(|way| ui.note(way));
    }
    if let (Some((stream, hash)), Some(check)) = (head, report.head) {
        let id = shown_id(stream);
        ui.line(&match check {
            HeadCheck::Holds { seq } => {
                format!("{id}  holds {hash} at seq {seq}: its history up to there is what it was")
            }
            _ => format!("{id}  holds no frame {hash}: its history was changed, or cut before it"),
        })?;
    }
    Ok(())
}

/// What to do about each damaged stream.
fn ways_on(report: &VerifyReport) -> Vec<String> {
    let way = |damage: &Damage| {
        let name = shown_name(damage.stream, &damage.kind);
        if damage.readable_to == Seq::ZERO && name != ACCOUNT {
            format!(
                "nothing of {name} stands; a backup may have it, or give it up: longhaul rm {name} --log --yes"
            )
        } else {
            format!("take {name} up again behind the damage: longhaul journal repair {name}")
        }
    };
    report.damaged.iter().map(way).collect()
}

fn in_words(report: &VerifyReport) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for damage in &report.damaged {
        let bad = damage.readable_to.next();
        lines.push(format!(
            "{}  {}damaged at seq {bad}: {}",
            shown_name(damage.stream, &damage.kind),
            if damage.kind == Tokens::KIND {
                "tokens, "
            } else {
                ""
            },
            damage.reason
        ));
    }
    for repaired in &report.repaired {
        lines.push(format!(
            "{}  goes on with seq {} after seq {}: repaired",
            shown_name(repaired.stream, &repaired.kind),
            repaired.first_seq,
            repaired.resumes_after
        ));
    }
    if report.removed > 0 {
        lines.push(format!("{} removed", report.removed));
    }
    for lost in &report.lost {
        lines.push(as_line(lost));
    }
    if !report.known_lost.is_empty() {
        let stretches =
            count(report.known_lost.len() as u64, "damaged stretch").replace("stretchs", "stretches");
        lines.push(format!("{stretches} that somebody took note of"));
    }
    let state = if report.damaged.is_empty() && report.lost.is_empty() {
        "sound"
    } else {
        "damaged"
    };
    let whole = [
        count(report.streams, "stream"),
        count(report.frames, "frame"),
        count(report.records, "record"),
    ];
    lines.push(format!("{state}: {}", whole.join(", ")));
    if report.unconfirmed_frames > 0 {
        lines.push(format!(
            "{} at the end, not yet known to be on disk",
            count(report.unconfirmed_frames, "frame")
        ));
    }
    if report.torn_bytes > 0 {
        lines.push(format!(
            "{} of a write that never finished, and was never acknowledged",
            size(report.torn_bytes)
        ));
    }
    lines
}

fn as_object(report: &VerifyReport, head: Option<Expected>) -> serde_json::Value {
    let of_stream = |damage: &Damage| json!({ "id": shown_name(damage.stream, &damage.kind), "kind": damage.kind, "seq": damage.readable_to.next(), "reason": damage.reason });
    let damaged: Vec<_> = report.damaged.iter().map(of_stream).collect();
    let repaired: Vec<_> = report
        .repaired
        .iter()
        .map(|it| json!({ "id": shown_name(it.stream, &it.kind), "kind": it.kind, "after": it.resumes_after, "seq": it.first_seq }))
        .collect();
    let heads: BTreeMap<String, _> = report
        .heads
        .iter()
        .map(|(stream, (seq, hash))| (shown_id(*stream), json!({ "seq": seq, "hash": hash.to_string() })))
        .collect();
    let expected = head.map(|(stream, hash)| {
        let seq = match report.head {
            Some(HeadCheck::Holds { seq }) => Some(seq),
            _ => None,
        };
        json!({ "id": shown_id(stream), "hash": hash.to_string(), "seq": seq })
    });
    json!({
        "ok": report.is_sound(), "streams": report.streams, "frames": report.frames, "records": report.records,
        "damaged": damaged, "repaired": repaired, "removed": report.removed, "lost": report.lost.len(), "knownLost": report.known_lost.len(), "unconfirmedFrames": report.unconfirmed_frames,
        "tornBytes": report.torn_bytes, "heads": heads, "expected": expected,
    })
}

fn counted(place: &Place, ui: &Ui) -> Outcome {
    there(place)?;
    let stats = stats(place.data()).map_err(|error| shelf::unreadable(place.data(), error))?;
    if ui.is_json() {
        ui.object(&json!({
            "segments": stats.segments, "frames": stats.frames, "records": stats.records,
            "payloadBytes": stats.payload_bytes, "frameBytes": stats.frame_bytes, "diskBytes": stats.disk_bytes,
            "streamsByKind": stats.streams_by_kind,
        }))?;
        return Ok(0);
    }
    for (kind, streams) in &stats.streams_by_kind {
        ui.line(&escaped(&format!("streams     {streams} of kind {kind}")))?;
    }
    let rows = [
        ("frames", stats.frames.to_string()),
        ("records", stats.records.to_string()),
        ("payload", size(stats.payload_bytes)),
        ("frames are", size(stats.frame_bytes)),
        ("segments", stats.segments.to_string()),
        ("on disk", size(stats.disk_bytes)),
    ];
    rows.iter()
        .try_for_each(|(name, value)| ui.line(&format!("{name:<10}  {value}")))?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// B-LOG-6
    #[test]
    fn damage_is_told_by_its_first_bad_seq() {
        let stream = StreamId::named("session", "local", "nightly");
        let mut report = VerifyReport::default();
        report.damaged.push(Damage {
            stream,
            kind: "session".into(),
            readable_to: Seq(11),
            reason: "checksum differs".into(),
        });
        let lines = in_words(&report);
        assert_eq!(
            lines[0],
            format!("{}  damaged at seq 12: checksum differs", session_id(stream))
        );
        assert_eq!(lines[1], "damaged: 0 streams, 0 frames, 0 records");
        assert_eq!(as_object(&report, None)["damaged"][0]["seq"], 12);
    }

    #[test]
    fn a_torn_tail_is_no_damage() {
        let mut report = VerifyReport::default();
        report.torn_bytes = 2048;
        let lines = in_words(&report);
        assert!(lines[0].starts_with("sound"), "{lines:?}");
        assert!(lines[1].contains("never acknowledged"), "{lines:?}");
    }
}
