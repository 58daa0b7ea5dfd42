//! Which program becomes the shim of a command (B-EMBED-2).

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::api::{Code, Problem};

/// Whether this program's `main` begins with [`intercept`], so that it can be its own shim.
static INTERCEPTS: AtomicBool = AtomicBool::new(false);
/// Whether it was called when there were threads already, where a shim cannot begin: it forks.
static TOO_LATE: AtomicBool = AtomicBool::new(false);

/// To be called as the first line of `main`: when this process was started to be the shim of a command, it becomes
/// that and never returns.
///
/// A program that calls it needs no `longhaul` beside it to run commands. It must come before any thread, so with tokio
/// it stands in a `main` of its own:
///
/// ```no_run
/// fn main() {
///     longhaul::intercept();
///     run();
/// }
///
/// #[tokio::main]
/// async fn run() { /* Runtime::open(..) */ }
/// ```
pub fn intercept() {
    longhaul_hands::main_if_shim();
    let alone = std::fs::read_dir("/proc/self/task").is_ok_and(|threads| threads.count() == 1);
    INTERCEPTS.store(alone, Ordering::Relaxed);
    TOO_LATE.store(!alone, Ordering::Relaxed);
}

/// The program that runs commands: this one if it intercepts, else the one that was named, else `longhaul` on PATH.
///
/// # Errors
/// `shim_not_found`, with each way to name one.
pub(crate) fn find_shim(named: Option<&Path>) -> Result<PathBuf, Problem> {
    if INTERCEPTS.load(Ordering::Relaxed) {
        return Ok(longhaul_hands::own_exe());
    }
    if let Some(named) = named {
        return if named.is_file() {
            Ok(named.to_owned())
        } else {
            Err(not_found(&format!("{} is no file", named.display())))
        };
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|folder| folder.join("longhaul"))
        .find(|file| file.is_file());
    found.ok_or_else(|| not_found("there is no `longhaul` on PATH"))
}

fn not_found(why: &str) -> Problem {
    if TOO_LATE.load(Ordering::Relaxed) {
        let detail = format!(
            "longhaul::intercept() was called when the program had threads already, and {why}; call it in a plain \
             `fn main()` before the async runtime starts"
        );
        return Problem::new(Code::ShimNotFound, detail);
    }
    let detail = format!(
        "{why}; call longhaul::intercept() as the first line of main, or name the program in Options::shim, or put \
         `longhaul` on PATH"
    );
    Problem::new(Code::ShimNotFound, detail)
}
