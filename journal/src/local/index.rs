//! One view over what is fresh and what is in the catalogue, and the reading of frames through it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use crate::catalogue::{Broken, Catalogue, Span};
use crate::codec;
use crate::damage::{Damage, SetAside};
use crate::files;
use crate::frame::{ENVELOPE_LEN, Envelope};
use crate::id::{ChainHash, Epoch, Position, Seq, StreamId};
use crate::journal::{Limit, ReadError};
use crate::local::fresh::Fresh;
use crate::local::indexer::{self, IndexError};
use crate::record::{Frame, Head, Standing};
use crate::rules;
use crate::segment::{JournalId, Segment, Segments, offset_of};

mod known;

/// Bytes fetched at once when the frames of a stream lie close together.
const RUN: u64 = 256 << 10;
/// Foreign bytes between two frames that are rather read than skipped.
const GAP: u64 = 16 << 10;
/// Bytes fetched for a frame whose length is not known yet.
const GUESS: u64 = 4 << 10;
/// How long a catalogue that could not be opened is left alone: an attempt costs files and threads, and on a full disk each
/// reader would make one.
const LEFT_ALONE: Duration = Duration::from_millis(500);

/// Everything that finds frames. It knows durable frames only: the committer adds them after their sync.
#[derive(Debug)]
pub(crate) struct Index {
    pub(crate) journal: JournalId,
    pub(crate) segments: Segments,
    fresh: Mutex<Fresh>,
    catalogue: RwLock<Shelf>,
    damaged: RwLock<HashMap<StreamId, Damage>>,
    gaps: RwLock<HashMap<StreamId, Vec<SetAside>>>,
    durable: Mutex<Position>,
    /// Below this position nothing is fresh.
    settled: Mutex<Position>,
    settling: Condvar,
    closing: AtomicBool,
}

/// The catalogue with what is needed to put another in its place.
#[derive(Debug)]
pub(crate) struct Shelf {
    pub(crate) folder: PathBuf,
    pub(crate) cache_bytes: u64,
    /// `None` once the journal is closed, and while it cannot be opened.
    pub(crate) catalogue: Option<Catalogue>,
    /// Everything below is in the catalogue and no longer fresh.
    pub(crate) indexed: Position,
    /// Set when the journal is closed: from then on nobody opens it again.
    closed: bool,
    /// How often the catalogue was put up or taken down: whoever finds it broken may be late, and must not break another.
    turn: u64,
    /// When it could not be opened last, and why.
    failed: Option<(Instant, String)>,
}

impl Shelf {
    /// Nothing is open yet.
    pub(crate) fn new(folder: PathBuf, cache_bytes: u64) -> Self {
        Self {
            folder,
            cache_bytes,
            catalogue: None,
            indexed: Position::default(),
            closed: false,
            turn: 0,
            failed: None,
        }
    }

    /// sled holds a lock on its folder until it is dropped.
    fn take_down(&mut self) {
        self.turn += 1;
        if let Some(catalogue) = self.catalogue.take() {
            catalogue.close();
        }
    }
}

impl Index {
    pub(crate) fn new(
        journal: JournalId,
        segments: Segments,
        fresh: Fresh,
        shelf: Shelf,
        damaged: HashMap<StreamId, Damage>,
        gaps: Vec<(StreamId, SetAside)>,
        durable: Position,
    ) -> Self {
        let mut by_stream: HashMap<StreamId, Vec<SetAside>> = HashMap::new();
        for (stream, aside) in gaps {
            by_stream.entry(stream).or_default().push(aside);
        }
        Self {
            journal,
            segments,
            fresh: Mutex::new(fresh),
            settled: Mutex::new(shelf.indexed),
            settling: Condvar::new(),
            catalogue: RwLock::new(shelf),
            damaged: RwLock::new(damaged),
            gaps: RwLock::new(by_stream),
            durable: Mutex::new(durable),
            closing: AtomicBool::new(false),
        }
    }

    /// Takes over frames that have just become durable, in order: whoever asks from now on finds them.
    pub(crate) fn publish(&self, frames: &mut Vec<(Head, Span)>, durable: Position) {
        self.fresh
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .publish(frames);
        *self.durable.lock().unwrap_or_else(PoisonError::into_inner) = durable;
    }

    /// Sorts in what was published, so that who asks next need not do it.
    pub(crate) fn sort_in(&self) {
        drop(self.fresh());
    }

    /// The position below which everything is durable.
    pub(crate) fn durable(&self) -> Position {
        *self.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the last frame of a stream lies where nothing is indexed yet.
    pub(crate) fn is_fresh(&self, stream: StreamId) -> bool {
        self.fresh().holds(stream)
    }

    /// The position below which nothing is fresh: everything there is sealed and in the catalogue.
    pub(crate) fn settled(&self) -> Position {
        *self.settled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts every sealed segment in the catalogue that is not there yet, and forgets its fresh frames.
    pub(crate) fn settle_sealed(&self) -> Result<(), ReadError> {
        let segments_error = |error: io::Error| ReadError::Io {
            what: "a segment".into(),
            reason: error.to_string(),
        };
        loop {
            let indexed = self
                .catalogue
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .indexed;
            let sealed = indexer::next_sealed(&self.segments, indexed, Position(u64::MAX));
            let Some((sealed, end)) = sealed.map_err(segments_error)? else {
                return Ok(());
            };
            if self.is_closing() || !self.settle(&sealed, end)? {
                // What is left is read when the journal is opened again, and indexed then.
                return Ok(());
            }
        }
    }

    /// Cuts off the zeros behind the last frame, which were room that nobody needs any more.
    ///
    /// It must be done before the segment counts as settled: from then on another file, which was thinned, may get its name,
    /// and would be made as long as this one is to be.
    fn cut(&self, segment: &Segment) {
        let (first, Some(end)) = (segment.first, segment.end) else {
            return;
        };
        let file = self.segments.disk().open(&self.segments.path(first), true);
        if let Err(error) = file.and_then(|file| file.set_len(offset_of(first, end))) {
            tracing::warn!(%first, %error, "a sealed segment keeps room that it does not need");
        }
    }

    /// Waits until everything below a position is in the catalogue, but not for long: the one who waits is the committer,
    /// and a catalogue that cannot be written must not stop it.
    pub(crate) fn await_settled(&self, through: Position, at_most: Duration) {
        let settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        // Whether it was in time makes no difference.
        let _ = self.settling.wait_timeout_while(settled, at_most, |settled| {
            *settled < through && !self.is_closing()
        });
    }

    /// Whether all of the segments got in.
    fn settle(&self, sealed: &[Segment], through: Position) -> Result<bool, ReadError> {
        let mut removed = Vec::new();
        loop {
            let (added, lost, whole) = self.with_catalogue(|catalogue| {
                let (added, lost) = match self.additions_of_fresh(catalogue, through)? {
                    Some(added) => (added, Vec::new()),
                    None => match indexer::additions(catalogue, sealed) {
                        Ok(found) => found,
                        Err(IndexError::Broken(broken)) => return Err(broken),
                        Err(IndexError::Io(error)) => return Ok(Err(index_error(&error.to_string()))),
                    },
                };
                let whole = catalogue.absorb(self.journal, &added, through, || !self.is_closing())?;
                Ok(Ok((added, lost, whole)))
            })??;
            for damage in added.damaged.into_values() {
                self.quarantine(damage);
            }
            removed.extend(
                added
                    .gaps
                    .iter()
                    .filter(|(_, aside)| aside.is_removal())
                    .map(|(stream, _)| *stream),
            );
            for lost in lost {
                tracing::warn!(position = %lost.position, bytes = lost.bytes, reason = lost.reason, "a damaged frame");
            }
            if !whole {
                return Ok(false);
            }
            let mut shelf = self.catalogue.write().unwrap_or_else(PoisonError::into_inner);
            // A reader may have found the catalogue broken in between, and built it without these segments.
            let indexed = shelf.catalogue.as_ref().map(Catalogue::indexed_through);
            if matches!(indexed, Some(Ok(indexed)) if indexed >= through) {
                shelf.indexed = through;
                break;
            }
            if shelf.closed {
                return Err(index_error("the journal is closed"));
            }
        }
        for segment in sealed.iter().filter(|segment| !segment.is_thinned()) {
            self.cut(segment);
        }
        // The catalogue has forgotten the frames of removed streams, so nobody finds what they set aside.
        let mut gaps = self.gaps.write().unwrap_or_else(PoisonError::into_inner);
        for stream in &removed {
            gaps.remove(stream);
        }
        drop(gaps);
        let mut from = None;
        loop {
            from = self.fresh().settle(through, from, 128);
            if from.is_none() {
                break;
            }
        }
        *self.settled.lock().unwrap_or_else(PoisonError::into_inner) = through;
        self.settling.notify_all();
        Ok(true)
    }

    /// What kind of stream it is; empty when nothing that is left tells.
    pub(crate) fn kind(&self, stream: StreamId) -> Result<String, ReadError> {
        let head = self.head(stream)?;
        Ok(head.map_or_else(String::new, |head| head.kind.into_owned()))
    }

    pub(crate) fn head(&self, stream: StreamId) -> Result<Option<Head>, ReadError> {
        if let Some(head) = self.fresh().head(stream) {
            return Ok(Some(head.clone()));
        }
        let settled = self.with_catalogue(|catalogue| catalogue.head(stream))?;
        Ok(settled.or_else(|| self.damage(stream).and_then(headless)))
    }

    /// What is known to be wrong with a stream.
    pub(crate) fn damage(&self, stream: StreamId) -> Option<Damage> {
        self.damaged
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&stream)
            .cloned()
    }

    /// Every stream that is known to be damaged.
    pub(crate) fn all_damage(&self) -> Vec<Damage> {
        let damaged = self.damaged.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<Damage> = damaged.values().cloned().collect();
        all.sort_unstable_by_key(|damage| damage.stream);
        all
    }

    /// Remembers that a stream is damaged; of two findings the earlier seq counts. A stream that was removed has nothing to
    /// lose any more.
    pub(crate) fn quarantine(&self, damage: Damage) {
        if matches!(self.head(damage.stream), Ok(Some(head)) if head.kind == rules::REMOVED) {
            return;
        }
        let mut damaged = self.damaged.write().unwrap_or_else(PoisonError::into_inner);
        if damaged
            .get(&damage.stream)
            .is_none_or(|known| damage.readable_to < known.readable_to)
            && !self
                .gaps_of(damage.stream)
                .iter()
                .any(|aside| aside.heals(damage.readable_to))
        {
            tracing::warn!(stream = %damage.stream, readable_to = %damage.readable_to, reason = damage.reason, "stream quarantined");
            damaged.insert(damage.stream, damage);
        }
    }

    /// A frame over a gap is durable: what it sets aside is read no more, and what was lost there is no hindrance.
    pub(crate) fn continue_over(&self, stream: StreamId, aside: SetAside) {
        self.gaps
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(stream)
            .or_default()
            .push(aside);
        self.damaged
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&stream);
    }

    fn gaps_of(&self, stream: StreamId) -> Vec<SetAside> {
        let gaps = self.gaps.read().unwrap_or_else(PoisonError::into_inner);
        gaps.get(&stream).cloned().unwrap_or_default()
    }

    /// Streams of a kind that lost their very first frame, so that nothing but their damage is known.
    fn headless(&self, kind: &str, after: Option<StreamId>) -> Result<Vec<StreamId>, ReadError> {
        let damaged = self.damaged.read().unwrap_or_else(PoisonError::into_inner);
        let suspects = damaged.values().filter(|damage| {
            damage.readable_to == Seq::ZERO
                && damage.kind == kind
                && after.is_none_or(|after| damage.stream > after)
        });
        Ok(suspects.map(|damage| damage.stream).collect())
    }

    pub(crate) fn list(
        &self,
        kind: &str,
        after: Option<StreamId>,
        limit: usize,
    ) -> Result<Vec<Head>, ReadError> {
        let (mut listed, mut from) = (Vec::new(), after);
        loop {
            // Fresh first: a stream that leaves it meanwhile is already in the catalogue.
            let fresh = self.fresh().of_kind(kind, from, limit);
            let mut settled = self.with_catalogue(|catalogue| catalogue.of_kind(kind, from, limit))?;
            let seen_to = (settled.len() >= limit)
                .then(|| settled.last().copied())
                .flatten();
            settled.extend(self.headless(kind, from)?);
            // What was removed since the catalogue was brought up to date is of another kind now.
            let page = self.merge(fresh, settled, limit, |head| head.kind == kind)?;
            let is_full = page.len() >= limit;
            from = match page.last() {
                Some(last) if is_full => Some(last.stream),
                _ => seen_to,
            };
            // Whatever lies behind what the catalogue has shown so far comes with its next page.
            let known = page
                .into_iter()
                .filter(|head| is_full || seen_to.is_none_or(|to| head.stream <= to));
            listed.extend(known);
            if listed.len() >= limit || seen_to.is_none() {
                listed.truncate(limit);
                return Ok(listed);
            }
        }
    }

    pub(crate) fn due(
        &self,
        until_ms: u64,
        after: Option<StreamId>,
        limit: usize,
    ) -> Result<Vec<Head>, ReadError> {
        let mut first = Smallest::new(limit, after);
        let mut fresh_heads = BTreeMap::new();
        {
            let fresh = self.fresh();
            for head in fresh.owed(after, limit) {
                first.offer(head.stream);
                fresh_heads.insert(head.stream, head);
            }
            for stream in fresh.waiting(until_ms) {
                first.offer(stream);
            }
            for stream in &first.streams {
                if let Some(head) = fresh.head(*stream) {
                    fresh_heads.insert(*stream, head.clone());
                }
            }
        }
        // Stale entries (the stream has moved on and is fresh) are passed over, so more than `limit` may be needed.
        let mut from = after;
        let mut settled = Smallest::new(limit, after);
        self.with_catalogue(|catalogue| {
            catalogue.waiting(0, until_ms, |_, stream| {
                if !self.fresh().holds(stream) {
                    settled.offer(stream);
                }
                true
            })?;
            loop {
                let page = catalogue.owed(from, limit.max(64))?;
                for stream in &page {
                    if !self.fresh().holds(*stream) {
                        settled.offer(*stream);
                    }
                }
                from = page.last().copied();
                if from.is_none() || settled.is_full_below(from) {
                    return Ok(());
                }
            }
        })?;
        let fresh = fresh_heads.into_values().collect();
        self.merge(fresh, settled.streams.into_iter().collect(), limit, |head| {
            head.standing.is_due(until_ms)
        })
    }

    pub(crate) fn next_due(&self, after_ms: u64) -> Result<Option<u64>, ReadError> {
        let fresh = self.fresh().next_due(after_ms);
        let Some(from) = after_ms.checked_add(1) else {
            return Ok(None);
        };
        let mut settled = None;
        self.with_catalogue(|catalogue| {
            catalogue.waiting(from, fresh.unwrap_or(u64::MAX), |time_ms, stream| {
                if !self.fresh().holds(stream) {
                    settled = Some(time_ms);
                }
                settled.is_none()
            })
        })?;
        Ok(match (fresh, settled) {
            (Some(fresh), Some(settled)) => Some(fresh.min(settled)),
            (fresh, settled) => fresh.or(settled),
        })
    }

    /// Highest boot generation that any frame was written in; looks at every stream.
    pub(crate) fn highest_boot(&self) -> Result<u32, ReadError> {
        let mut highest = 0;
        self.with_catalogue(|catalogue| {
            catalogue.each_head(|head| {
                highest = highest.max(head.epoch.boot());
                true
            })
        })?;
        Ok(self
            .fresh()
            .heads()
            .map(|head| head.epoch.boot())
            .fold(highest, u32::max))
    }

    /// See [`Journal::visit`](crate::Journal::visit).
    pub(crate) fn visit(
        &self,
        stream: StreamId,
        after: Seq,
        limit: Limit,
        visit: impl FnMut(Frame) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let damage = self.damage(stream);
        let gaps = self.gaps_of(stream);
        // Whoever stands at a gap goes on behind it.
        let after = gaps.iter().fold(after, |after, aside| {
            if aside.heals(after) {
                Seq(aside.first_seq.0 - 1)
            } else {
                after
            }
        });
        let mut spans = self.spans(stream, after, limit.records.max(1))?;
        spans.retain(|span| !gaps.iter().any(|aside| aside.covers(span.first_seq)));
        if let Some(damage) = &damage {
            spans.retain(|span| span.last_seq <= damage.readable_to);
            if spans.is_empty() {
                return Err(read_error(damage.clone()));
            }
        }
        self.fetch(stream, after, &spans, limit, visit)
    }

    /// Where the frames with seqs above `after` lie.
    fn spans(&self, stream: StreamId, after: Seq, limit: usize) -> Result<Vec<Span>, ReadError> {
        let (fresh, known_from) = self.fresh().spans(stream, after, limit);
        if known_from.is_some_and(|known_from| known_from <= after.next()) {
            return Ok(fresh);
        }
        let mut spans = self.with_catalogue(|catalogue| catalogue.spans(stream, after, limit))?;
        // Fresh was looked at first: a frame that left it since is in the catalogue, so that nothing lies between what
        // the two know. What is in both while a segment moves is taken once.
        let last = spans.last().map_or(after, |span| span.last_seq);
        spans.extend(fresh.into_iter().filter(|span| span.first_seq > last));
        spans.truncate(limit);
        Ok(spans)
    }

    fn fetch(
        &self,
        stream: StreamId,
        after: Seq,
        spans: &[Span],
        limit: Limit,
        mut visit: impl FnMut(Frame) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let mut before: Option<Link> = None;
        let (mut records, mut bytes) = (0, 0);
        let mut run = Run::default();
        for (at, span) in spans.iter().enumerate() {
            let expected = before.as_ref().map_or(after, |before| before.last_seq).next();
            let read = self.fetch_one(&mut run, &spans[at..]).and_then(|frame| {
                check_link(&frame, stream, span, before.as_ref(), expected).map(|()| frame)
            });
            let frame = match read {
                Ok(frame) => frame,
                Err(Trouble::Io(error)) => {
                    return Err(ReadError::Io {
                        what: format!("stream {stream}"),
                        reason: error.to_string(),
                    });
                }
                Err(Trouble::Damage(reason)) => {
                    let readable_to = Seq(span.first_seq.0.min(expected.0).saturating_sub(1));
                    let damage =
                        Damage::of_frame(stream, self.kind(stream)?, readable_to, span.position, reason);
                    self.quarantine(damage.clone());
                    return before.map_or_else(|| Err(read_error(damage)), |_| Ok(()));
                }
            };
            records += frame.records.len();
            bytes += frame.payload_bytes();
            if before.is_some() && (records > limit.records || bytes > limit.bytes) {
                break;
            }
            before = Some(Link {
                last_seq: frame.last_seq(),
                hash: frame.hash,
            });
            if visit(frame).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Reads and decodes the frame of the first span; fetches some of the following ones with it if they lie near.
    fn fetch_one(&self, run: &mut Run, spans: &[Span]) -> Result<Frame, Trouble> {
        let position = spans[0].position;
        if run.at(position).len() < ENVELOPE_LEN {
            let mut end = position;
            for next in &spans[1..] {
                if next.position.0 > end.0 + GAP || next.position.0 > position.0 + RUN {
                    break;
                }
                end = next.position;
            }
            self.fill(run, position, end.0 - position.0 + GUESS)?;
        }
        let damage = |flaw: codec::Flaw| Trouble::Damage(flaw.to_string());
        let envelope = Envelope::parse_at(run.at(position), position).map_err(damage)?;
        if (run.at(position).len() as u64) < envelope.frame_len() {
            self.fill(run, position, envelope.frame_len())?;
        }
        let len =
            usize::try_from(envelope.frame_len()).map_err(|error| Trouble::Damage(error.to_string()))?;
        let sealed = run
            .at(position)
            .get(ENVELOPE_LEN..len)
            .ok_or_else(|| damage(codec::Flaw::Short))?;
        codec::open(sealed, position).map_err(damage)
    }

    fn fill(&self, run: &mut Run, position: Position, len: u64) -> Result<(), Trouble> {
        let segment = self.segments.containing(position).map_err(Trouble::Io)?;
        let segment = segment.ok_or_else(|| Trouble::Damage("its segment is missing".into()))?;
        let (offset, end) = segment
            .place(position)
            .ok_or_else(|| Trouble::Damage("its place was freed".into()))?;
        let len = len.min(end.0 - position.0);
        run.start = position;
        run.bytes.resize(
            usize::try_from(len).map_err(|error| Trouble::Io(io::Error::other(error)))?,
            0,
        );
        let read = files::read_full(&*segment.file, &mut run.bytes, offset).map_err(Trouble::Io)?;
        run.bytes.truncate(read);
        Ok(())
    }

    fn merge(
        &self,
        fresh: Vec<Head>,
        settled: Vec<StreamId>,
        limit: usize,
        wanted: impl Fn(&Head) -> bool,
    ) -> Result<Vec<Head>, ReadError> {
        let mut heads: BTreeMap<StreamId, Head> = fresh.into_iter().map(|head| (head.stream, head)).collect();
        let mut ids: BTreeSet<StreamId> = heads.keys().copied().collect();
        ids.extend(settled);
        let mut merged = Vec::new();
        for stream in ids {
            if merged.len() >= limit {
                break;
            }
            let head = match heads.remove(&stream) {
                Some(head) => Some(head),
                None => self.head(stream)?,
            };
            merged.extend(head.filter(|head| wanted(head)));
        }
        Ok(merged)
    }

    /// Runs a query; if the catalogue turns out to be broken or is not there, puts it right and runs the query once more.
    pub(crate) fn with_catalogue<T>(
        &self,
        mut query: impl FnMut(&Catalogue) -> Result<T, Broken>,
    ) -> Result<T, ReadError> {
        let mut reason = String::new();
        for _ in 0..2 {
            let (turn, broken) = {
                let shelf = self.catalogue.read().unwrap_or_else(PoisonError::into_inner);
                match shelf.catalogue.as_ref().map(&mut query) {
                    Some(Ok(answer)) => return Ok(answer),
                    Some(Err(broken)) => (shelf.turn, Some(broken)),
                    None => (shelf.turn, None),
                }
            };
            if let Some(broken) = &broken {
                reason = broken.to_string();
            }
            self.put_right(turn, broken.as_ref())?;
        }
        Err(index_error(&format!(
            "it failed again right after it was put right: {reason}"
        )))
    }

    /// Opens the catalogue again, or builds another when what lies there is no good. What fails is tried again by the next one
    /// who asks: a full disk has room again some day, and a segment that cannot be read may be readable then.
    fn put_right(&self, turn: u64, broken: Option<&Broken>) -> Result<(), ReadError> {
        let mut shelf = self.catalogue.write().unwrap_or_else(PoisonError::into_inner);
        if shelf.closed {
            return Err(index_error("the journal is closed"));
        }
        if shelf.turn != turn {
            // Somebody else was first.
            return Ok(());
        }
        if let (None, Some((when, reason))) = (broken, &shelf.failed)
            && when.elapsed() < LEFT_ALONE
        {
            return Err(index_error(reason));
        }
        shelf.take_down();
        let (journal, segments, through) = (self.journal, &self.segments, shelf.indexed);
        let opened = match broken {
            Some(flawed @ Broken::Flawed(_)) => {
                indexer::rebuild(&mut shelf, journal, segments, through, flawed)
            }
            Some(Broken::NoRoom(_)) | None => match indexer::put_up(&mut shelf, journal, segments, through) {
                Err(IndexError::Broken(flawed @ Broken::Flawed(_))) => {
                    indexer::rebuild(&mut shelf, journal, segments, through, &flawed)
                }
                opened => opened,
            },
        };
        let opened = match opened {
            Ok(opened) => opened,
            Err(error) => {
                let reason = error.to_string();
                tracing::warn!(reason, "the catalogue cannot be opened; it will be tried again");
                shelf.failed = Some((Instant::now(), reason.clone()));
                return Err(index_error(&reason));
            }
        };
        if shelf.failed.take().is_some() {
            tracing::info!("the catalogue is open again");
        }
        // Whoever is quarantined is looked up.
        drop(shelf);
        for damage in opened.damaged {
            self.quarantine(damage);
        }
        Ok(())
    }

    /// Lets the indexer end with the segment it is at; a close must not wait for a backlog.
    pub(crate) fn stop_settling(&self) {
        self.closing.store(true, Ordering::Relaxed);
        self.settling.notify_all();
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    /// Lets go of the catalogue, so that the next process can open it.
    pub(crate) fn close(&self) {
        let mut shelf = self.catalogue.write().unwrap_or_else(PoisonError::into_inner);
        shelf.closed = true;
        shelf.take_down();
    }

    fn fresh(&self) -> MutexGuard<'_, Fresh> {
        let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        fresh.sort_in();
        fresh
    }
}

/// What the next frame of a stream is held against.
#[derive(Debug)]
struct Link {
    last_seq: Seq,
    hash: ChainHash,
}

/// Bytes fetched ahead.
#[derive(Debug, Default)]
struct Run {
    start: Position,
    bytes: Vec<u8>,
}

impl Run {
    fn at(&self, position: Position) -> &[u8] {
        let skip = position
            .0
            .checked_sub(self.start.0)
            .and_then(|skip| usize::try_from(skip).ok());
        skip.and_then(|skip| self.bytes.get(skip..)).unwrap_or_default()
    }
}

#[derive(Debug)]
enum Trouble {
    Io(io::Error),
    Damage(String),
}

/// The smallest ids above a bound.
struct Smallest {
    limit: usize,
    after: Option<StreamId>,
    streams: BTreeSet<StreamId>,
}

impl Smallest {
    fn new(limit: usize, after: Option<StreamId>) -> Self {
        Self {
            limit,
            after,
            streams: BTreeSet::new(),
        }
    }

    fn offer(&mut self, stream: StreamId) {
        if self.after.is_none_or(|after| stream > after) {
            self.streams.insert(stream);
            if self.streams.len() > self.limit {
                self.streams.pop_last();
            }
        }
    }

    fn is_full_below(&self, bound: Option<StreamId>) -> bool {
        self.streams.len() >= self.limit && self.streams.last().copied() <= bound
    }
}

fn check_link(
    frame: &Frame,
    stream: StreamId,
    span: &Span,
    before: Option<&Link>,
    expected: Seq,
) -> Result<(), Trouble> {
    if frame.stream != stream || frame.first_seq() != span.first_seq || frame.last_seq() != span.last_seq {
        let found = format!("it holds {} of stream {}", frame.first_seq(), frame.stream);
        return Err(Trouble::Damage(found));
    }
    match before {
        Some(before) if frame.first_seq() != expected && frame.resumes_after != Some(before.last_seq) => {
            Err(Trouble::Damage(format!(
                "seq {} follows seq {}",
                frame.first_seq(),
                before.last_seq
            )))
        }
        Some(before) if frame.previous != before.hash => Err(Trouble::Damage(
            "it does not name the frame before it as its predecessor".into(),
        )),
        None if frame.first_seq() > expected && !frame.is_removal() => {
            Err(Trouble::Damage(format!("seq {} is missing", expected)))
        }
        _ => Ok(()),
    }
}

/// What stands for the head of a stream that lost its first frame: it is listed, and waits for nobody.
fn headless(damage: Damage) -> Option<Head> {
    (damage.readable_to == Seq::ZERO && !damage.kind.is_empty()).then(|| Head {
        stream: damage.stream,
        kind: damage.kind.into(),
        seq: Seq::ZERO,
        hash: ChainHash::ZERO,
        epoch: Epoch::default(),
        time_ms: 0,
        standing: Standing::Done,
    })
}

pub(crate) fn read_error(damage: Damage) -> ReadError {
    ReadError::Damaged {
        stream: damage.stream,
        readable_to: damage.readable_to,
        reason: damage.reason,
    }
}

fn index_error(reason: &str) -> ReadError {
    ReadError::Io {
        what: "the catalogue".into(),
        reason: reason.into(),
    }
}

#[cfg(test)]
mod tests;
