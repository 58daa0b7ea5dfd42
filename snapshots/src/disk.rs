//! Snapshots in sled. The only file of this crate that imports it, and the only one that imports `bincode`.
//!
//! ```text
//! key    stream 16 | fold version u32 | crc32c of the kind u32 | seq u64      (big endian: they sort)
//! value  codec u8 | seq, chain hash, state in bincode | crc32c u32 of key and value
//! ```
//!
//! Nothing is synced: after power loss there may be fewer snapshots, and that is all.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use bincode::{BorrowDecode, Encode};
use longhaul_journal::{ChainHash, Seq, StreamId};

use crate::store::{Counts, FoldId, KEPT, MAX_SNAPSHOT, Snapshot, add};

/// Codec 1: bincode 2.0.1, standard configuration.
const CODEC_BINCODE_2: u8 = 1;
const SEGMENT_SIZE: usize = 8 << 20;
const CACHE_BYTES: u64 = 16 << 20;
const LIMIT: usize = MAX_SNAPSHOT + 64;
const CONFIG: bincode::config::Configuration<
    bincode::config::LittleEndian,
    bincode::config::Varint,
    bincode::config::Limit<LIMIT>,
> = bincode::config::standard().with_limit::<LIMIT>();

#[derive(Encode, BorrowDecode)]
struct Stored<'a> {
    seq: u64,
    hash: [u8; 16],
    state: &'a [u8],
}

/// How long a store that could not be opened is left alone: meanwhile every wake replays, as it would without one.
const LEFT_ALONE: Duration = Duration::from_millis(500);
/// How long to wait for sled to let go of a folder, whose threads may outlive what was dropped by some milliseconds.
const LETTING_GO: Duration = Duration::from_secs(2);

/// Why sled could not do what it was asked.
#[derive(Debug)]
enum Trouble {
    /// The disk is full. What is there may be sound: it stays, and is opened again later, because sled repeats its first
    /// error for ever.
    NoRoom(String),
    /// What is there is no good.
    Broken(String),
}

#[derive(Debug)]
pub(crate) struct DiskStore {
    folder: PathBuf,
    shelf: RwLock<Shelf>,
}

#[derive(Debug, Default)]
struct Shelf {
    /// `None` while it cannot be opened.
    db: Option<sled::Db>,
    /// When it could not be opened last.
    failed: Option<Instant>,
    /// How often the store was opened or closed: whoever finds it broken may be late, and must not break another.
    turn: u64,
}

impl DiskStore {
    /// One that cannot be opened now is opened when it is asked for later.
    pub(crate) fn open(folder: &Path, counts: &Counts) -> Self {
        let store = Self {
            folder: folder.to_owned(),
            shelf: RwLock::default(),
        };
        store.put_right(0, None, counts);
        store
    }

    /// Keeps one and lets the oldest go; says whether it was kept.
    pub(crate) fn put(
        &self,
        stream: StreamId,
        fold: FoldId<'_>,
        snapshot: &Snapshot,
        counts: &Counts,
    ) -> bool {
        let key = key(stream, fold, snapshot.seq);
        let value = encode(&key, snapshot);
        let kept = self.with(counts, |db| {
            db.insert(key, &value[..])?;
            let kept: Vec<_> = db.scan_prefix(&key[..24]).keys().collect::<Result<_, _>>()?;
            for old in kept.iter().take(kept.len().saturating_sub(KEPT)) {
                db.remove(old)?;
            }
            Ok(())
        });
        kept.is_some()
    }

    pub(crate) fn newest(
        &self,
        stream: StreamId,
        fold: FoldId<'_>,
        at_most: Seq,
        counts: &Counts,
    ) -> Option<Snapshot> {
        let mut at_most = at_most;
        loop {
            let (from, to) = (key(stream, fold, Seq::ZERO), key(stream, fold, at_most));
            let (key, value) = self.with(counts, |db| db.range(from..=to).next_back().transpose())??;
            if let Some(snapshot) = decode(&key, &value) {
                return Some(snapshot);
            }
            add(&counts.damaged);
            tracing::warn!(%stream, "a snapshot is damaged and is dropped");
            let seq = u64::from_be_bytes(*key.last_chunk::<8>()?);
            self.with(counts, |db| db.remove(key).map(drop))?;
            at_most = Seq(seq.checked_sub(1)?);
        }
    }

    pub(crate) fn forget(&self, stream: StreamId, fold: FoldId<'_>, seq: Seq, counts: &Counts) {
        let key = key(stream, fold, seq);
        self.with(counts, |db| db.remove(key).map(drop));
    }

    pub(crate) fn forget_stream(&self, stream: StreamId, counts: &Counts) {
        self.with(counts, |db| {
            for key in db.scan_prefix(stream.as_bytes()).keys() {
                db.remove(key?)?;
            }
            Ok(())
        });
    }

    /// Runs a query; if sled fails or panics, the answer is that there is nothing, and the store is begun anew. It is opened
    /// again instead where the disk was full.
    fn with<T>(&self, counts: &Counts, query: impl FnOnce(&sled::Db) -> sled::Result<T>) -> Option<T> {
        let closed_since = {
            let shelf = self.read();
            shelf.db.is_none().then_some(shelf.turn)
        };
        if let Some(turn) = closed_since {
            self.put_right(turn, None, counts);
        }
        let (turn, trouble) = {
            let shelf = self.read();
            let db = shelf.db.as_ref()?;
            match guard(|| query(db)) {
                Ok(answer) => return Some(answer),
                Err(trouble) => (shelf.turn, trouble),
            }
        };
        self.put_right(turn, Some(trouble), counts);
        None
    }

    fn read(&self) -> RwLockReadGuard<'_, Shelf> {
        self.shelf.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the store after `trouble`, or because it is not open.
    fn put_right(&self, turn: u64, trouble: Option<Trouble>, counts: &Counts) {
        let mut shelf = self.shelf.write().unwrap_or_else(PoisonError::into_inner);
        let is_left_alone =
            || trouble.is_none() && shelf.failed.is_some_and(|failed| failed.elapsed() < LEFT_ALONE);
        // Or somebody else was first.
        if shelf.turn != turn || is_left_alone() {
            return;
        }
        shelf.turn += 1;
        // sled holds a lock on its folder until it is dropped, syncs then, and panics where that fails.
        let db = shelf.db.take();
        let _ = guard(|| {
            drop(db);
            Ok(())
        });
        let opened = match trouble {
            Some(Trouble::Broken(reason)) => begin_anew(&self.folder, &reason, counts),
            Some(Trouble::NoRoom(_)) | None => match open_db(&self.folder) {
                Err(Trouble::Broken(reason)) => begin_anew(&self.folder, &reason, counts),
                opened => opened,
            },
        };
        match opened {
            Ok(db) => {
                if shelf.failed.take().is_some() {
                    tracing::info!("there are snapshots again");
                }
                shelf.db = Some(db);
            }
            Err(Trouble::NoRoom(reason) | Trouble::Broken(reason)) => {
                if shelf.failed.is_none() {
                    tracing::warn!(folder = %self.folder.display(), reason, "no snapshots for now: every wake replays its whole stream");
                }
                shelf.failed = Some(Instant::now());
            }
        }
    }
}

fn open_db(folder: &Path) -> Result<sled::Db, Trouble> {
    let is_new = !folder.exists();
    let since = Instant::now();
    loop {
        remove_unfinished(folder);
        let opened = guard(|| {
            sled::Config::new()
                .path(folder)
                .segment_size(SEGMENT_SIZE)
                .cache_capacity(CACHE_BYTES)
                .flush_every_ms(Some(500))
                .open()
        });
        match opened {
            // Nobody else opens it: the lock of the data directory is ours.
            Err(Trouble::Broken(reason))
                if reason.contains("could not acquire lock") && since.elapsed() < LETTING_GO =>
            {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(trouble) => {
                // A folder that was begun without room holds nothing, and would be moved aside at the next attempt.
                if is_new {
                    let _ = std::fs::remove_dir_all(folder);
                }
                return Err(trouble);
            }
            Ok(db) => return Ok(db),
        }
    }
}

/// Removes what sled was writing at an opening that a full disk or a kill cut short: it would take half a snapshot of its
/// pages for the newest one, and its whole folder for corrupt. What cannot be removed is for sled to say.
fn remove_unfinished(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "generating")
        {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn begin_anew(folder: &Path, reason: &str, counts: &Counts) -> Result<sled::Db, Trouble> {
    add(&counts.renewed);
    let mut number = 1u32;
    let aside = loop {
        let aside = folder.with_extension(format!("broken-{number}"));
        if !aside.exists() {
            break aside;
        }
        number += 1;
    };
    tracing::warn!(reason, moved_to = %aside.display(), "the snapshots cannot be used; beginning anew");
    match std::fs::rename(folder, &aside) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            let reason = format!("{reason}; and it cannot be moved aside: {error}");
            return Err(Trouble::Broken(reason));
        }
    }
    open_db(folder)
}

/// Runs a call into sled and turns its panics into reasons.
fn guard<T>(call: impl FnOnce() -> sled::Result<T>) -> Result<T, Trouble> {
    // Unwind safety: a store that panicked is moved aside, so nobody sees what it left half done.
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(sled::Error::Io(error))) if is_full(&error) => Err(Trouble::NoRoom(error.to_string())),
        Ok(Err(error)) => Err(Trouble::Broken(error.to_string())),
        Err(_) => Err(Trouble::Broken("sled panicked".into())),
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

fn key(stream: StreamId, fold: FoldId<'_>, seq: Seq) -> [u8; 32] {
    let mut key = [0; 32];
    key[..16].copy_from_slice(stream.as_bytes());
    key[16..24].copy_from_slice(&fold.key());
    key[24..].copy_from_slice(&seq.0.to_be_bytes());
    key
}

fn encode(key: &[u8], snapshot: &Snapshot) -> Vec<u8> {
    let mut value = vec![CODEC_BINCODE_2];
    let stored = Stored {
        seq: snapshot.seq.0,
        hash: snapshot.hash.0,
        state: &snapshot.state,
    };
    bincode::encode_into_std_write(stored, &mut value, CONFIG)
        .expect("a Vec takes any bytes and the shape is closed");
    let crc = crc32c::crc32c_append(crc32c::crc32c(key), &value);
    value.extend_from_slice(&crc.to_le_bytes());
    value
}

/// The snapshot in a value, or `None` when it is not what was put under this key.
fn decode(key: &[u8], value: &[u8]) -> Option<Snapshot> {
    let (body, crc) = value.split_last_chunk::<4>()?;
    if crc32c::crc32c_append(crc32c::crc32c(key), body).to_le_bytes() != *crc {
        return None;
    }
    let [CODEC_BINCODE_2, body @ ..] = body else {
        return None;
    };
    let (stored, used): (Stored<'_>, usize) = bincode::borrow_decode_from_slice(body, CONFIG).ok()?;
    let whole = used == body.len();
    whole.then(|| Snapshot {
        seq: Seq(stored.seq),
        hash: ChainHash(stored.hash),
        state: stored.state.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_read_back_only_under_its_own_key_and_whole() {
        let fold = FoldId {
            kind: "counter",
            version: 3,
        };
        let stream = StreamId::named("counter", "local", "a");
        let snapshot = Snapshot {
            seq: Seq(500),
            hash: ChainHash([7; 16]),
            state: b"state".to_vec(),
        };
        let own = key(stream, fold, snapshot.seq);
        let value = encode(&own, &snapshot);
        assert_eq!(
            hex(&value),
            GOLDEN,
            "golden bytes: never change them, add a codec"
        );
        assert_eq!(decode(&own, &value), Some(snapshot));
        assert_eq!(decode(&key(stream, fold, Seq(501)), &value), None);
        for at in 0..value.len() {
            let mut flipped = value.clone();
            flipped[at] ^= 0x10;
            assert_eq!(decode(&own, &flipped), None, "byte {at}");
            assert_eq!(decode(&own, &value[..at]), None, "cut at {at}");
        }
    }

    const GOLDEN: &str = "01fbf4010707070707070707070707070707070705737461746524749a50";

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
