//! The list of what a checkpoint holds, and how it is stored.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The form of the list; another one is refused.
pub(super) const FORM: u32 = 1;

/// What the files were after a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    pub(super) form: u32,
    /// The record.
    pub(super) at: u64,
    /// Whether somebody asked for it: such a one is not pruned.
    pub(super) requested: bool,
    /// When its making began, milliseconds since 1970: what changed shortly before is read again the next time.
    pub(super) taken_ms: u64,
    /// Bytes that were new.
    pub(in crate::world) added_bytes: u64,
    /// Everything below the workspace, folders before what is in them.
    pub(super) entries: Vec<Entry>,
}

/// A file, folder, link or FIFO.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    /// Below the workspace, as [`shown`].
    pub(super) path: String,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime_s: i64,
    pub(super) mtime_ns: u32,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub(super) enum Kind {
    Folder,
    /// A file by its contents; the rest tells whether it has changed.
    File {
        hash: String,
        bytes: u64,
        inode: u64,
        ctime_s: i64,
        ctime_ns: u32,
    },
    Link {
        target: String,
    },
    Fifo,
}

impl Manifest {
    pub(super) fn parse(bytes: &[u8]) -> io::Result<Self> {
        let manifest: Self = serde_json::from_slice(bytes)?;
        let sound = manifest.form == FORM
            && manifest.entries.iter().all(|entry| {
                let is_hash = |hash: &str| hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit());
                let hash_is_sound = match &entry.kind {
                    Kind::File { hash, .. } => is_hash(hash),
                    _ => true,
                };
                hash_is_sound && is_below(&hidden(&entry.path))
            });
        if sound {
            Ok(manifest)
        } else {
            Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the list of a checkpoint is not what was written",
            ))
        }
    }

    /// Entries, and bytes of all files.
    pub(in crate::world) fn size(&self) -> (u64, u64) {
        let bytes = self.entries.iter().map(|entry| match entry.kind {
            Kind::File { bytes, .. } => bytes,
            _ => 0,
        });
        (self.entries.len() as u64, bytes.sum())
    }

    /// Hash of all that was kept: the same files have the same, whenever they are kept.
    pub(in crate::world) fn digest(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for Entry { path, mode, kind, .. } in &self.entries {
            let what = match kind {
                Kind::Folder => "folder",
                Kind::File { hash, .. } => hash,
                Kind::Link { target } => target,
                Kind::Fifo => "fifo",
            };
            hasher.update(format!("{path}\0{mode:o}\0{what}\0").as_bytes());
        }
        hasher.finalize().to_hex().to_string()
    }

    /// Hashes of all contents.
    pub(super) fn hashes(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().filter_map(|entry| match &entry.kind {
            Kind::File { hash, .. } => Some(hash.as_str()),
            _ => None,
        })
    }
}

fn is_below(path: &Path) -> bool {
    use std::path::Component;
    let mut parts = path.components().peekable();
    parts.peek().is_some() && parts.all(|part| matches!(part, Component::Normal(_)))
}

/// A name of any bytes as text: what is no text, and `%`, as `%` and two digits.
pub(super) fn shown(name: &OsStr) -> String {
    if let Some(text) = name.to_str().filter(|text| !text.contains('%')) {
        return text.to_owned();
    }
    let escaped = |byte: &u8| {
        if byte.is_ascii() && *byte != b'%' {
            char::from(*byte).to_string()
        } else {
            format!("%{byte:02x}")
        }
    };
    name.as_bytes().iter().map(escaped).collect()
}

/// The name that was [`shown`] so.
pub(super) fn hidden(text: &str) -> PathBuf {
    let (mut name, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match digits
            .and_then(|two| u8::from_str_radix(two, 16).ok())
            .filter(|_| byte == b'%')
        {
            Some(escaped) => {
                name.push(escaped);
                rest = &after[2..];
            }
            None => {
                name.push(byte);
                rest = after;
            }
        }
    }
    OsString::from_vec(name).into()
}
