//! The sessions of a directory, read from its files: no lock is taken and nothing is written, so it works beside whoever
//! has the directory, on a read-only disk, and on a copy.
//!
//! What is not yet known to be durable is not shown. Reading blocks the calling thread: this is for a command line that
//! has nothing else to do.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::ready;
use longhaul_actors::Entity;
use longhaul_actors::session::{Session, State, approval_session};
use longhaul_journal::{Damage, Entry, Frame, Offline, OfflineError, Seq, StreamId, inert_streams, verify};

use super::fold::{Unfoldable, fold_frame};
use super::joints::{self, meant, no_such};
use super::render::count;
use crate::api::{
    Accepted, ApprovalStatus, ApprovalView, ApprovalsPage, ApprovalsQuery, Cancel, Code, Decide, EventsPage,
    EventsQuery, ListPage, ListQuery, NextAction, Pause, Problem, RecordView, Requests, Resume,
    Send as Message, SessionView, Start, Started, session_id,
};
use crate::{Answer, Control};

/// How long to wait before looking again for what the owner of the directory may have written.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// The files of a data directory.
pub(super) struct Shelf {
    data: PathBuf,
    // A log is read whole, so the pages after the first come from here.
    last_read: Mutex<Option<Arc<Log>>>,
}

/// The log of one session as it was when it was read.
pub(super) struct Log {
    pub(super) stream: StreamId,
    pub(super) frames: Vec<Arc<Frame>>,
    /// Where it is damaged, if it is: nothing beyond can be trusted.
    pub(super) damage: Option<Unfoldable>,
}

/// A session in the course of being folded.
#[derive(Default)]
struct Folding {
    state: State,
    broken: Option<Unfoldable>,
}

impl Folding {
    fn add(&mut self, frame: &Frame) {
        if frame.resumes_after == Some(self.state.head) {
            // The session was taken up again behind what is broken.
            self.broken = None;
        }
        if self.broken.is_none() {
            let before = self.state.clone();
            if let Err(why) = fold_frame(&mut self.state, frame, Seq(u64::MAX)) {
                (self.state, self.broken) = (before, Some(why));
            }
        }
    }
}

impl Shelf {
    /// The files of this data directory, whether or not they exist.
    pub(super) fn new(data: &Path) -> Self {
        Self {
            data: data.to_owned(),
            last_read: Mutex::default(),
        }
    }

    /// The stream that an id, an unambiguous beginning of one, or a key means.
    pub(super) fn find(&self, id: &str) -> Result<StreamId, Problem> {
        let mut known = Vec::new();
        let mut removed = BTreeSet::new();
        let damaged = self.walk(None, |frame| {
            known.push(frame.stream);
            if frame.is_removal() {
                removed.insert(frame.stream);
            }
        })?;
        // The first frame, or every one, may be lost; the session is meant all the same.
        known.extend(damaged.into_keys());
        known.sort_unstable();
        known.dedup();
        known.retain(|stream| !removed.contains(stream));
        resolve(id, &known).map_err(|problem| {
            let removed: Vec<StreamId> = removed.into_iter().collect();
            match resolve(id, &removed) {
                Ok(stream) if problem.code == Code::NotFound => {
                    let detail = format!(
                        "{} was removed; nothing of it is left but its id",
                        session_id(stream)
                    );
                    Problem::new(Code::SessionRemoved, detail).next("list what there is", "longhaul ls")
                }
                _ => problem,
            }
        })
    }

    /// The whole log of a stream.
    pub(super) fn log(&self, stream: StreamId) -> Result<Log, Problem> {
        let mut frames = Vec::new();
        let mut damage = self.walk(Some(stream), |frame| put(&mut frames, frame))?;
        Ok(Log {
            stream,
            frames,
            damage: damage.remove(&stream),
        })
    }

    /// The logs of all sessions.
    pub(super) fn logs(&self) -> Result<Vec<Log>, Problem> {
        let mut logs: BTreeMap<StreamId, Vec<Arc<Frame>>> = BTreeMap::new();
        let mut damage = self.walk(None, |frame| put(logs.entry(frame.stream).or_default(), frame))?;
        // A session that lost every frame is still one.
        for stream in damage.keys() {
            logs.entry(*stream).or_default();
        }
        logs.retain(|_, frames| !frames.last().is_some_and(|last| last.is_removal()));
        let log = |(stream, frames)| Log {
            stream,
            frames,
            damage: damage.remove(&stream),
        };
        Ok(logs.into_iter().map(log).collect())
    }

    /// All sessions, newest first.
    fn sessions(&self) -> Result<Vec<SessionView>, Problem> {
        let mut folding: BTreeMap<StreamId, Folding> = BTreeMap::new();
        let damage = self.walk(None, |frame| {
            if frame.is_removal() {
                folding.remove(&frame.stream);
            } else {
                folding.entry(frame.stream).or_default().add(&frame);
            }
        })?;
        for (stream, why) in damage {
            folding.entry(stream).or_default().broken = Some(why);
        }
        let views = folding
            .into_iter()
            .map(|(stream, folding)| view(&self.data, stream, folding));
        let mut views: Vec<SessionView> = views.collect();
        views.sort_by(|one, other| (&other.started_at, &other.id).cmp(&(&one.started_at, &one.id)));
        Ok(views)
    }

    /// Shows the frames that can be read, and returns what is known of the streams that lost one.
    fn walk(
        &self,
        stream: Option<StreamId>,
        mut visit: impl FnMut(Arc<Frame>),
    ) -> Result<BTreeMap<StreamId, Unfoldable>, Problem> {
        let Some(journal) = open(&self.data)? else {
            return Ok(BTreeMap::new());
        };
        let mut sound = true;
        let walked = journal.walk(stream, |entry| {
            match entry {
                Entry::Frame(frame) if frame.kind == Session::KIND || frame.is_removal() => visit(frame),
                Entry::Frame(_) => {}
                _ => sound = false,
            }
            ControlFlow::Continue(())
        });
        // Whose bytes they were takes a second walk, over every chain; damage is rare.
        let verified = walked.map_err(OfflineError::from).and_then(|()| {
            if sound {
                Ok(None)
            } else {
                verify(&self.data, None).map(Some)
            }
        });
        let report = verified.map_err(|error| unreadable(&self.data, error))?;
        let of_stream = |damage: Damage| {
            let (seq, reason) = (damage.readable_to.next(), damage.reason);
            (damage.stream, Unfoldable::Damaged { seq, reason })
        };
        Ok(report
            .into_iter()
            .flat_map(|report| report.damaged)
            .filter(|damage| damage.kind == Session::KIND)
            .map(of_stream)
            .collect())
    }

    /// The log, from memory if it was read before and holds something above `after`.
    fn log_beyond(&self, stream: StreamId, after: u64) -> Result<Arc<Log>, Problem> {
        let mut last = self.last_read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(log) = last
            .as_ref()
            .filter(|log| log.stream == stream && log.head() > Seq(after))
        {
            return Ok(Arc::clone(log));
        }
        let log = Arc::new(self.log(stream)?);
        *last = Some(Arc::clone(&log));
        Ok(log)
    }

    fn page(&self, stream: StreamId, query: &EventsQuery) -> Result<EventsPage, Problem> {
        let log = self.log_beyond(stream, query.after)?;
        let shown = view(&self.data, stream, log.folded());
        let mut page = EventsPage {
            events: Vec::new(),
            next_after: query.after,
            head: log.head().0,
            ended: is_terminal(&shown.state),
            state: shown.state,
        };
        let records = log.frames.iter().flat_map(|frame| &frame.records);
        for record in records
            .filter(|record| record.seq.0 > query.after)
            .take(query.limit.clamp(1, 500))
        {
            page.next_after = record.seq.0;
            if record.event.level <= query.level {
                page.events.push(RecordView::of(stream, record).map_err(|error| {
                    let detail = format!(
                        "record {} of {} is unreadable: {error}",
                        record.seq,
                        session_id(stream)
                    );
                    Problem::new(Code::JournalDamaged, detail)
                        .next("see what is wrong", "longhaul journal verify")
                })?);
            }
        }
        page.ended &= page.next_after == page.head;
        Ok(page)
    }

    fn requests(&self, query: ApprovalsQuery) -> Result<Vec<ApprovalView>, Problem> {
        if let Some(id) = query.session {
            return self.log(self.find(&id)?)?.requests();
        }
        let inert = inert_streams(&self.data).unwrap_or_default();
        let mut waiting = Vec::new();
        for log in self.logs()? {
            if log.damage.is_none() && !inert.contains(&log.stream) {
                let all = log.requests()?.into_iter();
                waiting.extend(all.filter(|asked| asked.status == ApprovalStatus::Pending));
            }
        }
        waiting.sort_by(|one, other| one.requested_at.cmp(&other.requested_at));
        Ok(waiting)
    }

    fn request(&self, id: &str) -> Result<ApprovalView, Problem> {
        let Some(stream) = approval_session(id) else {
            return meant(self.requests(ApprovalsQuery::default())?, id);
        };
        let all = self.log(stream)?.requests()?;
        let asked = all.into_iter().rev().find(|asked| asked.id == id);
        asked.ok_or_else(|| no_such(id))
    }

    async fn poll(&self, id: &str, query: EventsQuery) -> Result<EventsPage, Problem> {
        let stream = self.find(id)?;
        let until = Instant::now() + Duration::from_millis(query.wait_ms.min(30_000));
        loop {
            let page = self.page(stream, &query)?;
            if !page.events.is_empty()
                || page.ended
                || page.next_after > query.after
                || Instant::now() >= until
            {
                return Ok(page);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

/// Adds a frame to a log; one over a gap takes the place of those it sets aside.
fn put(frames: &mut Vec<Arc<Frame>>, frame: Arc<Frame>) {
    if let Some(stands) = frame.resumes_after {
        frames.retain(|earlier| earlier.last_seq() <= stands);
    }
    frames.push(frame);
}

impl Log {
    /// Seq of the last record.
    pub(super) fn head(&self) -> Seq {
        self.frames.last().map_or(Seq::ZERO, |frame| frame.last_seq())
    }

    fn requests(&self) -> Result<Vec<ApprovalView>, Problem> {
        let mut requests = Requests::of(self.stream);
        for record in self.frames.iter().flat_map(|frame| &frame.records) {
            let seen = requests.see(record);
            seen.map_err(|error| Problem::new(Code::JournalDamaged, error.to_string()))?;
        }
        Ok(requests.into_views())
    }

    fn folded(&self) -> Folding {
        let mut folding = Folding::default();
        self.frames.iter().for_each(|frame| folding.add(frame));
        folding.broken = self.damage.clone().or(folding.broken);
        folding
    }
}

/// The journal in a data directory, if there is one.
pub(super) fn open(data: &Path) -> Result<Option<Offline>, Problem> {
    match Offline::open(data) {
        Ok(journal) => Ok(Some(journal)),
        Err(OfflineError::NoJournal { .. }) => Ok(None),
        Err(error) => Err(unreadable(data, error)),
    }
}

/// The problem of a journal that cannot be read, or must not be guessed at.
pub(super) fn unreadable(data: &Path, error: impl Into<OfflineError>) -> Problem {
    match error.into() {
        error @ OfflineError::NewerFormat { .. } => Problem::newer_format(error.to_string()),
        error @ OfflineError::Unrecognised { .. } => Problem::unrecognised(error.to_string()),
        error => {
            let detail = format!("cannot read the journal in {}: {error}", data.display());
            Problem::new(Code::StorageUnavailable, detail).next("see what is there", "longhaul doctor")
        }
    }
}

/// There is no session of this name.
pub(super) fn no_session(id: &str) -> Problem {
    Problem::new(Code::NotFound, format!("there is no session {id}")).next("list the sessions", "longhaul ls")
}

/// Which of the `known` streams, sorted, is meant.
fn resolve(id: &str, known: &[StreamId]) -> Result<StreamId, Problem> {
    let meant: Vec<StreamId> = match id.strip_prefix("s_") {
        Some(digits) if !digits.is_empty() => known
            .iter()
            .copied()
            .filter(|stream| stream.to_string().starts_with(digits))
            .collect(),
        _ => Vec::new(),
    };
    match meant[..] {
        [stream] => Ok(stream),
        [] => {
            let named = joints::keyed(id);
            known
                .binary_search(&named)
                .map(|_| named)
                .map_err(|_| no_session(id))
        }
        _ => {
            let some: Vec<String> = meant.iter().take(5).map(|stream| session_id(*stream)).collect();
            let sessions = count(meant.len() as u64, "session");
            Err(Problem::new(
                Code::InvalidRequest,
                format!("{id} begins {sessions}: {}", some.join(" ")),
            )
            .next("list the sessions", "longhaul ls"))
        }
    }
}

/// A session as it is shown, up to where its log can be read.
fn view(data: &Path, stream: StreamId, folding: Folding) -> SessionView {
    let mut shown = joints::view(data, stream, &folding.state);
    // A file that cannot be read makes no copy one's own: opening the directory is refused.
    if inert_streams(data).is_ok_and(|inert| inert.contains(&stream)) {
        shown.state = "inert".into();
    }
    if let Some(why) = folding.broken {
        shown.state = "quarantined".into();
        shown.quarantined = Some(why.to_string());
    }
    shown
}

fn is_terminal(state: &str) -> bool {
    matches!(state, "completed" | "failed" | "canceled")
}

fn cannot<'a, T: Send + 'a>() -> Answer<'a, T> {
    let mut problem = Problem::new(
        Code::NotServing,
        "only the files are read here, so no wish can be taken",
    );
    problem.next_actions.push(NextAction {
        label: "serve the directory".into(),
        command: "longhaul serve".into(),
    });
    ready(Err(problem)).boxed()
}

impl Control for Shelf {
    fn start(&self, _request: Start) -> Answer<'_, Started> {
        cannot()
    }

    fn list(&self, query: ListQuery) -> Answer<'_, ListPage> {
        let page = self.sessions().map(|sessions| {
            let wanted = sessions
                .into_iter()
                .filter(|session| query.archived || !session.archived);
            let mut rest = wanted
                .skip_while(|session| query.cursor.as_ref().is_some_and(|cursor| session.id != *cursor));
            let sessions: Vec<SessionView> = rest
                .by_ref()
                .take(query.limit.unwrap_or(50).clamp(1, 100))
                .collect();
            ListPage {
                sessions,
                next_cursor: rest.next().map(|session| session.id),
            }
        });
        ready(page).boxed()
    }

    fn show<'a>(&'a self, id: &'a str) -> Answer<'a, SessionView> {
        let shown = self
            .find(id)
            .and_then(|stream| Ok(view(&self.data, stream, self.log(stream)?.folded())));
        ready(shown).boxed()
    }

    fn events<'a>(&'a self, id: &'a str, query: EventsQuery) -> Answer<'a, EventsPage> {
        self.poll(id, query).boxed()
    }

    fn send<'a>(&'a self, _id: &'a str, _message: Message) -> Answer<'a, Accepted> {
        cannot()
    }

    fn pause<'a>(&'a self, _id: &'a str, _request: Pause) -> Answer<'a, Accepted> {
        cannot()
    }

    fn resume<'a>(&'a self, _id: &'a str, _request: Resume) -> Answer<'a, Accepted> {
        cannot()
    }

    fn cancel<'a>(&'a self, _id: &'a str, _request: Cancel) -> Answer<'a, Accepted> {
        cannot()
    }

    fn archive<'a>(&'a self, _id: &'a str) -> Answer<'a, Accepted> {
        cannot()
    }

    fn approvals(&self, query: ApprovalsQuery) -> Answer<'_, ApprovalsPage> {
        ready(self.requests(query).map(|approvals| ApprovalsPage { approvals })).boxed()
    }

    fn approval<'a>(&'a self, id: &'a str) -> Answer<'a, ApprovalView> {
        ready(self.request(id)).boxed()
    }

    fn decide<'a>(&'a self, _id: &'a str, _request: Decide) -> Answer<'a, Accepted> {
        cannot()
    }

    fn blob<'a>(&'a self, sha256: &'a str) -> Answer<'a, Vec<u8>> {
        ready(joints::blob(&self.data, sha256)).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::super::fold::tests::{frames, pause, start};
    use super::*;

    fn stream(first: u8) -> StreamId {
        StreamId::from_bytes([first, 0xaa, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    }

    #[test]
    fn an_id_may_be_shortened_as_far_as_it_means_one_session() {
        let known = [stream(0x12), stream(0x13)];
        assert_eq!(resolve("s_12", &known), Ok(stream(0x12)));
        assert_eq!(resolve(&session_id(stream(0x13)), &known), Ok(stream(0x13)));
        let both = resolve("s_1", &known).expect_err("it is ambiguous");
        assert_eq!(both.code, Code::InvalidRequest);
        assert!(both.detail.contains(&session_id(stream(0x12))), "{both}");
        assert_eq!(
            resolve("s_77", &known).expect_err("there is none").code,
            Code::NotFound
        );
        assert_eq!(
            resolve("s_", &known).expect_err("it names nothing").code,
            Code::NotFound
        );
    }

    #[test]
    fn a_key_will_do_too() {
        let nightly = joints::keyed("nightly");
        assert_eq!(resolve("nightly", &[nightly]), Ok(nightly));
    }

    #[test]
    fn a_session_is_shown_as_its_log_says() {
        let frames = frames([start(), pause()]);
        let mut folding = Folding::default();
        frames.iter().for_each(|frame| folding.add(frame));
        let shown = view(Path::new("/nonexistent"), frames[0].stream, folding);
        assert_eq!(
            (shown.state.as_str(), shown.paused_reason.as_deref()),
            ("paused", Some("requested"))
        );
        assert_eq!(
            (shown.goal.as_str(), shown.brain.as_str()),
            ("make the test pass", "playbook:fix.toml")
        );
        assert_eq!((shown.key.as_deref(), shown.quarantined), (Some("nightly"), None));
    }

    #[test]
    fn a_session_with_a_gap_is_shown_up_to_it_and_says_so() {
        let mut frames = frames([
            start(),
            pause(),
            longhaul_actors::session::Command::Resume {
                by: longhaul_actors::session::Actor::human("local"),
                budget: None,
            },
        ]);
        frames.remove(1);
        let mut folding = Folding::default();
        frames.iter().for_each(|frame| folding.add(frame));
        let shown = view(Path::new("/nonexistent"), frames[0].stream, folding);
        assert_eq!(
            (shown.state.as_str(), shown.head),
            ("quarantined", frames[0].last_seq().0)
        );
        assert!(shown.quarantined.is_some_and(|why| why.contains("is missing")));
    }

    #[test]
    fn a_directory_that_is_not_there_holds_no_sessions() {
        let shelf = Shelf::new(Path::new("/nonexistent/longhaul"));
        assert_eq!(shelf.sessions(), Ok(Vec::new()));
        assert_eq!(shelf.find("s_1").expect_err("there is none").code, Code::NotFound);
    }
}
