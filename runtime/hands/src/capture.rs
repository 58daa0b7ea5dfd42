//! One output stream: its head goes to a file as it comes, its tail is kept in memory until the end.
//!
//! The file grows while the command runs, so that others can follow it. At most `tail_cap` bytes are in memory.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::sabotage;
use crate::spec::StreamRecord;

/// The arithmetic of head and tail, without any file.
#[derive(Debug)]
struct HeadTail {
    head_cap: u64,
    tail_cap: usize,
    head: u64,
    total: u64,
    tail: VecDeque<u8>,
}

impl HeadTail {
    fn new(head_cap: u64, tail_cap: usize) -> Self {
        Self {
            head_cap,
            tail_cap,
            head: 0,
            total: 0,
            tail: VecDeque::new(),
        }
    }

    /// Takes the next bytes; returns those that belong to the head.
    fn push<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        self.total += bytes.len() as u64;
        let room = usize::try_from(self.head_cap - self.head).unwrap_or(usize::MAX);
        let (head, rest) = bytes.split_at(room.min(bytes.len()));
        self.head += head.len() as u64;
        self.keep_last(rest);
        head
    }

    fn keep_last(&mut self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(self.tail_cap)..];
        let excess = (self.tail.len() + bytes.len()).saturating_sub(self.tail_cap);
        self.tail.drain(..excess);
        self.tail.extend(bytes);
    }

    /// The head ends here: its file takes no more. What the file did not take of `unwritten` moves to the tail.
    fn close_head(&mut self, unwritten: &[u8]) {
        self.head -= unwritten.len() as u64;
        self.head_cap = self.head;
        self.keep_last(unwritten);
    }
}

/// Bytes of each of the two files in which the last words of a service are kept.
const RECENT_BYTES: u64 = 512 << 10;

/// What a service says beyond the head, in two files that take turns: what is memory in a command would otherwise be out
/// of reach until its end, which may be days away.
struct Recent {
    path: PathBuf,
    file: Option<File>,
    room: u64,
}

impl Recent {
    fn push(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if self.room == 0 || self.file.is_none() {
            let _ = std::fs::rename(&self.path, older(&self.path));
            self.file = File::create(&self.path).ok();
            self.room = RECENT_BYTES;
        }
        self.room = self.room.saturating_sub(bytes.len() as u64);
        if let Some(file) = &mut self.file {
            // For reading along only: what a full disk takes away is no part of the record.
            let _ = file.write_all(bytes);
        }
    }
}

/// The file with what stands before that of `recent`.
pub(crate) fn older(recent: &Path) -> PathBuf {
    recent.with_extension("older")
}

/// The file with the last words of a service's output file.
pub(crate) fn recent(output: &Path) -> PathBuf {
    output.with_extension("recent")
}

/// A stream being captured into a file.
pub(crate) struct Capture {
    recent: Option<Recent>,
    file: File,
    split: HeadTail,
    write_errno: Option<i32>,
}

impl Capture {
    pub(crate) fn new(file: File, head_cap: u64, tail_cap: u64) -> Self {
        let tail_cap = usize::try_from(tail_cap).unwrap_or(usize::MAX);
        let head_cap = if sabotage::is_on("keep-all-output") {
            u64::MAX
        } else {
            head_cap
        };
        Self {
            recent: None,
            file,
            split: HeadTail::new(head_cap, tail_cap),
            write_errno: None,
        }
    }

    /// Keeps the last words of the stream in files, beside its output file, while it goes on.
    pub(crate) fn read_along(&mut self, output: &Path) {
        self.recent = Some(Recent {
            path: recent(output),
            file: None,
            room: 0,
        });
    }

    /// Bytes seen so far.
    pub(crate) fn total(&self) -> u64 {
        self.split.total
    }

    /// Takes the next bytes of the stream. A full disk does not stop the command: it is counted and recorded.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let head = self.split.push(bytes);
        if let Some(recent) = &mut self.recent {
            recent.push(&bytes[head.len()..]);
        }
        let written = self.write(head);
        if written < head.len() {
            self.split.close_head(&head[written..]);
        }
    }

    /// Writes the tail behind the head; the file is then as it stays.
    pub(crate) fn finish(&mut self) -> StreamRecord {
        let tail: Vec<u8> = std::mem::take(&mut self.split.tail).into();
        let kept = self.write(&tail) as u64;
        let HeadTail { head, total, .. } = self.split;
        let truncated = head + kept < total;
        StreamRecord {
            total,
            head,
            tail: kept,
            truncated,
            write_errno: self.write_errno,
        }
    }

    /// Forces the file to disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn write(&mut self, mut bytes: &[u8]) -> usize {
        let wanted = bytes.len();
        while !bytes.is_empty() && self.write_errno.is_none() {
            match self.file.write(bytes) {
                Ok(0) => self.write_errno = Some(libc::ENOSPC),
                Ok(n) => bytes = &bytes[n..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => self.write_errno = Some(error.raw_os_error().unwrap_or(libc::EIO)),
            }
        }
        wanted - bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(head_cap: u64, tail_cap: usize, chunks: &[&str]) -> (String, String, u64) {
        let mut split = HeadTail::new(head_cap, tail_cap);
        let head: Vec<u8> = chunks
            .iter()
            .flat_map(|c| split.push(c.as_bytes()).to_vec())
            .collect();
        let tail: Vec<u8> = split.tail.iter().copied().collect();
        (
            String::from_utf8(head).unwrap(),
            String::from_utf8(tail).unwrap(),
            split.total,
        )
    }

    #[test]
    fn what_fits_is_kept_whole() {
        assert_eq!(split(4, 3, &["ab", "cd", "ef"]), ("abcd".into(), "ef".into(), 6));
    }

    #[test]
    fn what_does_not_fit_keeps_both_ends() {
        assert_eq!(
            split(4, 3, &["abcdefg", "h", "ijklmnop", "q"]),
            ("abcd".into(), "opq".into(), 17)
        );
    }

    #[test]
    fn however_the_bytes_arrive_the_same_are_kept() {
        let text = "the quick brown fox jumps over the lazy dog";
        for size in 1..text.len() {
            let chunks: Vec<&str> = text
                .as_bytes()
                .chunks(size)
                .map(|c| std::str::from_utf8(c).unwrap())
                .collect();
            assert_eq!(
                split(9, 8, &chunks),
                ("the quick".into(), "lazy dog".into(), 43),
                "chunks of {size}"
            );
        }
    }

    #[test]
    fn the_last_words_of_a_service_are_read_while_it_talks() {
        let dir = tempfile::tempdir().unwrap();
        let output = dir.path().join("stdout");
        let mut capture = Capture::new(File::create(&output).unwrap(), 1_000, 10);
        capture.read_along(&output);
        let said: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
        for chunk in said.chunks(70_001) {
            capture.push(chunk);
        }
        for max in [1, 1_000, 500_000, 600_000] {
            let last = crate::last_words(dir.path(), crate::Stream::Stdout, max).unwrap();
            assert!(last == said[said.len() - max as usize..], "the last {max}");
        }
        let kept: u64 = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|e| e.unwrap().metadata().unwrap().len())
            .sum();
        assert!(kept < 4 * RECENT_BYTES);
    }

    #[test]
    fn a_full_disk_ends_the_head_and_is_recorded() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut capture = Capture::new(full, 100, 100);
        capture.push(b"hello");
        capture.push(b" world");
        let record = capture.finish();
        assert_eq!((record.total, record.head, record.tail), (11, 0, 0));
        assert!(record.truncated);
        assert_eq!(record.write_errno, Some(libc::ENOSPC));
    }
}
