//! Opening: whose directory it is, what format it has, and how its parts are put together.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::catalogue::{Broken, Catalogue};
use crate::damage::{Damage, Lost};
use crate::files::{self, Disk};
use crate::id::Position;
use crate::local::blobs::LocalBlobs;
use crate::local::committer::Committer;
use crate::local::identity::{self, DIRECTORY_FORMAT, Format};
use crate::local::inbox::Inbox;
use crate::local::index::{Index, Shelf};
use crate::local::indexer;
use crate::local::inert::Inert;
use crate::local::lock::{Holder, Lock, LockError};
use crate::local::recover::{Findings, Tail};
use crate::local::room::Filler;
use crate::local::{LocalJournal, Options, Running};
use crate::segment::{self, FIRST_POSITION, JournalId, Segment, Segments, offset_of};
use crate::watches::Watches;

/// Why a journal could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process, or another journal of this one, owns the directory. Talk to it instead, or end it.
    #[error("{folder} is in use by {holder}; talk to that process, or stop it first")]
    InUse {
        /// The directory.
        folder: PathBuf,
        /// Who has it.
        holder: Holder,
    },
    /// A newer version wrote it. Nothing was changed.
    #[error("{folder} has format {found}, this version reads up to {supported}; use the newer version")]
    NewerFormat {
        /// The directory.
        folder: PathBuf,
        /// What it says.
        found: u32,
        /// What this version knows.
        supported: u32,
    },
    /// Its format file says something no version of longhaul has written.
    #[error(
        "{folder} holds a `format` file that is not longhaul's; choose another directory, or restore that file"
    )]
    Unrecognised {
        /// The directory.
        folder: PathBuf,
    },
    /// It was opened before, and all of its segments are gone. Nothing was changed.
    #[error(
        "{folder} has lost its journal: there is no segment in `journal`, but {remains} is there; restore a backup, or remove \
         the rest of the directory to begin anew"
    )]
    Lost {
        /// The directory.
        folder: PathBuf,
        /// What says that there was a journal.
        remains: &'static str,
    },
    /// The directory cannot be written to.
    #[error("{folder} cannot be written to ({reason}); make it writable, or choose another directory")]
    NotWritable {
        /// The directory.
        folder: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The operating system refused something else.
    #[error("cannot {what}: {reason}")]
    Io {
        /// What was attempted.
        what: String,
        /// What the system said.
        reason: String,
    },
}

/// What opening a journal found, for the log and for `doctor`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenReport {
    /// The boot generation that began.
    pub boot: u32,
    /// Whether there was no journal before.
    pub created: bool,
    /// Bytes of a write that never finished; dropped, because nobody was told that they were written.
    pub torn: Option<TornTail>,
    /// Frames the last process may not have synced; copied and synced now.
    pub copied: Option<CopiedTail>,
    /// Streams that lost an acknowledged frame, among what was looked at. `verify` looks at everything.
    pub damaged: Vec<Damage>,
    /// Damaged bytes that no stream could be blamed for.
    pub lost: Vec<Lost>,
    /// How the catalogue was found.
    pub catalogue: CatalogueState,
    /// Frames that were read because the catalogue did not have them.
    pub frames_scanned: u64,
}

/// Bytes of a write that never finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// Where they began.
    pub position: Position,
    /// How many there were.
    pub bytes: u64,
}

/// Frames that were copied to a segment of their own, because the page cache that shows them may not be on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopiedTail {
    /// The first one.
    pub position: Position,
    /// How many frames.
    pub frames: u64,
}

/// How the catalogue was found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CatalogueState {
    /// There was nothing to index yet.
    Created,
    /// It was sound.
    Used,
    /// It was missing or broken, and was built again from the segments.
    Rebuilt {
        /// What was wrong with it.
        reason: String,
        /// Where the broken one lies now.
        moved_to: Option<PathBuf>,
    },
}

pub(super) fn open(
    disk: Arc<dyn Disk>,
    folder: &Path,
    options: Options,
) -> Result<(LocalJournal, OpenReport), OpenError> {
    disk.create_dir(folder)
        .map_err(|error| not_writable(folder, &error))?;
    let lock = Lock::take(folder, options.socket.clone(), now_ms()).map_err(|error| match error {
        LockError::Held(holder) => OpenError::InUse {
            folder: folder.to_owned(),
            holder,
        },
        LockError::Io(error) => not_writable(folder, &error),
    })?;
    check_format(&*disk, folder)?;

    let inert =
        Inert::open(Arc::clone(&disk), folder).map_err(doing("tell copies from what belongs here"))?;
    let segments_folder = folder.join("journal");
    check_that_nothing_is_lost(&*disk, folder, &segments_folder)?;
    disk.create_dir(&segments_folder)
        .map_err(|error| not_writable(folder, &error))?;
    remove_unfinished(&*disk, &segments_folder).map_err(doing("clear the journal's folder"))?;
    let segments = Segments::open(Arc::clone(&disk), &segments_folder).map_err(doing("list the segments"))?;
    let (journal, created) = identify(&segments).map_err(|error| not_writable(folder, &error))?;
    if created {
        // Before there is a boot generation: whoever finds one may rely on it that there was a segment.
        disk.sync_dir(folder)
            .map_err(|error| not_writable(folder, &error))?;
    }
    let blobs = LocalBlobs::open(Arc::clone(&disk), &folder.join("blobs"))
        .map_err(doing("open the folder of blobs"))?;

    let last = segments
        .last()
        .ok_or_else(|| io::Error::other("the first segment vanished"));
    let last = last
        .and_then(|first| segments.get(first))
        .map_err(doing("open the last segment"))?;
    let shelf = Shelf::new(folder.join("catalogue"), options.cache_bytes);
    let (shelf, mut findings) = open_catalogue(shelf, journal, &segments, &last)?;
    findings.load(&shelf, &segments, &last)?;
    let tail =
        Tail::settle(&segments, journal, &last, &findings).map_err(doing("settle the end of the journal"))?;

    let damaged = findings.damaged.values().cloned().collect();
    let index = Arc::new(Index::new(
        journal,
        segments,
        findings.fresh,
        shelf,
        findings.damaged,
        findings.gaps,
        tail.durable,
    ));
    let boot = next_boot(&*disk, folder, &index)?;
    let report = OpenReport {
        boot,
        created,
        torn: tail.torn,
        copied: tail.copied,
        damaged,
        lost: findings.lost,
        catalogue: findings.catalogue,
        frames_scanned: findings.frames,
    };
    let parts = Parts {
        disk,
        inert,
        index,
        blobs,
        tail,
    };
    let journal = start(folder, options, lock, boot, parts)?;
    Ok((journal, report))
}

/// What was found, to be set in motion.
struct Parts {
    disk: Arc<dyn Disk>,
    inert: Inert,
    index: Arc<Index>,
    blobs: LocalBlobs,
    tail: Tail,
}

fn start(
    folder: &Path,
    options: Options,
    lock: Lock,
    boot: u32,
    parts: Parts,
) -> Result<LocalJournal, OpenError> {
    let Parts {
        disk,
        inert,
        index,
        blobs,
        tail,
    } = parts;
    let inbox = Arc::new(Inbox::new(boot));
    let watches = Arc::new(Watches::new(tail.durable));
    let filler = Arc::new(Filler::new(options.fill_ahead, options.segment_bytes));
    let (sealed, to_index) = mpsc::channel();
    let nudge = sealed.clone();
    let mut room = tail.room;
    let head = offset_of(room.first, tail.head);
    if let Err(error) = room.prepare(head.saturating_add(options.fill_ahead)) {
        tracing::warn!(%error, "cannot prepare room for the journal");
    }
    filler.used(&room, head);
    let committer = Committer {
        inbox: Arc::clone(&inbox),
        index: Arc::clone(&index),
        watches: Arc::clone(&watches),
        filler: Arc::clone(&filler),
        sealed,
        room,
        head: tail.head,
        durable: tail.durable,
        marked: tail.marked,
        expected: 0,
        segment_bytes: options.segment_bytes,
        marker_after: options.marker_after,
    };
    let spawn = |name: &str, body: Box<dyn FnOnce() + Send>| {
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(body)
            .map_err(doing("start a thread of the journal"))
    };
    let indexer = {
        let index = Arc::clone(&index);
        let at_first = options.index_after;
        let body = move || indexer::run(&index, &to_index, at_first);
        spawn("journal-index", Box::new(body))?
    };
    let filling = {
        let (filler, index) = (Arc::clone(&filler), Arc::clone(&index));
        spawn("journal-fill", Box::new(move || filler.run(&index.segments)))?
    };
    let committer = spawn("journal-commit", Box::new(move || committer.run()))?;
    let running = Running {
        committer,
        filler: filling,
        indexer,
        nudge,
        lock,
    };
    Ok(LocalJournal {
        folder: folder.to_owned(),
        disk,
        inert,
        inbox,
        index,
        watches,
        filler,
        blobs,
        running: Mutex::new(Some(running)),
        thinning: Mutex::default(),
    })
}

fn check_format(disk: &dyn Disk, folder: &Path) -> Result<(), OpenError> {
    match identity::read_format(disk, folder).map_err(doing("read the format of the directory"))? {
        Format::Version(found) if found > DIRECTORY_FORMAT => Err(OpenError::NewerFormat {
            folder: folder.to_owned(),
            found,
            supported: DIRECTORY_FORMAT,
        }),
        Format::Version(_) => Ok(()),
        Format::Unreadable => Err(OpenError::Unrecognised {
            folder: folder.to_owned(),
        }),
        Format::Absent => sync_ancestors(disk, folder)
            .and_then(|()| identity::write_format(disk, folder, identity::FIRST))
            .map_err(|error| not_writable(folder, &error)),
    }
}

/// Refuses a directory whose segments are gone: to begin anew in it would be to lose every session without a word, and to give
/// away again what their blobs and boot generations were for.
///
/// A first start that was cut short is none: the first segment, and the folder it lies in, are durable before the boot
/// generation is written, and blobs come later still.
fn check_that_nothing_is_lost(disk: &dyn Disk, folder: &Path, segments: &Path) -> Result<(), OpenError> {
    let looking = doing("look for the segments");
    let names = disk.list(segments).map_err(&looking)?;
    if names.iter().any(|name| segment::parse_file_name(name).is_some()) {
        return Ok(());
    }
    let lost = |remains| {
        Err(OpenError::Lost {
            folder: folder.to_owned(),
            remains,
        })
    };
    if identity::has_boot(disk, folder).map_err(&looking)? {
        return lost("`boot`");
    }
    // An empty folder of blobs is made at the first start.
    match disk.list(&folder.join("blobs")).map_err(&looking)?.is_empty() {
        true => Ok(()),
        false => lost("`blobs`"),
    }
}

/// Makes the name of a new data directory durable, and the names on the way to it: what is synced inside a folder that
/// nobody can find after power loss is lost all the same.
///
/// It comes before the format file, so that whoever finds that file need not do it again.
fn sync_ancestors(disk: &dyn Disk, folder: &Path) -> io::Result<()> {
    let folder = std::path::absolute(folder)?;
    for (distance, ancestor) in folder.ancestors().skip(1).enumerate() {
        match disk.sync_dir(ancestor) {
            Ok(()) => {}
            // Further up they were there before us, or so we hope; and a folder that one may not read cannot be synced.
            Err(error) if distance > 0 || error.kind() == io::ErrorKind::PermissionDenied => {
                tracing::debug!(folder = %ancestor.display(), %error, "a folder above the data directory cannot be synced");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Removes what a crash left half made; nothing under a temporary name was ever acknowledged.
fn remove_unfinished(disk: &dyn Disk, folder: &Path) -> io::Result<()> {
    for name in disk.list(folder)? {
        if name.ends_with(".tmp") {
            disk.remove(&folder.join(name))?;
        }
    }
    Ok(())
}

/// The id of the journal, from the first segment with a sound header; makes the first segment if there is none.
fn identify(segments: &Segments) -> io::Result<(JournalId, bool)> {
    let firsts = segments.firsts();
    for first in &firsts {
        let mut bytes = [0; segment::HEADER_BYTES];
        files::read_full(&*segments.get(*first)?.file, &mut bytes, 0)?;
        match segment::parse_header(&bytes, *first) {
            Some(journal) => return Ok((journal, false)),
            None => tracing::warn!(
                segment = segment::file_name(*first),
                "the header of a segment is damaged"
            ),
        }
    }
    let journal = uuid::Uuid::now_v7().into_bytes();
    if !firsts.is_empty() {
        // Only the catalogue compares ids, and it will be built again.
        return Ok((journal, false));
    }
    let path = segments.folder().join("first.tmp");
    let file = segments.disk().create(&path)?;
    segments.place(journal, FIRST_POSITION, &path, &*file)?;
    Ok((journal, true))
}

fn open_catalogue(
    mut shelf: Shelf,
    journal: JournalId,
    segments: &Segments,
    last: &Segment,
) -> Result<(Shelf, Findings), OpenError> {
    let missing = !shelf.folder.exists();
    let anything_sealed = segments.firsts().len() > 1;
    let mut findings = Findings::default();
    let opened = Catalogue::open(&shelf.folder, shelf.cache_bytes, journal).and_then(|catalogue| {
        if missing && anything_sealed {
            return Err(Broken::Flawed("it is missing".into()));
        }
        let indexed = catalogue.indexed_through()?;
        if indexed > last.first {
            return Err(Broken::Flawed(format!(
                "it claims to know positions up to {indexed}, the journal is shorter"
            )));
        }
        findings.damaged = catalogue
            .damaged()?
            .into_iter()
            .map(|damage| (damage.stream, damage))
            .collect();
        Ok((catalogue, indexed))
    });
    match opened {
        Ok((catalogue, indexed)) => {
            findings.catalogue = if missing {
                CatalogueState::Created
            } else {
                CatalogueState::Used
            };
            shelf.catalogue = Some(catalogue);
            shelf.indexed = indexed;
        }
        // It may be sound, so it stays where it is.
        Err(broken @ Broken::NoRoom(_)) => {
            return Err(OpenError::Io {
                what: "open the catalogue".into(),
                reason: broken.to_string(),
            });
        }
        Err(broken @ Broken::Flawed(_)) => {
            let rebuilt = indexer::rebuild(&mut shelf, journal, segments, last.first, &broken);
            let rebuilt = rebuilt.map_err(|error| OpenError::Io {
                what: "build the catalogue again".into(),
                reason: error.to_string(),
            })?;
            let moved_to = rebuilt.moved_to.filter(|_| !missing);
            findings.catalogue = CatalogueState::Rebuilt {
                reason: broken.to_string(),
                moved_to,
            };
            findings.damaged = rebuilt
                .damaged
                .into_iter()
                .map(|damage| (damage.stream, damage))
                .collect();
            findings.lost = rebuilt.lost;
        }
    }
    Ok((shelf, findings))
}

/// Makes the next boot generation durable. It must be larger than any that wrote a frame, even if its file was lost.
fn next_boot(disk: &dyn Disk, folder: &Path, index: &Index) -> Result<u32, OpenError> {
    let last = match identity::read_boot(disk, folder).map_err(doing("read the boot generation"))? {
        Some(boot) => boot,
        None => index.highest_boot().map_err(|error| OpenError::Io {
            what: "find the last boot generation".into(),
            reason: error.to_string(),
        })?,
    };
    let boot = last.checked_add(1).ok_or_else(|| OpenError::Io {
        what: "begin a boot generation".into(),
        reason: "there are no more of them".into(),
    })?;
    identity::write_boot(disk, folder, boot).map_err(|error| not_writable(folder, &error))?;
    Ok(boot)
}

fn not_writable(folder: &Path, error: &io::Error) -> OpenError {
    OpenError::NotWritable {
        folder: folder.to_owned(),
        reason: error.to_string(),
    }
}

pub(super) fn doing(what: &'static str) -> impl Fn(io::Error) -> OpenError {
    move |error| OpenError::Io {
        what: what.into(),
        reason: error.to_string(),
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
