//! What a session planted where git keeps its own files, looked at from outside its walls.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::mpsc;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode};

use super::*;

const UNREADABLE: &str = "its repository is not one that can be read";

/// A workspace with a repository of one branch, and a folder beside it that is none of its business.
fn place() -> tempfile::TempDir {
    let place = tempfile::tempdir().expect("a folder");
    let git = place.path().join("ws/.git");
    fs::create_dir_all(git.join("refs/heads/feature")).expect("folders");
    fs::write(git.join("HEAD"), "ref: refs/heads/main\n").expect("written");
    fs::write(git.join("refs/heads/main"), "0\n").expect("written");
    fs::create_dir_all(place.path().join("outside/heads")).expect("folders");
    fs::write(place.path().join("outside/heads/secret"), "0\n").expect("written");
    place
}

/// The answer, unless it never comes.
fn answered(place: &tempfile::TempDir) -> Option<String> {
    let (workspace, (tell, told)) = (place.path().join("ws"), mpsc::channel());
    std::thread::spawn(move || tell.send(beside_the_patch(&workspace)));
    told.recv_timeout(Duration::from_secs(20))
        .expect("it waits for nobody")
}

fn remove(path: &Path) {
    longhaul_hands::remove_tree(path).expect("removed");
}

#[test]
fn a_repository_with_nothing_but_its_branch_may_go_and_any_more_makes_it_stay() {
    let place = place();
    let git = place.path().join("ws/.git");
    assert_eq!(answered(&place), None);
    fs::write(
        git.join("packed-refs"),
        "# pack\n0 refs/tags/v1\n0 refs/heads/main\n",
    )
    .expect("written");
    assert_eq!(answered(&place), None);
    fs::write(git.join("packed-refs"), "0 refs/heads/packed\n").expect("written");
    let other = |name: &str| Some(format!("its repository has another branch, {name}"));
    assert_eq!(answered(&place), other("packed"));
    fs::remove_file(git.join("packed-refs")).expect("removed");
    fs::write(git.join("refs/heads/feature/a"), "0\n").expect("written");
    assert_eq!(answered(&place), other("feature/a"));
    fs::remove_file(git.join("refs/heads/feature/a")).expect("removed");
    for (path, name) in [("refs/stash", "a stash"), ("worktrees", "work trees elsewhere")] {
        symlink("/nowhere", git.join(path)).expect("linked");
        assert_eq!(answered(&place), Some(format!("its repository has {name}")));
        fs::remove_file(git.join(path)).expect("removed");
    }
    fs::remove_file(git.join("HEAD")).expect("removed");
    assert_eq!(answered(&place), Some("its repository is gone".into()));
}

/// B-START-4: a pipe in the place of `HEAD` once held the server for ever, a link to `/dev/zero` ate its memory, and one to
/// root's home put the names in it into the record.
#[test]
fn what_is_planted_in_a_repository_blocks_nothing_and_leads_nowhere() {
    for planted in ["HEAD", "packed-refs", "refs/heads", "refs", ""] {
        for plant in [
            "a pipe",
            "zeros",
            "a link outside",
            "a relative link outside",
            "a device by another way",
        ] {
            let place = place();
            let at = place.path().join("ws/.git").join(planted);
            let at = if planted.is_empty() {
                place.path().join("ws/.git")
            } else {
                at
            };
            remove(&at);
            let up = "../".repeat(2 + planted.split('/').filter(|part| !part.is_empty()).count());
            let link = |to: &str| symlink(to, &at).expect("linked");
            match plant {
                "a pipe" => {
                    let mode = Mode::RWXU | Mode::RWXG | Mode::RWXO;
                    rustix::fs::mknodat(CWD, &at, FileType::Fifo, mode, 0).expect("a pipe");
                }
                "zeros" => link("/dev/zero"),
                "a link outside" => link(&place.path().join("outside").to_string_lossy()),
                "a relative link outside" => link(&format!("{up}outside")),
                _ => link("/proc/self/fd/0"),
            }
            assert_eq!(
                answered(&place).as_deref(),
                Some(UNREADABLE),
                "{plant} as .git/{planted}"
            );
        }
    }
}

#[test]
fn a_list_of_branches_without_end_is_not_read() {
    let place = place();
    let file = fs::File::create(place.path().join("ws/.git/packed-refs")).expect("made");
    file.set_len(1 << 40).expect("sparse");
    assert_eq!(answered(&place).as_deref(), Some(UNREADABLE));
    file.set_len(0).expect("cut");
    // Names that no path can hold.
    let mut folder = fs::File::open(place.path().join("ws/.git/refs/heads"))
        .map(std::os::fd::OwnedFd::from)
        .expect("there");
    for _ in 0..3_000 {
        rustix::fs::mkdirat(&folder, "d", Mode::RWXU).expect("made");
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
        folder = rustix::fs::openat(&folder, "d", flags, Mode::empty()).expect("there");
    }
    assert_eq!(answered(&place).as_deref(), Some(UNREADABLE));
    remove(&place.path().join("ws"));
}
