//! The socket file: where it lies, who may open it, and what becomes of those that processes left behind.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use longhaul_journal::Level;

use super::support::{Desk, Served, call};
use crate::api::{Code, Problem};
use crate::http::address::{Shelter, locate};
use crate::http::{ControlSocket, Settings};

/// A folder in `parent` whose path is too long for a socket.
fn far_away(parent: &Path) -> PathBuf {
    let path = parent.join("d".repeat(120));
    fs::create_dir(&path).unwrap();
    path
}

/// A folder in `parent` with these permissions.
fn folder(parent: &Path, name: &str, mode: u32) -> PathBuf {
    let path = parent.join(name);
    fs::DirBuilder::new().mode(mode).create(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

async fn bind(directory: &Path, shelter: &Shelter) -> Result<ControlSocket, Problem> {
    ControlSocket::bind_sheltered(
        directory,
        Desk::with(&[Level::User]),
        Settings::default(),
        shelter,
    )
    .await
}

fn nowhere() -> Shelter {
    Shelter {
        runtime: None,
        made: PathBuf::from("/nonexistent/longhaul"),
    }
}

async fn is_served(directory: &Path) -> bool {
    let socket = locate(directory).unwrap().unwrap();
    call(&socket, "GET", "/healthz", &[], "").await.status == 200
}

#[tokio::test]
async fn the_socket_lies_in_the_data_directory_and_is_its_owners_alone() {
    let served = Served::with(&[]).await;
    let path = served.socket.path();
    assert_eq!(
        path,
        served
            .directory
            .path()
            .canonicalize()
            .unwrap()
            .join("control.sock")
    );
    let found = fs::symlink_metadata(path).unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.mode() & 0o777, 0o600);
    let names: Vec<_> = fs::read_dir(&served.directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["control.sock"], "nothing else is left there");
}

/// The name appears by a rename of what is complete already: whoever sees it sees 0600, and somebody who listens.
#[tokio::test]
async fn whoever_sees_the_socket_sees_it_complete() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control.sock");
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let watched = path.clone();
    let watcher = std::thread::spawn(move || {
        let mut seen = 0_u32;
        while stopped.try_recv().is_err() {
            if let Ok(found) = fs::symlink_metadata(&watched) {
                assert_eq!(found.mode() & 0o777, 0o600);
                seen += 1;
            }
        }
        seen
    });
    for _ in 0..20 {
        bind(directory.path(), &nowhere()).await.unwrap().close().await;
    }
    stop.send(()).unwrap();
    watcher.join().unwrap();
    assert!(!path.exists());
}

#[tokio::test]
async fn a_socket_whose_process_died_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control.sock");
    // A listener that is dropped leaves its file behind, as a process that was killed does.
    drop(UnixListener::bind(&path).unwrap());
    assert!(UnixStream::connect(&path).is_err());
    let socket = bind(directory.path(), &nowhere()).await.unwrap();
    assert!(is_served(directory.path()).await);
    socket.close().await;
    assert!(!path.exists());
}

#[tokio::test]
async fn a_draft_that_a_killed_process_left_is_no_obstacle() {
    let directory = tempfile::tempdir().unwrap();
    drop(UnixListener::bind(directory.path().join("control.new")).unwrap());
    let _socket = bind(directory.path(), &nowhere()).await.unwrap();
    assert!(is_served(directory.path()).await);
}

#[tokio::test]
async fn closing_leaves_the_socket_of_a_successor_alone() {
    let directory = tempfile::tempdir().unwrap();
    let first = bind(directory.path(), &nowhere()).await.unwrap();
    let second = bind(directory.path(), &nowhere()).await.unwrap();
    first.close().await;
    assert!(is_served(directory.path()).await);
    second.close().await;
}

#[tokio::test]
async fn a_socket_that_is_dropped_is_taken_away_too() {
    let directory = tempfile::tempdir().unwrap();
    drop(bind(directory.path(), &nowhere()).await.unwrap());
    assert!(!directory.path().join("control.sock").exists());
}

#[tokio::test]
async fn over_a_long_path_the_socket_lies_in_the_runtime_directory_and_a_file_names_it() {
    let top = tempfile::tempdir().unwrap();
    let directory = far_away(top.path());
    let runtime = folder(top.path(), "run", 0o700);
    let shelter = Shelter {
        runtime: Some(runtime.clone()),
        ..nowhere()
    };
    let socket = bind(&directory, &shelter).await.unwrap();
    assert_eq!(socket.path().parent(), Some(runtime.as_path()));
    assert_eq!(fs::symlink_metadata(socket.path()).unwrap().mode() & 0o777, 0o600);
    assert_eq!(
        fs::read_to_string(directory.join("control.path")).unwrap(),
        socket.path().to_str().unwrap()
    );
    assert!(is_served(&directory).await);

    // A copy of the directory brings the file along, but it names the socket of another.
    let copy = folder(top.path(), "copy", 0o700);
    fs::copy(directory.join("control.path"), copy.join("control.path")).unwrap();
    assert_eq!(locate(&copy).unwrap(), None);

    socket.close().await;
    assert_eq!(
        fs::read_dir(&runtime).unwrap().count() + fs::read_dir(&directory).unwrap().count(),
        0
    );
}

#[tokio::test]
async fn without_a_private_runtime_directory_a_private_folder_is_made() {
    let top = tempfile::tempdir().unwrap();
    let directory = far_away(top.path());
    let shelter = Shelter {
        runtime: Some(folder(top.path(), "open", 0o755)),
        made: top.path().join("made"),
    };
    let socket = bind(&directory, &shelter).await.unwrap();
    assert_eq!(socket.path().parent(), Some(shelter.made.as_path()));
    assert_eq!(fs::metadata(&shelter.made).unwrap().mode() & 0o777, 0o700);
    assert!(is_served(&directory).await);
}

/// In a folder that others can write, somebody else could put their socket in the place of ours.
#[tokio::test]
async fn a_shelter_that_others_can_enter_is_refused() {
    let top = tempfile::tempdir().unwrap();
    let directory = far_away(top.path());
    let shelter = Shelter {
        runtime: None,
        made: folder(top.path(), "shared", 0o777),
    };
    let problem = bind(&directory, &shelter).await.unwrap_err();
    assert_eq!(problem.code, Code::StorageUnavailable);
    assert!(
        problem.detail.contains("is not a folder of this user alone"),
        "{}",
        problem.detail
    );
}

#[tokio::test]
async fn a_place_where_no_socket_can_be_made_is_a_problem_with_a_way_on() {
    let top = tempfile::tempdir().unwrap();
    // Works for root as well, whom permissions do not stop.
    fs::create_dir_all(top.path().join("control.sock/full")).unwrap();
    for directory in [top.path().to_owned(), top.path().join("missing")] {
        let problem = bind(&directory, &nowhere()).await.unwrap_err();
        assert_eq!(problem.code, Code::StorageUnavailable);
        assert!(
            problem.detail.contains(directory.to_str().unwrap()),
            "{}",
            problem.detail
        );
        assert!(problem.next_actions[0].command.starts_with("ls -ld"));
    }
}

/// B-EMBED-1: two in one process, and no runtime of the caller's is needed to keep them going but the one that opened them.
#[test]
fn two_sockets_in_one_process_on_two_kinds_of_runtime_do_not_meet() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let many = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let first = many.block_on(bind(one.path(), &nowhere())).unwrap();
    let single = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    single.block_on(async {
        let second = bind(two.path(), &nowhere()).await.unwrap();
        assert!(is_served(one.path()).await && is_served(two.path()).await);
        let listed = call(first.path(), "GET", "/v1/sessions", &[], "").await;
        assert_eq!(listed.status, 200);
        second.close().await;
    });
    many.block_on(first.close());
}
