//! A data directory as it was on disk right after any frame, from the real bytes of its segments.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use longhaul_journal::{ENVELOPE_LEN, Frame};

use crate::wreck;

/// Bytes of a segment before its first frame.
const SEGMENT_HEADER: usize = 64;

/// One frame where it lies, read from its envelope alone.
#[derive(Clone, Debug)]
struct Lying {
    segment: PathBuf,
    position: u64,
    offset: usize,
    len: usize,
}

/// A finished journal that is cut again and again.
#[derive(Debug)]
pub struct Original {
    directory: PathBuf,
    segments: Vec<(PathBuf, Vec<u8>)>,
    frames: Vec<Lying>,
}

/// What stands behind the last whole frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behind {
    /// Nothing but prepared room.
    Room,
    /// The first part of a frame that was never finished; the number chooses how much of it.
    TornFrame(usize),
}

impl Original {
    /// Reads the segments of a closed journal.
    pub fn read(directory: &Path) -> Self {
        let mut paths: Vec<PathBuf> = fs::read_dir(directory.join("journal"))
            .expect("there is a journal")
            .map(|entry| entry.expect("readable").path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
            .collect();
        paths.sort();
        let segments: Vec<(PathBuf, Vec<u8>)> = paths
            .into_iter()
            .map(|path| (path.clone(), fs::read(&path).expect("readable")))
            .collect();
        let frames = segments
            .iter()
            .flat_map(|(path, bytes)| lying(path, bytes))
            .collect();
        Self {
            directory: directory.to_owned(),
            segments,
            frames,
        }
    }

    /// How many segments there are.
    pub fn segments(&self) -> usize {
        self.segments.len()
    }

    /// Makes `into` what this directory was when `last` was the last frame on disk; without one, when there was none.
    ///
    /// The catalogue is left out: it may be deleted at any time, and it would know of what was cut off.
    pub fn cut(&self, into: &Path, last: Option<&Frame>, behind: Behind, blobs: &[String]) {
        fs::create_dir_all(into.join("journal")).expect("a folder");
        for name in ["format", "boot"] {
            fs::copy(self.directory.join(name), into.join(name)).expect("copied");
        }
        for sha256 in blobs {
            let blob = Path::new("blobs").join(&sha256[..2]).join(&sha256[2..]);
            fs::create_dir_all(into.join(&blob).parent().expect("it lies in a folder")).expect("a folder");
            fs::copy(self.directory.join(&blob), into.join(&blob)).expect("the blob was kept");
        }
        let index = last.map(|frame| {
            let here = self
                .frames
                .iter()
                .position(|lying| lying.position == frame.position.0);
            here.expect("the frame lies in a segment")
        });
        let (segment, end) = match index {
            Some(index) => (
                &self.frames[index].segment,
                self.frames[index].offset + self.frames[index].len,
            ),
            None => (&self.segments[0].0, SEGMENT_HEADER),
        };
        let torn = self.torn(index, behind);
        for (path, bytes) in self.segments.iter().filter(|(path, _)| path <= segment) {
            let mut kept = bytes.clone();
            if path == segment {
                kept[end..].fill(0);
                kept.resize(kept.len().max(end + torn.len()), 0);
                kept[end..end + torn.len()].copy_from_slice(&torn);
            }
            let name = path.file_name().expect("a segment has a name");
            let mut file = fs::File::create(into.join("journal").join(name)).expect("created");
            file.write_all(&kept).expect("written");
        }
    }

    fn torn(&self, index: Option<usize>, behind: Behind) -> Vec<u8> {
        let Behind::TornFrame(choice) = behind else {
            return Vec::new();
        };
        // The next frame that was really written here; behind the last one, the last one stands in for it.
        let next = index.map_or(0, |index| (index + 1).min(self.frames.len() - 1));
        let Lying {
            segment, offset, len, ..
        } = &self.frames[next];
        let (_, bytes) = self
            .segments
            .iter()
            .find(|(path, _)| path == segment)
            .expect("it lies in a segment");
        let mut part = [1, ENVELOPE_LEN - 1, len / 2, len - 1][choice % 4];
        // Prepared room is zeros: a frame that lacks nothing but zeros is whole.
        while bytes[offset + part..offset + len].iter().all(|byte| *byte == 0) {
            part -= 1;
        }
        bytes[*offset..offset + part].to_vec()
    }
}

/// Frames and markers of a segment, one behind the other.
fn lying(path: &Path, bytes: &[u8]) -> Vec<Lying> {
    let frames = wreck::lying(&bytes[SEGMENT_HEADER..]);
    frames
        .map(|frame| Lying {
            segment: path.to_owned(),
            position: frame.position,
            offset: SEGMENT_HEADER + frame.offset,
            len: frame.len,
        })
        .collect()
}
