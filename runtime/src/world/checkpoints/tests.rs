use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::*;

const REQUESTED: Bounds = Bounds {
    requested: true,
    bytes: 0,
    entries: 0,
    reserve: 0,
};

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
        self.take_within(at, Bounds::default()).expect("it can be kept")
    }

    fn take_within(&self, at: u64, bounds: Bounds) -> Result<Manifest, TakeError> {
        take(&self.checkpoints, &self.workspace(), at, bounds)
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
    bench.take_within(1, REQUESTED).expect("it can be kept");
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

/// Root reads everything, and so this says most where it is a plain user that looks.
#[test]
fn what_its_owner_closed_is_kept_and_stays_closed() {
    let bench = Bench::new();
    bench.write("closed/inner/file", "secret");
    bench.write("closed/listed/file", "listed");
    bench.write("after", "it");
    let modes = [
        ("closed/inner/file", 0o000),
        ("closed/inner", 0o000),
        ("closed/listed", 0o400),
        ("closed", 0o100),
    ];
    for (path, mode) in modes {
        fs::set_permissions(bench.workspace().join(path), fs::Permissions::from_mode(mode)).expect("set");
    }
    let manifest = bench.take(1);
    let kept = |path: &str| {
        manifest
            .entries
            .iter()
            .find(|entry| entry.path == path)
            .map(|entry| entry.mode)
    };
    for (path, mode) in modes {
        assert_eq!(kept(path), Some(mode), "{path}");
    }
    let closed = fs::symlink_metadata(bench.workspace().join("closed")).expect("there");
    assert_eq!(closed.mode() & 0o7777, 0o100, "it is as it was");
    let to = bench.folder.path().join("to");
    restore(&bench.checkpoints, &manifest, &to, |_, _| None).expect("it can be restored");
    let again = Checkpoints::at(bench.folder.path().join("again"));
    let restored = take(&again, &to, 1, Bounds::default()).expect("it can be kept");
    assert_eq!(restored.digest(), manifest.digest());
    for tree in [bench.workspace(), to] {
        longhaul_hands::remove_tree(&tree).expect("removed");
    }
}

/// 256 folders inside one another were too many once; 5,000 are, and it is said which.
#[test]
fn folders_that_nest_deep_are_kept_up_to_what_a_path_can_name() {
    let bench = Bench::new();
    let deep = |levels: usize| {
        let mut folder = std::os::fd::OwnedFd::from(fs::File::open(bench.workspace()).expect("there"));
        for _ in 0..levels {
            match rustix::fs::mkdirat(&folder, "d", rustix::fs::Mode::RWXU) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(error) => panic!("{error}"),
            }
            let flags =
                rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
            folder = rustix::fs::openat(&folder, "d", flags, rustix::fs::Mode::empty()).expect("there");
        }
    };
    deep(1_400);
    assert_eq!(bench.take(1).size().0, 1_400);
    assert_eq!(bench.restored(1).len(), 1_400);
    deep(5_000);
    let error = bench.take_within(2, REQUESTED).expect_err("no path is so long");
    let said = error.to_string();
    assert!(
        matches!(error, TakeError::TooLarge(_)) && said.contains("d/d/d/d") && said.len() < 500,
        "{said}"
    );
    for tree in ["workspace", "restored-1"] {
        longhaul_hands::remove_tree(&bench.folder.path().join(tree)).expect("removed");
    }
}

/// A sparse file costs nothing to plant, and a checkpoint that was asked for copied it to its last zero.
#[test]
fn a_checkpoint_that_was_asked_for_takes_no_more_than_the_session_may_have() {
    let bench = Bench::new();
    bench.write("a", "12345");
    let huge = fs::File::create(bench.workspace().join("sparse")).expect("made");
    huge.set_len(1 << 43).expect("sparse");
    let bounds = |bytes, entries, reserve| Bounds {
        bytes,
        entries,
        reserve,
        ..REQUESTED
    };
    let refused = |at, bounds| match bench.take_within(at, bounds) {
        Err(TakeError::TooLarge(why)) => why,
        other => panic!("{other:?}"),
    };
    let why = refused(1, bounds(10 << 30, 0, 0));
    assert!(why.contains("10240 MiB"), "{why}");
    let why = refused(2, bounds(0, 0, 0));
    assert!(
        why.contains("sparse") && why.contains("free on the disk"),
        "{why}"
    );
    huge.set_len(5).expect("cut");
    assert!(refused(3, bounds(9, 0, 0)).contains("more than the session may have"));
    assert!(refused(4, bounds(0, 1, 0)).contains("more than the session may have"));
    bench.take_within(5, bounds(10, 2, 1 << 20)).expect("just enough");
    let left = fs::read_dir(bench.checkpoints.folder().join("objects")).expect("readable");
    assert!(left.flatten().all(|entry| entry.file_name() != "copying"));
}
