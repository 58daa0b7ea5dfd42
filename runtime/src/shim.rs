//! Which program becomes the shim of a command (B-EMBED-2).

use std::ffi::OsStr;
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
    let main = if INTERCEPTS.load(Ordering::Relaxed) {
        Main::Intercepts(longhaul_hands::own_exe())
    } else if TOO_LATE.load(Ordering::Relaxed) {
        Main::TooLate
    } else {
        Main::Silent
    };
    choose(main, named, &std::env::var_os("PATH").unwrap_or_default())
}

/// What the `main` of this program did about [`intercept`].
enum Main {
    /// It began with it, so that this program can be started as a shim.
    Intercepts(PathBuf),
    /// It called it when there were threads already.
    TooLate,
    /// It did not call it.
    Silent,
}

fn choose(main: Main, named: Option<&Path>, path: &OsStr) -> Result<PathBuf, Problem> {
    let is_late = match main {
        Main::Intercepts(own) => return Ok(own),
        Main::TooLate => true,
        Main::Silent => false,
    };
    if let Some(named) = named {
        return if named.is_file() {
            Ok(named.to_owned())
        } else {
            Err(not_found(&format!("{} is no file", named.display()), is_late))
        };
    }
    let found = std::env::split_paths(path)
        .map(|folder| folder.join("longhaul"))
        .find(|file| file.is_file());
    found.ok_or_else(|| not_found("there is no `longhaul` on PATH", is_late))
}

fn not_found(why: &str, is_late: bool) -> Problem {
    if is_late {
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

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::fs;

    use super::*;

    /// Two folders for PATH, of which the second has the program, and a program of another name.
    struct Machine {
        folder: tempfile::TempDir,
    }

    impl Machine {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            for name in ["empty", "bin"] {
                fs::create_dir(folder.path().join(name)).expect("made");
            }
            for name in ["bin/longhaul", "mine"] {
                fs::write(folder.path().join(name), "").expect("written");
            }
            Self { folder }
        }

        fn file(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn path(&self, names: &[&str]) -> OsString {
            std::env::join_paths(names.iter().map(|name| self.file(name))).expect("no colons")
        }
    }

    fn refused(main: Main, named: Option<&Path>, path: &OsStr) -> String {
        let problem = choose(main, named, path).expect_err("there is none");
        assert_eq!(problem.code, Code::ShimNotFound);
        problem.detail
    }

    /// B-EMBED-2
    #[test]
    fn a_program_that_intercepts_is_its_own_shim_whatever_else_there_is() {
        let machine = Machine::new();
        let own = || Main::Intercepts("/proc/self/exe".into());
        for (named, path) in [
            (None, OsString::new()),
            (Some(machine.file("mine")), machine.path(&["bin"])),
        ] {
            assert_eq!(
                choose(own(), named.as_deref(), &path),
                Ok("/proc/self/exe".into())
            );
        }
    }

    /// B-EMBED-2
    #[test]
    fn one_that_was_named_comes_before_the_one_on_path() {
        let machine = Machine::new();
        let (mine, path) = (machine.file("mine"), machine.path(&["bin"]));
        for main in [Main::Silent, Main::TooLate] {
            assert_eq!(choose(main, Some(&mine), &path), Ok(mine.clone()));
        }
    }

    /// B-EMBED-2: whoever names one means that one.
    #[test]
    fn a_wrong_name_is_said_and_path_is_no_way_out() {
        let machine = Machine::new();
        for name in ["nothing", "bin"] {
            let detail = refused(Main::Silent, Some(&machine.file(name)), &machine.path(&["bin"]));
            assert!(detail.contains(&format!("{name} is no file")), "{detail}");
        }
    }

    /// B-EMBED-2
    #[test]
    fn without_either_the_first_longhaul_on_path_will_do() {
        let machine = Machine::new();
        let path = machine.path(&["empty", "gone", "bin"]);
        assert_eq!(
            choose(Main::Silent, None, &path),
            Ok(machine.file("bin/longhaul"))
        );
    }

    /// B-EMBED-2
    #[test]
    fn without_any_each_way_to_name_one_is_told() {
        let machine = Machine::new();
        // A folder of that name is no program.
        fs::create_dir(machine.file("empty/longhaul")).expect("made");
        for path in [OsString::new(), machine.path(&["empty"])] {
            let detail = refused(Main::Silent, None, &path);
            for way in ["longhaul::intercept()", "Options::shim", "PATH"] {
                assert!(detail.contains(way), "{detail}");
            }
        }
    }

    /// B-EMBED-2: it was called, so that it must be told why that was of no use.
    #[test]
    fn an_intercept_that_came_too_late_is_named() {
        let detail = refused(Main::TooLate, None, OsStr::new(""));
        assert!(detail.contains("had threads already"), "{detail}");
    }
}
