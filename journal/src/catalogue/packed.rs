//! A sorted map on disk whose small entries share pages. The only file of this crate that imports `sled`.
//!
//! The pages divide all possible keys among them without a gap: each begins at the key it is found by and ends where the
//! next one begins, which it says itself. So a page that is missing is noticed by whoever asks for what it held.
//!
//! ```text
//! m             what the owner keeps beside the entries
//! p first key   a page
//! ```
//!
//! Each value ends in a crc32c of its key and itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Broken;
use super::page::{self, Change, MAX_KEY, PAGE_BYTES, Run, SMALL};

/// sled keeps values up to this size in its log; larger ones (per leaf) go to files which nothing syncs.
const SEGMENT_SIZE: usize = 8 << 20;
/// How long to wait for sled to let go of a folder, whose threads may outlive what was dropped by some milliseconds.
const LETTING_GO: Duration = Duration::from_secs(2);

const META: &[u8] = b"m";
const CRC_LEN: usize = 4;
/// Pages that are rather stepped over than skipped.
const STEPS_AT_MOST: usize = 16;
const PAGE: u8 = b'p';

/// What changes together: the value each key has from now on, or that it has none.
pub(super) type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// The map.
#[derive(Debug)]
pub(super) struct Packed {
    folder: PathBuf,
    db: sled::Db,
    /// A page is read, changed and written, by one at a time.
    changing: Mutex<()>,
}

/// A page as it lies there.
struct Found {
    key: sled::IVec,
    value: sled::IVec,
}

impl Packed {
    /// Opens or begins one.
    pub(super) fn open(folder: &Path, cache_bytes: u64) -> Result<Self, Broken> {
        let is_new = !folder.exists();
        let db = open_db(folder, cache_bytes).inspect_err(|_| {
            // A folder that was begun without room holds nothing, and would be moved aside as damaged at the next attempt.
            if is_new {
                let _ = std::fs::remove_dir_all(folder);
            }
        })?;
        Ok(Self {
            folder: folder.to_owned(),
            db,
            changing: Mutex::new(()),
        })
    }

    /// Lets go of the folder. What sled could not write is not written.
    pub(super) fn close(self) -> Result<(), Broken> {
        // sled syncs when it is dropped, and panics where that fails.
        guard(|| {
            drop(self);
            Ok(())
        })
    }

    /// What the owner keeps beside the entries.
    pub(super) fn meta(&self) -> Result<Option<Vec<u8>>, Broken> {
        let value = guard(|| self.db.get(META))?;
        value
            .map(|value| checked(META, &value).map(<[u8]>::to_vec))
            .transpose()
    }

    pub(super) fn put_meta(&self, value: Vec<u8>) -> Result<(), Broken> {
        guard(|| self.db.insert(META, summed(META, value)))?;
        Ok(())
    }

    /// Begins a map that has no page yet.
    pub(super) fn begin(&self) -> Result<(), Broken> {
        let page = Run::default().pages(&[], None, true);
        self.write(Rewritten {
            kept: page.into_iter().collect(),
            joined: BTreeSet::new(),
        })
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Broken> {
        let found = self.covering(key)?;
        let (_, mut entries) = page::open(found.page())?;
        while let Some((known, value)) = entries.next()? {
            if known >= key {
                return Ok((known == key).then(|| value.to_vec()));
            }
        }
        Ok(None)
    }

    /// The highest key from `from` to `to`, both included.
    pub(super) fn last_key(&self, from: &[u8], to: &[u8]) -> Result<Option<Vec<u8>>, Broken> {
        let mut found = self.covering(to)?;
        loop {
            let (_, mut entries) = page::open(found.page())?;
            let mut last = None;
            while let Some((key, _)) = entries.next()? {
                if key > to {
                    break;
                }
                if key >= from {
                    last = Some(key.to_vec());
                }
            }
            if last.is_some() || found.lower() <= from {
                return Ok(last);
            }
            found = self.before(found.lower())?;
        }
    }

    /// Shows the entries from `from` up to `to` in order, until told to stop. What changes meanwhile is shown as it was or
    /// as it is.
    pub(super) fn each(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<bool, Broken>,
    ) -> Result<(), Broken> {
        let mut at = match from {
            Bound::Included(from) | Bound::Excluded(from) => from.to_vec(),
            Bound::Unbounded => Vec::new(),
        };
        let is_ahead = |key: &[u8]| RangeBounds::<[u8]>::contains(&(Bound::Unbounded, to), key);
        loop {
            let found = self.covering(&at)?;
            let (upper, mut entries) = page::open(found.page())?;
            while let Some((key, value)) = entries.next()? {
                // A page that has taken in another meanwhile begins with what was shown.
                if key < at.as_slice() || from == Bound::Excluded(key) {
                    continue;
                }
                if !is_ahead(key) || !visit(key, value)? {
                    return Ok(());
                }
            }
            match upper {
                Some(upper) if is_ahead(upper) => at = upper.to_vec(),
                _ => return Ok(()),
            }
        }
    }

    /// Works changes in, all of them or none.
    pub(super) fn apply(&self, changes: &Changes) -> Result<(), Broken> {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let changes: Vec<Change<'_>> = changes
            .iter()
            .map(|(key, value)| (key.as_slice(), value.as_deref()))
            .collect();
        if changes
            .iter()
            .any(|(key, _)| key.is_empty() || key.len() > MAX_KEY)
        {
            return Err(Broken::Flawed("a key is empty or too long".into()));
        }
        let mut pages = Rewritten::default();
        let mut walk = Walk { map: self, at: None };
        let mut rest = changes.as_slice();
        while let Some((key, _)) = rest.first() {
            let found = walk.to(key)?;
            let (upper, entries) = page::open(found.page())?;
            let here = rest.partition_point(|(key, _)| upper.is_none_or(|upper| *key < upper));
            let (here, behind) = rest.split_at(here);
            rest = behind;
            let (run, appends) = Run::changed(entries, here)?;
            let written = run.pages(found.lower(), upper, appends);
            if !matches!(written.as_slice(), [(_, page)] if page == found.page()) {
                pages.kept.extend(written);
            }
        }
        self.join_small(&mut pages)?;
        self.write(pages)
    }

    fn write(&self, pages: Rewritten) -> Result<(), Broken> {
        let mut batch = sled::Batch::default();
        for (lower, page) in pages.kept {
            let key = page_key(&lower);
            let value = summed(&key, page);
            batch.insert(key, value);
        }
        for lower in pages.joined {
            batch.remove(page_key(&lower));
        }
        guard(|| self.db.apply_batch(batch))
    }

    /// Pages of which little is left move in with the page before them.
    fn join_small(&self, pages: &mut Rewritten) -> Result<(), Broken> {
        let is_small = |(lower, page): &(&Vec<u8>, &Vec<u8>)| page.len() < SMALL && !lower.is_empty();
        let small: Vec<Vec<u8>> = pages
            .kept
            .iter()
            .filter(is_small)
            .map(|(lower, _)| lower.clone())
            .collect();
        for lower in small {
            let Some(page) = pages.kept.get(&lower) else {
                continue;
            };
            let (upper, entries) = page::open(page)?;
            let before = self.before(&lower)?;
            // What was rewritten just now counts, and is the page before it where that one was split or moved in itself.
            let before = match pages.kept.range(..lower.clone()).next_back() {
                Some((first, page))
                    if first.as_slice() >= before.lower() || pages.joined.contains(before.lower()) =>
                {
                    Found::new(first, page)
                }
                _ => before,
            };
            let (its_end, its_entries) = page::open(before.page())?;
            if its_end != Some(lower.as_slice()) {
                return Err(not_adjoining());
            }
            let (mut run, _) = Run::changed(its_entries, &[])?;
            run.extend(entries)?;
            if run.total() > PAGE_BYTES - SMALL {
                continue;
            }
            let joined = run.pages(before.lower(), upper, true);
            pages.kept.remove(&lower);
            pages.joined.insert(lower);
            pages.kept.extend(joined);
        }
        Ok(())
    }

    /// The page that a key belongs to.
    fn covering(&self, key: &[u8]) -> Result<Found, Broken> {
        let found = self.find(Bound::Included(key))?;
        let (upper, _) = page::open(found.page())?;
        if upper.is_some_and(|upper| upper <= key) {
            return Err(Broken::Flawed("a page is missing".into()));
        }
        Ok(found)
    }

    /// The page before the one that begins at a key.
    fn before(&self, lower: &[u8]) -> Result<Found, Broken> {
        self.find(Bound::Excluded(lower))
    }

    /// The last page that begins at a key at most, or below it.
    fn find(&self, key: Bound<&[u8]>) -> Result<Found, Broken> {
        let range = (Bound::Included(vec![PAGE]), key.map(page_key));
        let found = guard(|| self.db.range(range).next_back().transpose())?;
        let (key, value) = found.ok_or_else(|| Broken::Flawed("its first page is missing".into()))?;
        checked(&key, &value)?;
        Ok(Found { key, value })
    }

    /// Makes what was changed survive power loss: sled's own flush only starts the writing.
    pub(super) fn sync(&self) -> Result<(), Broken> {
        guard(|| self.db.flush())?;
        let data = File::open(self.folder.join("db")).and_then(|file| file.sync_data());
        data.map_err(|error| Broken::by_system("cannot sync it: ", &error))
    }
}

/// Goes from page to page as changes do that are in order. From a page to one that is near it is cheaper to step than to seek.
struct Walk<'a> {
    map: &'a Packed,
    at: Option<Step>,
}

struct Step {
    here: Found,
    next: Option<Found>,
    behind: sled::Iter,
}

impl Walk<'_> {
    /// Goes on to the page that a key belongs to.
    fn to(&mut self, key: &[u8]) -> Result<&Found, Broken> {
        let mut step = match self.at.take() {
            Some(step) => step,
            None => self.seek(key)?,
        };
        let mut steps = 0;
        while step.next.as_ref().is_some_and(|next| next.lower() <= key) {
            if steps == STEPS_AT_MOST {
                step = self.seek(key)?;
                break;
            }
            steps += 1;
            step.go_on()?;
        }
        checked(&step.here.key, &step.here.value)?;
        let (upper, _) = page::open(step.here.page())?;
        // A page that went on beyond the beginning of the next one would hide what that one holds.
        if upper != step.next.as_ref().map(Found::lower) {
            return Err(not_adjoining());
        }
        Ok(&self.at.insert(step).here)
    }

    fn seek(&self, key: &[u8]) -> Result<Step, Broken> {
        let here = self.map.covering(key)?;
        let range = (
            Bound::Excluded(here.key.clone()),
            Bound::Excluded(sled::IVec::from(&[PAGE + 1])),
        );
        let behind = guard(|| Ok(self.map.db.range(range)))?;
        let mut step = Step {
            here,
            next: None,
            behind,
        };
        step.next = step.after_next()?;
        Ok(step)
    }
}

impl Step {
    fn go_on(&mut self) -> Result<(), Broken> {
        if let Some(next) = self.next.take() {
            self.here = next;
            self.next = self.after_next()?;
        }
        Ok(())
    }

    fn after_next(&mut self) -> Result<Option<Found>, Broken> {
        let next = guard(|| self.behind.next().transpose())?;
        Ok(next.map(|(key, value)| Found { key, value }))
    }
}

/// Pages as they are from now on, and those that are no more, by their first keys.
#[derive(Default)]
struct Rewritten {
    kept: BTreeMap<Vec<u8>, Vec<u8>>,
    joined: BTreeSet<Vec<u8>>,
}

impl Found {
    fn new(lower: &[u8], page: &[u8]) -> Self {
        let key = page_key(lower);
        Self {
            value: summed(&key, page.to_vec()).into(),
            key: key.into(),
        }
    }

    /// The key it begins at.
    fn lower(&self) -> &[u8] {
        &self.key[1..]
    }

    fn page(&self) -> &[u8] {
        &self.value[..self.value.len() - CRC_LEN]
    }
}

fn not_adjoining() -> Broken {
    Broken::Flawed("a page does not end where the next one begins".into())
}

fn page_key(lower: &[u8]) -> Vec<u8> {
    [&[PAGE], lower].concat()
}

fn open_db(folder: &Path, cache_bytes: u64) -> Result<sled::Db, Broken> {
    remove_unfinished(folder).map_err(|error| Broken::by_system("cannot clear it: ", &error))?;
    let since = Instant::now();
    loop {
        let opened = guard(|| {
            sled::Config::new()
                .path(folder)
                .segment_size(SEGMENT_SIZE)
                .cache_capacity(cache_bytes)
                .flush_every_ms(Some(500))
                .open()
        });
        match opened {
            // Nobody else opens it: the lock of the data directory is ours.
            Err(broken) if broken.is_held() && since.elapsed() < LETTING_GO => {
                std::thread::sleep(Duration::from_millis(5));
            }
            opened => return opened,
        }
    }
}

/// Removes what sled was writing at an opening that a full disk or a kill cut short: it would take half a snapshot of its
/// pages for the newest one, and its whole folder for corrupt.
fn remove_unfinished(folder: &Path) -> io::Result<()> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "generating")
        {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Runs a call into sled; its errors and its panics both mean that the map is no good any more, but for a full disk.
fn guard<T>(call: impl FnOnce() -> sled::Result<T>) -> Result<T, Broken> {
    // Unwind safety: a map that panicked is thrown away, so nobody sees what it left half done.
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(sled::Error::Io(error))) => Err(Broken::by_system("", &error)),
        Ok(Err(error)) => Err(Broken::Flawed(error.to_string())),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("no message");
            Err(Broken::Flawed(format!("sled panicked: {text}")))
        }
    }
}

fn summed(key: &[u8], mut value: Vec<u8>) -> Vec<u8> {
    let crc = crc32c::crc32c_append(crc32c::crc32c(key), &value);
    value.extend_from_slice(&crc.to_le_bytes());
    value
}

fn checked<'a>(key: &[u8], value: &'a [u8]) -> Result<&'a [u8], Broken> {
    let split = value
        .len()
        .checked_sub(CRC_LEN)
        .ok_or_else(|| Broken::Flawed("a value is cut short".into()))?;
    let (value, crc) = value.split_at(split);
    if crc32c::crc32c_append(crc32c::crc32c(key), value).to_le_bytes() != crc {
        return Err(Broken::Flawed("the checksum of a value does not match".into()));
    }
    Ok(value)
}

#[cfg(test)]
mod tests;
