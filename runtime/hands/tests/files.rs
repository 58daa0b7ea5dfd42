//! The file tools among hostile files. Hands test A13.
#![allow(clippy::unwrap_used, reason = "a helper fails its test by panicking")]

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use longhaul_hands::{EntryKind, FileError, Standing, Workspace, Written};

const MAX: u64 = 1 << 20;

/// A workspace beside a file that nobody inside may reach.
struct Place {
    folder: tempfile::TempDir,
    ws: Workspace,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("ws/dir")).unwrap();
        std::fs::create_dir(folder.path().join("host")).unwrap();
        std::fs::write(folder.path().join("host/secret"), "secret").unwrap();
        let ws = Workspace::open(&folder.path().join("ws")).unwrap();
        Self { folder, ws }
    }

    fn at(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join("ws").join(name)
    }

    fn put(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.at(name), bytes).unwrap();
    }

    fn host_is_untouched(&self) {
        let host = self.folder.path().join("host");
        assert_eq!(std::fs::read_to_string(host.join("secret")).unwrap(), "secret");
        assert_eq!(std::fs::read_dir(&host).unwrap().count(), 1);
    }

    /// The codes of reading, writing, editing and listing one path.
    fn codes(&self, path: impl AsRef<Path>) -> [&'static str; 4] {
        let path = path.as_ref();
        fn code<T>(result: Result<T, FileError>) -> &'static str {
            result.map_or_else(|error| error.code(), |_| "ok")
        }
        [
            code(self.ws.read(path, MAX)),
            code(self.ws.write(path, b"x")),
            code(self.ws.edit(path, "secret", "x", None)),
            code(self.ws.list(path, 10)),
        ]
    }
}

fn sha(text: &str) -> String {
    use sha2::Digest as _;
    hex::encode(sha2::Sha256::digest(text))
}

/// B-HANDS-1
#[test]
fn what_is_written_is_read_with_the_hashes_of_both_sides() {
    let place = Place::new();
    let first = place.ws.write(Path::new("new/deep/file"), b"one").unwrap();
    assert_eq!(
        first,
        Written {
            before: None,
            after: sha("one"),
            bytes: 3
        }
    );
    let second = place.ws.write(Path::new("new/deep/file"), b"two\n").unwrap();
    assert_eq!(
        second,
        Written {
            before: Some(sha("one")),
            after: sha("two\n"),
            bytes: 4
        }
    );
    let read = place.ws.read(Path::new("new/deep/file"), MAX).unwrap();
    assert_eq!(
        (read.bytes.as_slice(), read.sha256),
        (b"two\n".as_slice(), sha("two\n"))
    );
    assert_eq!(
        std::fs::read_dir(place.at("new/deep")).unwrap().count(),
        1,
        "no draft stays behind"
    );
}

#[test]
fn a_replaced_file_keeps_its_mode_and_other_names_keep_the_old_bytes() {
    let place = Place::new();
    place.put("script", "old");
    std::fs::set_permissions(place.at("script"), std::fs::Permissions::from_mode(0o750)).unwrap();
    std::fs::hard_link(place.at("script"), place.at("other-name")).unwrap();
    place.ws.write(Path::new("script"), b"new").unwrap();
    assert_eq!(
        std::fs::metadata(place.at("script")).unwrap().mode() & 0o7777,
        0o750
    );
    assert_eq!(std::fs::read_to_string(place.at("other-name")).unwrap(), "old");
    place.ws.write(Path::new("fresh"), b"new").unwrap();
    assert_eq!(
        std::fs::metadata(place.at("fresh")).unwrap().mode() & 0o7777,
        0o644
    );
}

#[test]
fn a_draft_left_by_a_crash_is_cleared_by_the_next_write() {
    let place = Place::new();
    let draft = format!(".longhaul-write-{}", &sha("file")[..16]);
    place.put(&draft, "half of it");
    place.ws.write(Path::new("file"), b"whole").unwrap();
    assert!(!place.at(&draft).exists());
    // A link planted under that name is replaced and not followed.
    symlink("../host/secret", place.at(&draft)).unwrap();
    place.ws.write(Path::new("file"), b"again").unwrap();
    place.host_is_untouched();
}

/// B-HANDS-1
#[test]
fn an_edit_replaces_the_one_place_and_refuses_to_guess() {
    let place = Place::new();
    place.put("f", "alpha beta beta aaa");
    let edit =
        |old: &str, new: &str, expected: Option<&str>| place.ws.edit(Path::new("f"), old, new, expected);
    let code = |result: Result<Written, FileError>| result.unwrap_err().code();
    assert_eq!(code(edit("gamma", "x", None)), "old_text_not_found");
    assert_eq!(code(edit("", "x", None)), "old_text_empty");
    assert!(matches!(
        edit("beta", "x", None),
        Err(FileError::OldTextNotUnique { times: 2, .. })
    ));
    assert!(
        matches!(
            edit("aa", "x", None),
            Err(FileError::OldTextNotUnique { times: 2, .. })
        ),
        "they overlap"
    );
    assert_eq!(code(edit("alpha", "x", Some(&sha("else")))), "file_changed");
    let planned = place.ws.preview_edit(Path::new("f"), "alpha", "omega").unwrap();
    assert_eq!(
        std::fs::read_to_string(place.at("f")).unwrap(),
        "alpha beta beta aaa"
    );
    let done = edit("alpha", "omega", planned.before.as_deref()).unwrap();
    assert_eq!(
        (&done, done.after.as_str()),
        (&planned, sha("omega beta beta aaa").as_str())
    );
    place.put("bin", b"ok\xff");
    assert!(matches!(
        place.ws.edit(Path::new("bin"), "ok", "x", None),
        Err(FileError::NotUtf8 { offset: 2, .. })
    ));
    assert_eq!(
        place
            .ws
            .edit(Path::new("gone"), "a", "b", None)
            .unwrap_err()
            .code(),
        "file_not_found"
    );
}

/// B-CRASH-3
#[test]
fn a_write_whose_outcome_was_lost_is_settled_by_hashes() {
    let place = Place::new();
    let (path, before, after) = (Path::new("f"), sha("before"), sha("after"));
    let compare = |before: Option<&str>| place.ws.compare(path, before, &after).unwrap();
    assert_eq!(
        compare(None),
        Standing::NotApplied,
        "a new file that is not there yet"
    );
    assert_eq!(
        compare(Some(&before)),
        Standing::Other { found: None },
        "an old file that is gone"
    );
    place.put("f", "before");
    assert_eq!(compare(Some(&before)), Standing::NotApplied);
    place.put("f", "after");
    assert_eq!(compare(Some(&before)), Standing::Applied);
    place.put("f", "third");
    assert_eq!(
        compare(Some(&before)),
        Standing::Other {
            found: Some(sha("third"))
        }
    );
    let missing = Path::new("no/such/folder");
    assert_eq!(
        place.ws.compare(missing, None, &after).unwrap(),
        Standing::NotApplied
    );
}

/// B-HANDS-2
#[test]
fn impossible_paths_are_refused_in_plain_words() {
    let place = Place::new();
    for path in [
        "/etc/passwd",
        "..",
        "../host/secret",
        "dir/../../host/secret",
        "a\0b",
    ] {
        assert_eq!(place.codes(path), ["path_refused"; 4], "{path:?}");
    }
    assert_eq!(place.codes("")[..3], ["path_refused"; 3]);
    assert_eq!(place.codes("missing/x")[0], "file_not_found");
    assert_eq!(place.codes("dir")[..3], ["not_a_regular_file"; 3]);
    place.put("plain", "secret");
    assert_eq!(place.codes("plain/x"), ["not_a_folder"; 4]);
    place.host_is_untouched();
}

/// B-HANDS-2
#[test]
fn links_out_of_the_workspace_are_refused() {
    let place = Place::new();
    let host = place.folder.path().join("host");
    symlink(host.join("secret"), place.at("absolute")).unwrap();
    symlink("../host/secret", place.at("relative")).unwrap();
    for link in ["absolute", "relative"] {
        assert_eq!(
            place.codes(link)[..3],
            ["outside_workspace", "symlink_refused", "symlink_refused"],
            "{link}"
        );
    }
    symlink("/", place.at("root")).unwrap();
    symlink("../host", place.at("beside")).unwrap();
    symlink("/proc/self/root", place.at("magic")).unwrap();
    symlink("/proc/self/cwd", place.at("cwd")).unwrap();
    for through in [
        "root/etc/passwd",
        "beside/secret",
        "beside/new",
        "magic/etc/passwd",
        "cwd/x",
    ] {
        assert_eq!(place.codes(through), ["outside_workspace"; 4], "{through}");
    }
    symlink("loop", place.at("loop")).unwrap();
    assert_eq!(place.codes("loop")[..3], ["symlink_refused"; 3]);
    place.host_is_untouched();
}

#[test]
fn links_that_stay_inside_are_followed_on_the_way() {
    let place = Place::new();
    place.put("dir/file", "inside");
    symlink("dir", place.at("alias")).unwrap();
    assert_eq!(
        place.ws.read_text(Path::new("alias/file"), MAX).unwrap(),
        "inside"
    );
    place.ws.write(Path::new("alias/file"), b"changed").unwrap();
    assert_eq!(std::fs::read_to_string(place.at("dir/file")).unwrap(), "changed");
}

/// B-HANDS-2
#[test]
fn what_is_not_a_file_is_refused_and_never_blocks() {
    let place = Place::new();
    let pipe = place.at("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let _socket = std::os::unix::net::UnixListener::bind(place.at("socket")).unwrap();
    for name in ["pipe", "socket"] {
        assert_eq!(place.codes(name)[..3], ["not_a_regular_file"; 3], "{name}");
    }
}

#[test]
fn a_file_larger_than_asked_for_is_not_read() {
    let place = Place::new();
    place.put("small", "12345");
    assert_eq!(place.ws.read(Path::new("small"), 5).unwrap().bytes, b"12345");
    assert!(matches!(
        place.ws.read(Path::new("small"), 4),
        Err(FileError::TooLarge { bytes: 5, max: 4, .. })
    ));
    std::fs::File::create(place.at("sparse"))
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    assert_eq!(place.codes("sparse")[..3], ["file_too_large"; 3]);
}

#[test]
fn a_listing_is_sorted_bounded_and_follows_nothing() {
    let place = Place::new();
    place.put("b", "12");
    symlink("/", place.at("a")).unwrap();
    let listing = place.ws.list(Path::new(""), 10).unwrap();
    let seen: Vec<(&str, EntryKind, u64)> = listing
        .entries
        .iter()
        .map(|e| (e.name.as_str(), e.kind, e.bytes))
        .collect();
    assert_eq!(
        seen,
        [
            ("a", EntryKind::Symlink, 0),
            ("b", EntryKind::File, 2),
            ("dir", EntryKind::Folder, 0)
        ]
    );
    assert!(!listing.more);
    let short = place.ws.list(Path::new("."), 2).unwrap();
    assert_eq!((short.entries.len(), short.more), (2, true));
}

/// B-HANDS-2: while a folder is swapped for a link out, again and again, no operation ever lands outside.
#[test]
fn a_race_between_a_folder_and_a_link_never_leads_out() {
    let place = Place::new();
    place.put("dir/secret", "secret inside");
    symlink("../host", place.at("trap")).unwrap();
    let over = AtomicBool::new(false);
    let (mut reads, mut refusals) = (0, 0);
    /// An assertion that fails must end the race as well: the scope waits for it.
    struct Over<'a>(&'a AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    std::thread::scope(|scope| {
        let _over = Over(&over);
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let cwd = rustix::fs::CWD;
                let exchange = rustix::fs::RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(cwd, place.at("dir"), cwd, place.at("trap"), exchange).unwrap();
            }
        });
        // Until the race was won often enough both ways; on a busy machine that takes longer.
        for round in 0..1_000_000 {
            if reads >= 300 && refusals >= 300 {
                break;
            }
            match place.ws.read_text(Path::new("dir/secret"), MAX) {
                Ok(text) => {
                    assert_ne!(text, "secret", "round {round} read the host's file");
                    reads += 1;
                }
                Err(_) => refusals += 1,
            }
            if round % 20 == 0 {
                let _ = place.ws.write(Path::new("dir/planted"), b"x");
                let _ = place.ws.edit(Path::new("dir/secret"), "secret", "secret", None);
            }
        }
    });
    place.host_is_untouched();
    assert!(
        reads > 0 && refusals > 0,
        "the race was never on: {reads} reads, {refusals} refusals"
    );
}

/// B-ART-2: what is to be kept is a file that stands still: no link, no folder, no pipe, nothing outside.
#[test]
fn what_is_kept_is_a_regular_file_of_the_workspace_and_no_link() {
    let place = Place::new();
    place.put("note", "kept");
    symlink("note", place.at("link")).unwrap();
    symlink("../host/secret", place.at("out")).unwrap();
    symlink("../host", place.at("away")).unwrap();
    let fifo = rustix::fs::CWD;
    rustix::fs::mkfifoat(fifo, place.at("pipe"), rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    let code = |path: &str| {
        let read = place.ws.read_at_rest(Path::new(path), MAX);
        read.map_or_else(|error| error.code(), |_| "ok")
    };
    assert_eq!(
        place.ws.read_at_rest(Path::new("note"), MAX).unwrap().bytes,
        b"kept"
    );
    for (path, expected) in [
        ("note", "ok"),
        ("link", "symlink_refused"),
        ("out", "symlink_refused"),
        ("away/secret", "outside_workspace"),
        ("dir", "not_a_regular_file"),
        ("pipe", "not_a_regular_file"),
        ("../host/secret", "path_refused"),
        ("/etc/passwd", "path_refused"),
        ("nothing", "file_not_found"),
    ] {
        assert_eq!(code(path), expected, "{path}");
    }
}

/// B-ART-2: while somebody writes to it, a file is either kept as it was at one time, or refused.
#[test]
fn a_file_that_changes_while_it_is_kept_is_refused() {
    use std::os::unix::fs::FileExt as _;
    let place = Place::new();
    let pages = 1 << 20;
    place.put("note", "a".repeat(pages));
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(place.at("note"))
        .unwrap();
    let over = AtomicBool::new(false);
    let (mut refused, patience) = (0, std::time::Instant::now() + std::time::Duration::from_secs(60));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for letter in ["b", "a"].iter().cycle() {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                file.write_all_at(letter.repeat(pages).as_bytes(), 0).unwrap();
            }
        });
        while refused < 10 && std::time::Instant::now() < patience {
            match place.ws.read_at_rest(Path::new("note"), MAX) {
                // Nothing may be asserted before the writer is told to stop.
                Ok(kept) if kept.bytes.iter().all(|byte| *byte == kept.bytes[0]) => {}
                Ok(_) => break,
                Err(error) if error.code() == "file_changed" => refused += 1,
                Err(_) => break,
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    assert_eq!(refused, 10);
}
