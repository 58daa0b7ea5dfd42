//! What of the files is durable: each page as it was at the last sync of its file, each folder as it was at its own.
//!
//! The real files show what a page cache would show. Nothing here syncs them: durability is what is simulated.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Dice;
use crate::files::{self, Disk, DiskFile};

const PAGE: u64 = 4096;
const PAGE_BYTES: usize = 4096;
/// What a disk writes at once.
const SECTOR: usize = 512;

/// All folders that were touched.
#[derive(Debug, Default)]
pub(super) struct Shadow {
    folders: BTreeMap<PathBuf, Folder>,
}

#[derive(Debug, Default)]
struct Folder {
    now: BTreeMap<String, Node>,
    durable: BTreeMap<String, Node>,
    /// What happened since the last sync, in order; a power loss keeps any part of it.
    since: Vec<(String, Option<Node>)>,
}

#[derive(Clone, Debug)]
enum Node {
    File(Inode),
    Folder,
    /// There before us, and never written through us: durable as it is.
    Untouched,
}

/// A file, whatever its name.
#[derive(Clone, Debug)]
pub(super) struct Inode(Arc<Mutex<Pages>>);

impl Inode {
    fn new(file: Arc<dyn DiskFile>, durable_len: u64) -> Self {
        Self(Arc::new(Mutex::new(Pages {
            file,
            durable_len,
            dirty: BTreeMap::new(),
        })))
    }

    pub(super) fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The content of a file, and what of it is durable.
#[derive(Debug)]
pub(super) struct Pages {
    pub(super) file: Arc<dyn DiskFile>,
    durable_len: u64,
    dirty: BTreeMap<u64, Dirty>,
}

#[derive(Debug)]
struct Dirty {
    /// The page as it is on disk; empty beyond the durable length.
    durable: Vec<u8>,
    /// A sync failed: the kernel calls the page clean, and it will never be written unless it is changed again.
    dropped: bool,
}

impl Pages {
    pub(super) fn write(&mut self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.note(offset, offset + bytes.len() as u64)?;
        self.file.write_at(bytes, offset)
    }

    pub(super) fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.note(len, self.durable_len)?;
        self.file.set_len(len)
    }

    /// Remembers what is durable of the pages that are about to change.
    fn note(&mut self, from: u64, to: u64) -> io::Result<()> {
        for number in from / PAGE..to.div_ceil(PAGE) {
            if let Some(known) = self.dirty.get_mut(&number) {
                known.dropped = false;
                continue;
            }
            let mut durable = vec![0; PAGE_BYTES];
            let room = self.durable_len.saturating_sub(number * PAGE).min(PAGE);
            durable.truncate(usize::try_from(room).unwrap_or(PAGE_BYTES));
            let read = files::read_full(&*self.file, &mut durable, number * PAGE)?;
            durable.truncate(read);
            self.dirty.insert(
                number,
                Dirty {
                    durable,
                    dropped: false,
                },
            );
        }
        Ok(())
    }

    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.dirty.retain(|_, page| page.dropped);
        self.durable_len = self.file.size()?;
        Ok(())
    }

    pub(super) fn fail_sync(&mut self, dice: &mut Dice) {
        self.dirty.retain(|_, page| {
            page.dropped |= dice.below(2) == 0;
            page.dropped
        });
    }

    /// The bytes after a power loss.
    fn surviving(&self, dice: &mut Dice) -> io::Result<Vec<u8>> {
        let len = self.file.size()?;
        let longest = len.max(self.durable_len);
        let mut bytes = vec![0; usize::try_from(longest).map_err(io::Error::other)?];
        files::read_full(&*self.file, &mut bytes, 0)?;
        // Now and then nothing got there, or everything; else each page has its own fate.
        let mood = dice.below(5);
        for (number, page) in &self.dirty {
            let start = usize::try_from(number * PAGE).map_err(io::Error::other)?;
            if start >= bytes.len() {
                continue;
            }
            let end = bytes.len().min(start + PAGE_BYTES);
            let mut old = page.durable.clone();
            old.resize(end - start, 0);
            let new = &mut bytes[start..end];
            let fate = if page.dropped || mood == 0 {
                0
            } else if mood == 1 {
                1
            } else {
                dice.below(3)
            };
            match fate {
                0 => new.copy_from_slice(&old),
                1 => {}
                _ => {
                    for (old, new) in old.chunks(SECTOR).zip(new.chunks_mut(SECTOR)) {
                        if dice.below(2) == 0 {
                            new.copy_from_slice(old);
                        }
                    }
                }
            }
        }
        let (low, high) = (len.min(self.durable_len), longest);
        let kept = match dice.below(3) {
            0 => self.durable_len,
            1 => len,
            _ => low + dice.below(high - low + 1),
        };
        bytes.truncate(usize::try_from(kept).map_err(io::Error::other)?);
        Ok(bytes)
    }
}

impl Shadow {
    pub(super) fn create_dir(&mut self, real: &dyn Disk, path: &Path) -> io::Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        if let Some(parent) = path.parent() {
            self.create_dir(real, parent)?;
        }
        self.entry(path, |folder, name| folder.put(name, Node::Folder))?;
        self.folders.insert(path.to_owned(), Folder::default());
        real.create_dir(path)
    }

    pub(super) fn create(&mut self, real: &dyn Disk, path: &Path) -> io::Result<Inode> {
        if path.is_file() {
            let inode = self.open(real, path)?;
            inode.pages().set_len(0)?;
            return Ok(inode);
        }
        self.entry(path, |_, _| ())?;
        let inode = Inode::new(real.create(path)?, 0);
        self.entry(path, |folder, name| folder.put(name, Node::File(inode.clone())))?;
        Ok(inode)
    }

    pub(super) fn open(&mut self, real: &dyn Disk, path: &Path) -> io::Result<Inode> {
        let known = self.entry(path, |folder, name| folder.now.get(&name).cloned())?;
        if let Some(Node::File(inode)) = known {
            return Ok(inode);
        }
        let file = real.open(path, true)?;
        let len = file.size()?;
        let inode = Inode::new(file, len);
        self.entry(path, |folder, name| {
            folder.now.insert(name.clone(), Node::File(inode.clone()));
            folder.durable.insert(name, Node::File(inode.clone()));
        })?;
        Ok(inode)
    }

    pub(super) fn rename(&mut self, real: &dyn Disk, from: &Path, to: &Path) -> io::Result<()> {
        let node = self.entry(from, |folder, name| folder.now.get(&name).cloned())?;
        self.entry(to, |_, _| ())?;
        real.rename(from, to)?;
        let node = node.unwrap_or(Node::Untouched);
        // What is known of a folder goes with it.
        let moved: Vec<PathBuf> = self
            .folders
            .keys()
            .filter(|path| path.starts_with(from))
            .cloned()
            .collect();
        for path in moved {
            let below = path.strip_prefix(from).expect("it begins with that");
            let (folder, new) = (self.folders.remove(&path), to.join(below));
            self.folders.extend(folder.map(|folder| (new, folder)));
        }
        self.entry(to, |folder, name| folder.put(name, node))?;
        self.entry(from, Folder::take)
    }

    pub(super) fn remove(&mut self, real: &dyn Disk, path: &Path) -> io::Result<()> {
        self.entry(path, |_, _| ())?;
        real.remove(path)?;
        self.entry(path, Folder::take)
    }

    pub(super) fn sync_dir(&mut self, path: &Path) -> io::Result<()> {
        let folder = self.folder(path)?;
        folder.durable = folder.now.clone();
        folder.since.clear();
        Ok(())
    }

    /// Writes what survives of `folder` to `into`.
    pub(super) fn materialise(&mut self, folder: &Path, into: &Path, dice: &mut Dice) -> io::Result<()> {
        let survives = self.entry(folder, |parent, name| {
            parent.after_power_loss(dice).contains_key(&name)
        })?;
        if survives {
            self.materialise_content(folder, into, dice)
        } else {
            Ok(())
        }
    }

    fn materialise_content(&mut self, folder: &Path, into: &Path, dice: &mut Dice) -> io::Result<()> {
        fs::create_dir_all(into)?;
        let entries = self.folder(folder)?.after_power_loss(dice);
        for (name, node) in entries {
            let (from, to) = (folder.join(&name), into.join(&name));
            match node {
                Node::File(inode) => fs::write(to, inode.pages().surviving(dice)?)?,
                Node::Untouched if from.is_file() => drop(fs::copy(from, to)?),
                Node::Folder | Node::Untouched => self.materialise_content(&from, &to, dice)?,
            }
        }
        Ok(())
    }

    /// Works on the folder that holds `path`, with the name in it.
    fn entry<T>(&mut self, path: &Path, work: impl FnOnce(&mut Folder, String) -> T) -> io::Result<T> {
        let name = path.file_name().and_then(|name| name.to_str());
        let (Some(parent), Some(name)) = (path.parent(), name) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        Ok(work(self.folder(parent)?, name.to_owned()))
    }

    fn folder(&mut self, path: &Path) -> io::Result<&mut Folder> {
        if !self.folders.contains_key(path) {
            let entries = fs::read_dir(path)?;
            let names: io::Result<Vec<_>> = entries.map(|entry| Ok(entry?.file_name())).collect();
            let found: BTreeMap<_, _> = names?
                .into_iter()
                .filter_map(|name| Some((name.into_string().ok()?, Node::Untouched)))
                .collect();
            let folder = Folder {
                now: found.clone(),
                durable: found,
                since: Vec::new(),
            };
            self.folders.insert(path.to_owned(), folder);
        }
        self.folders
            .get_mut(path)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Folder {
    fn put(&mut self, name: String, node: Node) {
        self.now.insert(name.clone(), node.clone());
        self.since.push((name, Some(node)));
    }

    fn take(&mut self, name: String) {
        self.now.remove(&name);
        self.since.push((name, None));
    }

    fn after_power_loss(&self, dice: &mut Dice) -> BTreeMap<String, Node> {
        let mut entries = self.durable.clone();
        let mood = dice.below(4);
        for (name, node) in &self.since {
            if mood == 0 || (mood > 1 && dice.below(2) == 0) {
                continue;
            }
            match node {
                Some(node) => drop(entries.insert(name.clone(), node.clone())),
                None => drop(entries.remove(name)),
            }
        }
        entries
    }
}
