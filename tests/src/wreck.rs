//! What a killed runtime leaves of its journal, looked at without touching it: its directory is first opened by its
//! successor.

use std::path::Path;
use std::sync::Arc;

use longhaul_journal::{ENVELOPE_LEN, Frame, Journal, Limit, LocalJournal, Options, Seq, StreamId};

/// Bytes of a sealed part before its stream: the codec.
const BEFORE_STREAM: usize = 1;
/// Bytes of the hash of the frame before, between stream and kind.
const PREVIOUS: usize = 16;

/// One frame where it lies in bytes, as far as its envelope and the beginning of its header tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lying<'a> {
    /// Its place in the journal.
    pub position: u64,
    /// Its first byte.
    pub offset: usize,
    /// Its bytes, envelope and all.
    pub len: usize,
    /// Its stream; zeros for a marker.
    pub stream: StreamId,
    /// The kind of its stream; nothing for a marker.
    pub kind: &'a str,
    /// Number of its first record.
    pub first: u64,
    /// How many records it has.
    pub count: u64,
}

/// The frames and markers at the beginning of `bytes`, one behind the other.
pub fn lying(bytes: &[u8]) -> impl Iterator<Item = Lying<'_>> {
    let mut offset = 0;
    std::iter::from_fn(move || {
        let frame = bytes.get(offset..)?;
        if !frame.starts_with(b"\x8cLHF") {
            return None;
        }
        let sealed = u32::from_le_bytes(frame.get(5..9)?.try_into().ok()?);
        let position = u64::from_le_bytes(frame.get(9..17)?.try_into().ok()?);
        let mut header = frame.get(ENVELOPE_LEN + BEFORE_STREAM..)?;
        let stream = header.split_off(..16)?.try_into().ok()?;
        header.split_off(..PREVIOUS)?;
        let kind = integer(&mut header).and_then(|len| header.split_off(..usize::try_from(len).ok()?))?;
        let (_boot, _claim) = (integer(&mut header)?, integer(&mut header)?);
        let lying = Lying {
            position,
            offset,
            len: ENVELOPE_LEN + sealed as usize,
            stream: StreamId::from_bytes(stream),
            kind: std::str::from_utf8(kind).ok()?,
            first: integer(&mut header)?,
            count: integer(&mut header)?,
        };
        offset += lying.len;
        Some(lying)
    })
}

/// An integer as the codec writes it: one byte, or a mark and two, four or eight.
fn integer(bytes: &mut &[u8]) -> Option<u64> {
    let long = match *bytes.split_off_first()? {
        0xfb => 2,
        0xfc => 4,
        0xfd => 8,
        short => return Some(short.into()),
    };
    let mut value = [0; 8];
    value[..long].copy_from_slice(bytes.split_off(..long)?);
    Some(u64::from_le_bytes(value))
}

/// Everything durable in a stream.
///
/// # Panics
/// When the journal is not sound.
pub fn frames(journal: &dyn Journal, stream: StreamId) -> Vec<Arc<Frame>> {
    let (mut frames, mut after) = (Vec::new(), Seq::ZERO);
    loop {
        let page = journal
            .read(stream, after, Limit::default())
            .expect("the journal is sound");
        match page.last() {
            Some(last) => after = last.last_seq(),
            None => return frames,
        }
        frames.extend(page);
    }
}

/// Copies what survives of a journal; `false` when the runtime was killed before it had made one.
pub fn copy_journal(data: &Path, into: &Path) -> bool {
    let _ = std::fs::remove_dir_all(into);
    std::fs::create_dir_all(into.join("journal")).expect("a folder");
    for name in ["format", "boot"] {
        // A runtime that was killed at once has made neither.
        let _ = std::fs::copy(data.join(name), into.join(name));
    }
    let Ok(segments) = std::fs::read_dir(data.join("journal")) else {
        return false;
    };
    let mut copied = false;
    for segment in segments {
        let path = segment.expect("listed").path();
        if path.extension().is_some_and(|extension| extension == "seg") {
            let name = path.file_name().expect("a segment has a name");
            std::fs::copy(&path, into.join("journal").join(name)).expect("copied");
            copied = true;
        }
    }
    copied
}

/// Opens a copy and looks at it.
///
/// # Panics
/// When something is damaged or lost in it.
pub fn open_copy<T>(copy: &Path, look: impl FnOnce(&LocalJournal) -> T) -> T {
    let mut options = Options::default();
    options.fill_ahead = 0;
    let (journal, report) = LocalJournal::open(copy, options).expect("it opens");
    assert!(report.damaged.is_empty() && report.lost.is_empty(), "{report:?}");
    look(&journal)
}
