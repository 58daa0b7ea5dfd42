//! Many small entries in one value of the tree below: what a page is, and how changes are worked into it. Pure.
//!
//! sled puts some twelve entries into a leaf whatever their size, and holds about 290 bytes of memory for each leaf, read or
//! not. A session has three or four entries of a few dozen bytes, so that a million of them would cost a hundred megabytes
//! of memory, and a log of 560 to read at each start. So neighbours share a page, and the page is what sled sees.
//!
//! ```text
//! page   length u16 | first key that is no longer its own (none: it is the last page) | entries
//! entry  shared u8 | length of the rest | rest of the key | length of the value | value
//! ```
//!
//! `shared` is how many bytes of the key are those of the key before; lengths in entries are variable-length integers.

use super::Broken;

/// What a page holds before it is split: the smaller it is, the less is written anew for one change.
pub(super) const PAGE_BYTES: usize = 1 << 10;
/// Below this a page moves in with its neighbour.
pub(super) const SMALL: usize = PAGE_BYTES / 8;

/// The entries of a page, in order.
pub(super) struct Entries<'a> {
    key: Vec<u8>,
    rest: &'a [u8],
}

/// A key, and the value it has.
type Pair<'k, 'v> = (&'k [u8], &'v [u8]);

impl<'a> Entries<'a> {
    /// The next entry.
    pub(super) fn next(&mut self) -> Result<Option<Pair<'_, 'a>>, Broken> {
        let Some((shared, rest)) = self.rest.split_first() else {
            return Ok(None);
        };
        self.rest = rest;
        let shared = usize::from(*shared);
        if shared > self.key.len() {
            return Err(Broken::Flawed("a key shares more than there is".into()));
        }
        self.key.truncate(shared);
        let suffix = take_bytes(&mut self.rest)?;
        self.key.extend_from_slice(suffix);
        let value = take_bytes(&mut self.rest)?;
        Ok(Some((&self.key, value)))
    }
}

/// Splits a page into the first key that is no longer its own, if there are pages behind it, and its entries.
pub(super) fn open(page: &[u8]) -> Result<(Option<&[u8]>, Entries<'_>), Broken> {
    let cut = || Broken::Flawed("a page is cut short".into());
    let (length, rest) = page.split_first_chunk::<2>().ok_or_else(cut)?;
    let length = usize::from(u16::from_le_bytes(*length));
    let (upper, rest) = rest.split_at_checked(length).ok_or_else(cut)?;
    let entries = Entries {
        key: Vec::new(),
        rest,
    };
    Ok(((!upper.is_empty()).then_some(upper), entries))
}

/// Entries in order, with their keys in one piece of memory: a page is taken apart and put together many thousand times
/// in a second.
#[derive(Default)]
pub(super) struct Run<'a> {
    keys: Vec<u8>,
    entries: Vec<Entry<'a>>,
}

struct Entry<'a> {
    /// Where its key ends in `keys`; it begins where the one before ends.
    key_end: usize,
    /// How many of its first bytes are those of the key before.
    shared: usize,
    value: &'a [u8],
}

/// A change: the value a key has from now on, or that it has none.
pub(super) type Change<'a> = (&'a [u8], Option<&'a [u8]>);

impl<'a> Run<'a> {
    /// What a page holds, with changes in the order of their keys worked in. Says also whether all of them come after
    /// everything that was there.
    pub(super) fn changed(mut entries: Entries<'a>, changes: &[Change<'a>]) -> Result<(Self, bool), Broken> {
        let mut run = Self::default();
        let mut changes = changes.iter().peekable();
        let mut appends = true;
        while let Some((key, value)) = entries.next()? {
            while let Some((new, change)) = changes.next_if(|(new, _)| *new < key) {
                appends = false;
                run.put(new, *change);
            }
            match changes.next_if(|(new, _)| *new == key) {
                Some((_, change)) => {
                    appends = false;
                    run.put(key, *change);
                }
                None => run.put(key, Some(value)),
            }
        }
        for (new, change) in changes {
            run.put(new, *change);
        }
        Ok((run, appends))
    }

    /// Adds everything that a page holds.
    pub(super) fn extend(&mut self, mut entries: Entries<'a>) -> Result<(), Broken> {
        while let Some((key, value)) = entries.next()? {
            self.put(key, Some(value));
        }
        Ok(())
    }

    fn put(&mut self, key: &[u8], value: Option<&'a [u8]>) {
        let Some(value) = value else { return };
        let before = self.entries.len().checked_sub(1);
        let shared = before.map_or(0, |before| shared(self.key(before), key));
        self.keys.extend_from_slice(key);
        self.entries.push(Entry {
            key_end: self.keys.len(),
            shared,
            value,
        });
    }

    fn key(&self, at: usize) -> &[u8] {
        let begin = at.checked_sub(1).map_or(0, |before| self.entries[before].key_end);
        &self.keys[begin..self.entries[at].key_end]
    }

    /// How many bytes an entry takes, within one, when it follows the one before it in the same page.
    fn len(&self, at: usize) -> usize {
        let Entry { shared, value, .. } = &self.entries[at];
        self.key(at).len() - shared + value.len() + 4
    }

    /// The bytes that all of it takes.
    pub(super) fn total(&self) -> usize {
        (0..self.entries.len()).map(|at| self.len(at)).sum()
    }

    /// Pages that hold all of it, each with its first key of its own: the first of them begins at `lower`, and the last
    /// ends at `upper`. Full ones when `dense`, because nothing will come between; otherwise all with the same room left.
    pub(super) fn pages(&self, lower: &[u8], upper: Option<&[u8]>, dense: bool) -> Vec<(Vec<u8>, Vec<u8>)> {
        let total = self.total();
        let at_most = if dense {
            PAGE_BYTES
        } else {
            total.div_ceil(total.div_ceil(PAGE_BYTES).max(1))
        };
        let mut pages = Vec::new();
        let (mut begin, mut filled) = (0, 0);
        for at in 0..self.entries.len() {
            let len = self.len(at);
            // Half of an entry may hang over, so that no last page is left with the little that did not fit.
            if at > begin && filled + len / 2 > at_most {
                pages.push((begin, at));
                (begin, filled) = (at, 0);
            }
            filled += len;
        }
        pages.push((begin, self.entries.len()));
        let lower_of = |begin: usize| {
            if begin == 0 {
                lower.to_vec()
            } else {
                self.key(begin).to_vec()
            }
        };
        let encoded = pages.iter().map(|&(begin, end)| {
            let upper = (end < self.entries.len()).then(|| self.key(end)).or(upper);
            (lower_of(begin), self.encode(begin, end, upper))
        });
        encoded.collect()
    }

    fn encode(&self, begin: usize, end: usize, upper: Option<&[u8]>) -> Vec<u8> {
        let upper = upper.unwrap_or_default();
        let mut page = Vec::with_capacity(PAGE_BYTES + PAGE_BYTES / 2);
        // Keys are some dozens of bytes long; see `MAX_KEY`.
        page.extend_from_slice(&u16::try_from(upper.len()).unwrap_or(u16::MAX).to_le_bytes());
        page.extend_from_slice(upper);
        for at in begin..end {
            let Entry { shared, value, .. } = self.entries[at];
            // The first key of a page stands there whole.
            let shared = if at == begin { 0 } else { shared };
            page.push(u8::try_from(shared).unwrap_or(u8::MAX));
            put_bytes(&mut page, &self.key(at)[shared..]);
            put_bytes(&mut page, value);
        }
        page
    }
}

/// The longest key there may be: the length of a kind is bounded far below it.
pub(super) const MAX_KEY: usize = u16::MAX as usize;

fn shared(before: &[u8], key: &[u8]) -> usize {
    let same = before.iter().zip(key).take_while(|(one, other)| one == other);
    same.count().min(usize::from(u8::MAX))
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn take_bytes<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], Broken> {
    let length = usize::try_from(take_varint(bytes)?).unwrap_or(usize::MAX);
    let (taken, rest) = bytes
        .split_at_checked(length)
        .ok_or_else(|| Broken::Flawed("a page is cut short".into()))?;
    *bytes = rest;
    Ok(taken)
}

/// Appends a number, seven bits to a byte, the lowest first.
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// Takes a number that [`put_varint`] wrote.
pub(super) fn take_varint(bytes: &mut &[u8]) -> Result<u64, Broken> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let Some((byte, rest)) = bytes.split_first() else {
            break;
        };
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Broken::Flawed("a number does not end".into()))
}
