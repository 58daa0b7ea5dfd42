//! The one seam between the journal and the file system: every byte of segments and blobs passes through here.
//!
//! It is narrow so that a layer of faults can stand under the real code instead of beside it.

use std::fmt;
use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use rustix::fs::OFlags;

/// A file system, as far as the journal needs one.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Makes a folder and those above it; an existing one is fine.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Names of what a folder holds; none when there is no such folder.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
    /// Makes an empty file, or empties an existing one, for reading and writing.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens an existing file; for writing too if `write`.
    fn open(&self, path: &Path, write: bool) -> io::Result<Arc<dyn DiskFile>>;
    /// Moves a file over another one, at once. Durable only after [`Disk::sync_dir`].
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// When the bytes of a file were written last.
    fn modified(&self, path: &Path) -> io::Result<SystemTime>;
    /// Makes the entries of a folder durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
}

/// An open file. All methods name their offset, so that threads share it.
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// Reads up to `buffer.len()` bytes; fewer only at the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes some of the bytes and says how many.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;
    /// Writes so many zeros, and need not leave them in memory: they are overwritten before anybody reads them.
    fn write_zeros(&self, bytes: usize, offset: u64) -> io::Result<()> {
        write_zeros_plainly(self, bytes, offset)
    }
    /// Makes all that was written durable. After a failure nothing is known about what was written since the last success.
    fn sync_data(&self) -> io::Result<()>;
    /// Cuts the file or extends it with a hole.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// How many bytes it has.
    fn size(&self) -> io::Result<u64>;
}

/// Writes all of the bytes, in as many steps as the file takes.
pub(crate) fn write_all<F: DiskFile + ?Sized>(file: &F, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write_at(bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                bytes = &bytes[written..];
                offset += written as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A page of memory, and the most that a disk wants its blocks aligned to.
pub(crate) const PAGE: usize = 4096;

#[repr(align(4096))]
struct Zeros([u8; 512 << 10]);

static ZEROS: Zeros = Zeros([0; 512 << 10]);

/// Writes zeros like any other bytes.
fn write_zeros_plainly<F: DiskFile + ?Sized>(file: &F, mut bytes: usize, mut offset: u64) -> io::Result<()> {
    while bytes > 0 {
        let step = bytes.min(ZEROS.0.len());
        write_all(file, &ZEROS.0[..step], offset)?;
        bytes -= step;
        offset += step as u64;
    }
    Ok(())
}

/// Reads until the buffer is full or the file ends, and says how much it read.
pub(crate) fn read_full(file: &dyn DiskFile, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Reads a whole small file.
pub(crate) fn read_small(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    let file = disk.open(path, false)?;
    let len = usize::try_from(file.size()?).map_err(io::Error::other)?;
    let mut bytes = vec![0; len];
    let read = read_full(&*file, &mut bytes, 0)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// Replaces a file by these bytes: after a crash there is either the old content or the new, and on return the new.
pub(crate) fn replace(disk: &dyn Disk, folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = folder.join(format!("{name}.tmp"));
    let file = disk.create(&temporary)?;
    write_all(&*file, bytes, 0)?;
    file.sync_data()?;
    disk.rename(&temporary, &folder.join(name))?;
    disk.sync_dir(folder)
}

/// The file system of this machine.
#[derive(Debug, Default)]
pub struct RealDisk;

#[derive(Debug)]
struct RealFile(fs::File);

impl Disk for RealDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        // A name that is not text is not one of ours.
        let names = entries.filter_map(|entry| {
            entry
                .map(|entry| entry.file_name().into_string().ok())
                .transpose()
        });
        names.collect()
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = fs::File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)?;
        Ok(Arc::new(RealFile(file)))
    }

    fn open(&self, path: &Path, write: bool) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(RealFile(
            fs::File::options().read(true).write(write).open(path)?,
        )))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn modified(&self, path: &Path) -> io::Result<SystemTime> {
        fs::metadata(path)?.modified()
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        fs::File::open(path)?.sync_all()
    }
}

impl DiskFile for RealFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write_at(bytes, offset)
    }

    /// Past the page cache where the file system can: half of what a busy journal writes are such zeros, and copying them
    /// takes time from everybody else.
    fn write_zeros(&self, bytes: usize, offset: u64) -> io::Result<()> {
        if !bytes.is_multiple_of(PAGE) || !offset.is_multiple_of(PAGE as u64) {
            return write_zeros_plainly(self, bytes, offset);
        }
        let direct = fs::File::options()
            .write(true)
            .custom_flags(OFlags::DIRECT.bits().cast_signed())
            .open(format!("/proc/self/fd/{}", self.0.as_raw_fd()));
        direct
            .and_then(|file| write_zeros_plainly(&RealFile(file), bytes, offset))
            // Not every file system can; what else went wrong is told by the second try.
            .or_else(|_| write_zeros_plainly(self, bytes, offset))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_zeros_whether_or_not_they_lie_on_pages() {
        let folder = tempfile::tempdir().unwrap();
        for (bytes, offset) in [(2 * PAGE, PAGE as u64), (PAGE + 1, 0), (PAGE, 17), (1 << 20, 0)] {
            let file = RealDisk.create(&folder.path().join("zeros")).unwrap();
            let end = offset + bytes as u64;
            let full = vec![b'x'; usize::try_from(end).unwrap() + 9];
            write_all(&*file, &full, 0).unwrap();
            file.write_zeros(bytes, offset).unwrap();
            let mut read = vec![1; full.len()];
            assert_eq!(read_full(&*file, &mut read, 0).unwrap(), full.len());
            let (before, rest) = read.split_at(usize::try_from(offset).unwrap());
            let (zeros, after) = rest.split_at(bytes);
            assert!(zeros.iter().all(|byte| *byte == 0), "{bytes} at {offset}");
            assert!(
                before.iter().chain(after).all(|byte| *byte == b'x'),
                "{bytes} at {offset}"
            );
        }
    }

    #[test]
    fn zeros_make_a_file_longer() {
        let folder = tempfile::tempdir().unwrap();
        let file = RealDisk.create(&folder.path().join("zeros")).unwrap();
        file.write_zeros(3 * PAGE, 0).unwrap();
        assert_eq!(file.size().unwrap(), 3 * PAGE as u64);
    }
}
