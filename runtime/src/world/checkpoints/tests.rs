use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::*;

struct Bench {
    folder: tempfile::TempDir,
    checkpoints: Checkpoints,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("workspace")).expect("a folder");
        let checkpoints = Checkpoints::at(folder.path().join("checkpoints"));
        Self { folder, checkpoints }
    }

    fn workspace(&self) -> PathBuf {
        self.folder.path().join("workspace")
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.workspace().join(path);
        fs::create_dir_all(path.parent().expect("it lies in one")).expect("folders");
        fs::write(path, text).expect("written");
    }

    fn take(&self, at: u64) -> Manifest {
        take(&self.checkpoints, &self.workspace(), at, false).expect("it can be kept")
    }

    fn restored(&self, at: u64) -> BTreeMap<PathBuf, String> {
        let to = self.folder.path().join(format!("restored-{at}"));
        let manifest = self.checkpoints.load(at).expect("it is there");
        restore(&self.checkpoints, &manifest, &to, |_, _| None).expect("it can be restored");
        seen(&to)
    }
}

/// Everything of a tree that is kept.
fn seen(root: &Path) -> BTreeMap<PathBuf, String> {
    let (mut seen, mut folders) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("readable") {
            let path = entry.expect("readable").path();
            let meta = fs::symlink_metadata(&path).expect("it is there");
            let what = if meta.is_file() {
                format!("{:?}", fs::read(&path).expect("readable"))
            } else if meta.is_symlink() {
                format!("{:?}", fs::read_link(&path).expect("a link"))
            } else {
                String::new()
            };
            if meta.is_dir() {
                folders.push(path.clone());
            }
            let line = format!("{:o} {:?} {what}", meta.mode(), (meta.mtime(), meta.mtime_nsec()));
            seen.insert(path.strip_prefix(root).expect("below").to_owned(), line);
        }
    }
    seen
}

#[test]
fn a_checkpoint_holds_what_was_there_whatever_became_of_it_since() {
    let bench = Bench::new();
    bench.write("a", "one");
    bench.write("deep/er/b", "two");
    bench.write("50% sure", "three");
    let peculiar = bench.workspace().join(OsStr::from_bytes(b"not \xff text %20"));
    fs::write(&peculiar, "four").expect("written");
    fs::set_permissions(bench.workspace().join("a"), fs::Permissions::from_mode(0o4750)).expect("set");
    fs::create_dir(bench.workspace().join("empty")).expect("a folder");
    fs::set_permissions(
        bench.workspace().join("empty"),
        fs::Permissions::from_mode(0o1777),
    )
    .expect("set");
    symlink("/nowhere", bench.workspace().join("link")).expect("linked");
    symlink(OsStr::from_bytes(b"\xfe"), bench.workspace().join("deep/up")).expect("linked");
    let before = seen(&bench.workspace());
    assert_eq!(before.len(), 9);
    bench.take(7);
    fs::remove_dir_all(bench.workspace().join("deep")).expect("removed");
    bench.write("a", "changed in place");
    assert_eq!(bench.restored(7), before);
    assert_eq!(
        bench
            .checkpoints
            .seqs()
            .expect("readable")
            .into_iter()
            .collect::<Vec<_>>(),
        [7]
    );
}

/// Hard links would let a program change what was kept.
#[test]
fn what_is_written_in_place_later_does_not_reach_what_was_kept() {
    let bench = Bench::new();
    bench.write("a", "one");
    let before = seen(&bench.workspace());
    bench.take(1);
    let file = fs::OpenOptions::new()
        .write(true)
        .open(bench.workspace().join("a"))
        .expect("it opens");
    std::os::unix::fs::FileExt::write_all_at(&file, b"two", 0).expect("written");
    drop(file);
    assert_eq!(bench.restored(1), before);
    bench.take(2);
    assert_eq!(
        fs::read(bench.folder.path().join("restored-1/a")).expect("readable"),
        b"one"
    );
    assert_ne!(bench.restored(2), before);
}

#[test]
fn the_same_checkpoint_again_is_the_one_there_is() {
    let bench = Bench::new();
    bench.write("a", "one");
    let first = bench.take(3);
    bench.write("a", "two");
    assert_eq!(bench.take(3), first);
}

#[test]
fn contents_that_were_kept_before_take_no_more_room() {
    let bench = Bench::new();
    bench.write("a", &"x".repeat(100_000));
    assert_eq!(bench.take(1).added_bytes, 100_000);
    bench.write("b", &"x".repeat(100_000));
    assert_eq!(bench.take(2).added_bytes, 0);
    bench.write("c", "y");
    assert_eq!(bench.take(3).added_bytes, 1);
}

/// A file that keeps its size and its times can still have changed, in the same tick of the clock.
#[test]
fn a_file_that_changed_right_after_it_was_kept_is_read_again() {
    let bench = Bench::new();
    for at in 1..=20 {
        bench.write("a", &format!("{at:03}"));
        bench.take(at);
    }
    for at in 1..=20 {
        bench.restored(at);
        let restored = fs::read_to_string(bench.folder.path().join(format!("restored-{at}/a")));
        assert_eq!(restored.expect("readable"), format!("{at:03}"));
    }
}

#[test]
fn old_ones_that_nobody_asked_for_go_and_with_them_what_only_they_held() {
    let bench = Bench::new();
    bench.write("kept", "kept");
    bench.write("a", "of the first");
    take(&bench.checkpoints, &bench.workspace(), 1, true).expect("it can be kept");
    for at in 2..=40 {
        bench.write("a", &format!("of {at}"));
        bench.take(at);
    }
    let seqs = bench.checkpoints.seqs().expect("readable");
    assert!(
        seqs.contains(&1) && seqs.contains(&40) && !seqs.contains(&2),
        "{seqs:?}"
    );
    assert!(seqs.len() <= 25, "{seqs:?}");
    let objects = fs::read_dir(bench.checkpoints.folder().join("objects")).expect("readable");
    let count: usize = objects
        .map(|folder| fs::read_dir(folder.expect("there").path()).map_or(0, Iterator::count))
        .sum();
    assert!(
        count <= seqs.len() + 8,
        "{count} contents of {} checkpoints",
        seqs.len()
    );
    for at in seqs {
        assert_eq!(bench.restored(at).len(), 2);
    }
}

#[test]
fn damaged_contents_are_noticed_and_not_handed_on() {
    let bench = Bench::new();
    bench.write("a", "one");
    let manifest = bench.take(1);
    let hash = manifest.hashes().next().expect("one file").to_owned();
    fs::write(bench.checkpoints.object(&hash), "two").expect("damaged");
    let to = bench.folder.path().join("to");
    let error = restore(&bench.checkpoints, &manifest, &to, |_, _| None).expect_err("it is damaged");
    assert!(error.to_string().contains("damaged"), "{error}");
}

#[test]
fn a_list_that_leads_outside_is_refused() {
    let bench = Bench::new();
    bench.write("a", "one");
    bench.take(1);
    let path = bench.checkpoints.manifest(1);
    let text = fs::read_to_string(&path).expect("readable");
    for outside in ["../a", "/a", "%2e%2e/a", "b/../../a", ""] {
        fs::write(
            &path,
            text.replacen("\"path\":\"a\"", &format!("\"path\":\"{outside}\""), 1),
        )
        .expect("written");
        assert!(bench.checkpoints.load(1).is_err(), "{outside:?}");
    }
}
