//! Where the program of a brain is: found once, when the session is started, and pinned as an absolute path.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// No program that could be started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProgramError {
    /// There is no such file.
    #[error("there is no program {name:?}, neither in {cwd} nor on PATH")]
    NotFound {
        /// As it was called.
        name: String,
        /// The folder it was looked for in.
        cwd: String,
    },
    /// There is a file, but it may not be executed.
    #[error("{0} is not executable; run `chmod +x {0}`")]
    NotExecutable(String),
}

/// Finds a program: a name with a slash, or a file in `cwd`, is a path; any other name is looked up in `path`.
///
/// # Errors
/// [`ProgramError`], which says what to do.
pub fn find_program(name: &str, cwd: &Path, path: Option<&OsStr>) -> Result<PathBuf, ProgramError> {
    let here = cwd.join(name);
    if here.is_file() {
        return match executable(&here) {
            // Links are kept: some programs look at the name they were called by.
            true => Ok(std::path::absolute(&here).unwrap_or(here)),
            false => Err(ProgramError::NotExecutable(here.display().to_string())),
        };
    }
    let folders = path.filter(|_| !name.contains('/')).map(std::env::split_paths);
    let mut found = folders
        .into_iter()
        .flatten()
        .map(|folder| cwd.join(folder).join(name));
    found
        .find(|file| executable(file))
        .ok_or_else(|| ProgramError::NotFound {
            name: name.into(),
            cwd: cwd.display().to_string(),
        })
}

/// Makes a word absolute if it names a file in `cwd`, because the program will not run there: `python3 agent.py`.
pub fn absolute_word(word: &str, cwd: &Path) -> String {
    let file = cwd.join(word);
    match file.to_str() {
        Some(absolute) if !word.is_empty() && file.is_file() => absolute.to_owned(),
        _ => word.to_owned(),
    }
}

fn executable(file: &Path) -> bool {
    file.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_name_a_file_are_made_absolute_and_no_others() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("agent.py"), "").expect("written");
        let agent = folder.path().join("agent.py").display().to_string();
        for (word, wanted) in [
            ("agent.py", agent.as_str()),
            (&agent, &agent),
            ("-c", "-c"),
            ("", ""),
            (".", "."),
        ] {
            assert_eq!(absolute_word(word, folder.path()), wanted);
        }
    }

    #[test]
    fn a_program_is_found_here_or_on_the_path_and_pinned() {
        let folder = tempfile::tempdir().expect("a folder");
        let script = folder.path().join("agent");
        let find = |name| find_program(name, folder.path(), Some(OsStr::new("/nowhere:/bin")));
        assert!(matches!(find("agent"), Err(ProgramError::NotFound { .. })));
        std::fs::write(&script, "#!/bin/sh\n").expect("written");
        std::fs::set_permissions(&script, PermissionsExt::from_mode(0o644)).expect("set");
        assert!(matches!(find("./agent"), Err(ProgramError::NotExecutable(_))));
        std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).expect("set");
        assert!(find("agent").expect("found").is_absolute());
        assert_eq!(find("sh"), Ok("/bin/sh".into()));
        assert!(find("bin/sh").is_err(), "a path is not looked up");
    }
}
