//! Where the key lies: `token.key` in the data directory, for its owner alone.
//!
//! It is made when the first token is minted, and is on disk before that token is told to anybody. No backup and no export has
//! it, so tokens count only where they were minted. Who removes it while nobody serves makes every token void.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::seal::Key;
use crate::api::{Code, Problem};
use crate::world::durable;

/// The file, in the data directory.
const NAME: &str = "token.key";
const ONLY_THE_OWNER: u32 = 0o600;

/// The key of a data directory, whose lock the caller holds.
#[derive(Debug)]
pub(crate) struct KeyFile {
    path: PathBuf,
    known: Mutex<Option<Key>>,
}

impl KeyFile {
    pub(crate) fn of(directory: &Path) -> Self {
        Self {
            path: directory.join(NAME),
            known: Mutex::default(),
        }
    }

    /// The key, if there is one. Blocks on the disk the first time.
    ///
    /// # Errors
    /// `storage_unavailable`: it cannot be read, or is no key.
    pub(crate) fn find(&self) -> Result<Option<Key>, Problem> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_none() {
            *known = self.read()?;
        }
        Ok(known.clone())
    }

    /// The key, which is made if there is none. Blocks on the disk.
    ///
    /// # Errors
    /// `storage_unavailable`: it can be neither read nor written.
    pub(crate) fn find_or_make(&self) -> Result<Key, Problem> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_none() {
            *known = self.read()?;
        }
        if let Some(key) = &*known {
            return Ok(key.clone());
        }
        let key = Key::generate().ok_or_else(|| self.unavailable("the system has no randomness to give"))?;
        let text = format!("{}\n", hex::encode(key.as_bytes()));
        durable::write_for(&self.path, text.as_bytes(), ONLY_THE_OWNER)
            .map_err(|error| self.unavailable(&error.to_string()))?;
        *known = Some(key.clone());
        Ok(key)
    }

    fn read(&self) -> Result<Option<Key>, Problem> {
        let text = match std::fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.unavailable(&error.to_string())),
        };
        let bytes = hex::decode(text.trim_end()).ok();
        let key = bytes.and_then(|bytes| Key::from_bytes(&bytes));
        // The error does not say what it holds instead.
        key.map(Some)
            .ok_or_else(|| self.unavailable(&io::Error::from(ErrorKind::InvalidData).to_string()))
    }

    fn unavailable(&self, why: &str) -> Problem {
        let shown = self.path.display();
        Problem::new(
            Code::StorageUnavailable,
            format!(
                "the key of the client tokens, {shown}, cannot be had: {why}; without it every token is void"
            ),
        )
        .next("see what is there", format!("ls -l '{shown}'"))
        .next(
            "give all tokens up, and begin with a new key",
            format!("rm '{shown}'"),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn bytes(key: &Key) -> Vec<u8> {
        key.as_bytes().to_vec()
    }

    #[test]
    fn a_key_is_made_when_it_is_needed_for_its_owner_alone_and_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = KeyFile::of(folder.path());
        assert!(file.find().unwrap().is_none());
        assert!(!folder.path().join(NAME).exists(), "looking makes none");
        let made = file.find_or_make().unwrap();
        let mode = fs::metadata(folder.path().join(NAME))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(bytes(&file.find_or_make().unwrap()), bytes(&made));
        let later = KeyFile::of(folder.path());
        assert_eq!(bytes(&later.find().unwrap().unwrap()), bytes(&made));
        let names: Vec<_> = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, [NAME], "nothing else is left there");
    }

    #[test]
    fn a_file_that_is_no_key_is_told_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        for text in ["", "abc", &"0".repeat(62), &"g".repeat(64)] {
            fs::write(&path, text).unwrap();
            let problem = KeyFile::of(folder.path()).find_or_make().unwrap_err();
            assert_eq!(problem.code, Code::StorageUnavailable);
            assert!(text.is_empty() || !problem.detail.contains(text), "{problem}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn a_key_that_cannot_be_written_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("gone");
        assert!(KeyFile::of(&missing).find_or_make().is_err());
    }
}
