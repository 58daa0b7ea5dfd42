//! Output that may be too long for a record: its beginning, its end, and the whole of it in a blob.

use longhaul_actors::session::Output;
use longhaul_journal::{BlobError, Blobs};

/// Most bytes that one output may take in a record, counted as JSON. Two of them and the rest of a record stay under
/// 64 KiB (B-LOG-4), whatever bytes came out.
const INLINE_JSON: usize = 28 * 1024;
/// Most bytes, counted as JSON, of the beginning and of the end that stay in the record when the rest is in a blob.
const EDGE_JSON: usize = 8 * 1024;

/// What was captured of an output, and how much there was of it.
pub(crate) struct Captured<'a> {
    /// The beginning, or all of it.
    pub(crate) head: &'a [u8],
    /// The end, when the middle was dropped.
    pub(crate) tail: &'a [u8],
    /// Bytes that came out in all.
    pub(crate) total: u64,
}

/// Keeps small text in the record, and large or non-text output in a blob as well.
///
/// # Errors
/// [`BlobError`] when the blob cannot be stored.
pub(crate) fn keep(captured: &Captured<'_>, blobs: &dyn Blobs) -> Result<Output, BlobError> {
    let whole = captured.tail.is_empty() && captured.head.len() as u64 == captured.total;
    if let Ok(text) = std::str::from_utf8(captured.head)
        && whole
        && json_len(text) <= INLINE_JSON
    {
        return Ok(Output {
            head: text.to_owned(),
            bytes: captured.total,
            ..Output::default()
        });
    }
    let mut all = std::io::Read::chain(captured.head, captured.tail);
    let blob = blobs.put(&mut all)?;
    let end = if captured.tail.is_empty() {
        captured.head
    } else {
        captured.tail
    };
    let (head, tail) = if whole && json_len(&String::from_utf8_lossy(captured.head)) <= INLINE_JSON {
        (String::from_utf8_lossy(captured.head).into_owned(), String::new())
    } else {
        (beginning(captured.head), ending(end))
    };
    let sha256 = Some(blob.id.to_string());
    Ok(Output {
        head,
        tail,
        bytes: captured.total,
        sha256,
        truncated: !whole,
    })
}

fn json_len(text: &str) -> usize {
    text.chars().map(char_json_len).sum::<usize>() + 2
}

/// Bytes a character takes inside a JSON string as `serde_json` writes it.
fn char_json_len(c: char) -> usize {
    match c {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        c if (c as u32) < 0x20 => 6,
        c => c.len_utf8(),
    }
}

fn beginning(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(EDGE_JSON)]);
    within_budget(text.chars()).into_iter().collect()
}

fn ending(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(EDGE_JSON)..]);
    within_budget(text.chars().rev()).into_iter().rev().collect()
}

fn within_budget(chars: impl Iterator<Item = char>) -> Vec<char> {
    let mut budget = EDGE_JSON;
    chars
        .take_while(|c| {
            let fits = char_json_len(*c) <= budget;
            budget = budget.saturating_sub(char_json_len(*c));
            fits
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use longhaul_journal::{Journal, MemoryJournal};

    use super::*;

    fn kept(bytes: &[u8]) -> Output {
        let captured = Captured {
            head: bytes,
            tail: b"",
            total: bytes.len() as u64,
        };
        keep(&captured, MemoryJournal::new().blobs()).expect("memory takes it")
    }

    #[test]
    fn short_text_stays_in_the_record() {
        let output = kept(b"one line\n");
        assert_eq!((output.head.as_str(), output.sha256), ("one line\n", None));
    }

    /// B-LOG-4: whatever comes out, two outputs fit in a record of 64 KiB.
    #[test]
    fn no_output_makes_a_record_too_large() {
        for hostile in [
            vec![0_u8; 5 << 20],
            vec![b'"'; 200_000],
            vec![0xff; 100_000],
            "é".repeat(60_000).into(),
        ] {
            let output = kept(&hostile);
            assert!(serde_json::to_vec(&output).expect("serializes").len() < 31 * 1024);
            assert!(output.sha256.is_some());
            assert_eq!(output.bytes, hostile.len() as u64);
        }
    }

    #[test]
    fn bytes_that_are_not_text_are_kept_exactly_in_a_blob() {
        let journal = MemoryJournal::new();
        let captured = Captured {
            head: b"a\xffb",
            tail: b"",
            total: 3,
        };
        let output = keep(&captured, journal.blobs()).expect("memory takes it");
        assert_eq!(output.head, "a\u{fffd}b");
        assert!(!output.truncated);
        let mut id = [0; 32];
        hex::decode_to_slice(output.sha256.expect("in a blob"), &mut id).expect("hex");
        assert_eq!(
            journal.blobs().get(longhaul_journal::BlobId(id)).expect("there"),
            b"a\xffb"
        );
    }

    #[test]
    fn a_dropped_middle_is_said() {
        let captured = Captured {
            head: b"begin",
            tail: b"end",
            total: 1_000_000,
        };
        let output = keep(&captured, MemoryJournal::new().blobs()).expect("memory takes it");
        assert_eq!(
            (output.head.as_str(), output.tail.as_str(), output.truncated),
            ("begin", "end", true)
        );
    }
}
