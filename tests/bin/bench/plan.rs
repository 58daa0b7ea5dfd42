//! What the command line asked for, and the folder the data of one bench lies in.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// Whatever stopped a bench; it has no other caller than a person.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What magic number a file system in memory has (`statfs`).
const TMPFS: i64 = 0x0102_1994;

/// How one bench shall run.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) bench: &'static str,
    pub(crate) json: bool,
    /// How long one measurement takes.
    pub(crate) time: Duration,
    /// How many measurements, of which the median counts.
    pub(crate) rounds: usize,
    /// How many records, sessions or streams, where it is not the usual number.
    pub(crate) count: Option<u64>,
    folder: tempfile::TempDir,
}

impl Plan {
    pub(crate) fn new(bench: &'static str, flags: &[String]) -> Result<Self, Failure> {
        let mut json = false;
        let mut directory = std::env::temp_dir();
        let (mut seconds, mut rounds, mut count) = (1.0, 5, None);
        let mut flags = flags.iter();
        while let Some(flag) = flags.next() {
            if flag == "--json" {
                json = true;
                continue;
            }
            let value = flags.next().ok_or_else(|| format!("{flag} needs a value"))?;
            match flag.as_str() {
                "--dir" => directory = PathBuf::from(value),
                "--seconds" => seconds = value.parse()?,
                "--rounds" => rounds = value.parse::<usize>()?.max(1),
                "--count" => count = Some(value.parse()?),
                _ => return Err(format!("there is no {flag}").into()),
            }
        }
        let folder = tempfile::Builder::new()
            .prefix("longhaul-bench-")
            .tempdir_in(&directory)?;
        if rustix::fs::statfs(folder.path())?.f_type == TMPFS {
            eprintln!(
                "note: {} is in memory; rates say what the processor can do, not the disk",
                directory.display()
            );
        }
        Ok(Self {
            bench,
            json,
            time: Duration::from_secs_f64(seconds),
            rounds,
            count,
            folder,
        })
    }

    /// Where the data goes.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}
