//! Many commands at once: what became of each after a crash, and killing all that belong to a session.
//!
//! "Gone" is said only of what was looked for and not found, twice in a row; what could not be killed is returned
//! by pid, never assumed away.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::dir::{self, State, UnknownCause};
use crate::limits;
use crate::procs::{self, Process};
use crate::start::{cancel, wait};

/// How long SIGKILL is repeated before a process counts as a survivor.
const KILL_PATIENCE: Duration = Duration::from_secs(5);

/// What [`recover`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// Each command directory with what became of its command, in the order given.
    pub states: Vec<(PathBuf, State)>,
    /// Processes of commands without a shim that would not die.
    pub survivors: Vec<u32>,
}

/// Says what became of each command, and kills what a dead shim has left running. To be called when a runtime starts.
///
/// A running command is not touched: [`wait`] attaches to it. Nothing is ever started here.
///
/// # Errors
/// A directory or `/proc` cannot be read.
pub fn recover(dirs: &[PathBuf]) -> io::Result<Recovery> {
    let mut states = Vec::with_capacity(dirs.len());
    let mut orphaned = HashSet::new();
    let mut groups = Vec::new();
    for dir in dirs {
        let state = dir::state(dir)?;
        // Of another boot nothing can be left.
        if matches!(state, State::Unknown(UnknownCause::ShimDied | UnknownCause::Torn)) {
            orphaned.extend(tag(dir));
            groups.extend(groups_left(dir)?);
        }
        states.push((dir.clone(), state));
    }
    // The groups first: what has wiped its mark is still in one.
    let mut survivors = limits::reclaim(&groups);
    if !orphaned.is_empty() {
        survivors.extend(kill_until_none(|| procs::marked(|mark| orphaned.contains(mark)))?);
    }
    survivors.sort_unstable();
    survivors.dedup();
    Ok(Recovery { states, survivors })
}

/// Stops every command of a session: asks the shims in `dirs`, waits up to `patience` for their records, then kills
/// shims, their descendants and every process marked with the session, until none is found. Returns survivors.
///
/// A command whose shim had to be killed reads `unknown(shim_died)` afterwards, as it is.
///
/// # Errors
/// A directory or `/proc` cannot be read; then nothing is known about what is left.
pub fn kill_all(session: &str, dirs: &[PathBuf], patience: Duration) -> io::Result<Vec<u32>> {
    let deadline = Instant::now().checked_add(patience);
    for dir in dirs {
        // One that cannot be asked is killed below.
        let _ = cancel(dir);
    }
    for dir in dirs {
        wait(dir, deadline, None)?;
    }
    let prefix = format!("{session}/");
    let mut survivors = kill_until_none(|| {
        let mut targets = procs::marked(|mark| mark.starts_with(&prefix))?;
        let shims: Vec<Process> = dirs
            .iter()
            .map(|dir| dir::shim(dir))
            .collect::<io::Result<Vec<_>>>()?
            .into_iter()
            .flatten()
            .collect();
        if !shims.is_empty() {
            let all = procs::all()?;
            // Its unmarked descendants would be lost from sight once the shim is dead.
            targets.extend(shims.iter().flat_map(|shim| procs::descendants(shim.pid, &all)));
            targets.extend(shims);
        }
        Ok(targets)
    })?;
    // No shim is alive any more that would remove what it made.
    let groups: Vec<Vec<PathBuf>> = dirs
        .iter()
        .map(|dir| groups_left(dir))
        .collect::<io::Result<_>>()?;
    survivors.extend(limits::reclaim(&groups.concat()));
    survivors.sort_unstable();
    survivors.dedup();
    Ok(survivors)
}

/// The control group that a shim of this boot claimed and has left behind; nothing while that shim lives.
fn groups_left(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let Some(claim) = dir::claim(dir)? else {
        return Ok(Vec::new());
    };
    if claim.groups.is_empty() || claim.boot_id != procs::boot_id()? || dir::shim(dir)?.is_some() {
        return Ok(Vec::new());
    }
    Ok(claim.groups)
}

/// Sends SIGKILL to all that `find` returns until it returns none, twice in a row: one look may miss a process that
/// was forked behind the reader's back.
fn kill_until_none(find: impl Fn() -> io::Result<Vec<Process>>) -> io::Result<Vec<u32>> {
    let give_up = Instant::now() + KILL_PATIENCE;
    let mut pause = Duration::from_millis(1);
    let mut clean_looks = 0;
    // Kept over the looks: a descendant of a shim is found through the shim only as long as that lives.
    let mut known: HashMap<u32, Process> = HashMap::new();
    loop {
        known.retain(|_, old| {
            procs::find(old.pid).is_some_and(|now| now.start_time == old.start_time && !now.is_dead())
        });
        known.extend(find()?.into_iter().filter(|p| !p.is_dead()).map(|p| (p.pid, p)));
        if known.is_empty() {
            clean_looks += 1;
            if clean_looks == 2 {
                return Ok(Vec::new());
            }
            continue;
        }
        clean_looks = 0;
        if Instant::now() >= give_up {
            let mut left: Vec<u32> = known.into_keys().collect();
            left.sort_unstable();
            return Ok(left);
        }
        for process in known.values() {
            procs::signal(process, Signal::KILL)?;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// The mark of a command's processes, from its claim or, should that be torn, from its spec.
fn tag(dir: &Path) -> Option<String> {
    let claimed = dir::claim(dir).ok().flatten().map(|claim| claim.tag);
    claimed.or_else(|| dir::read_spec(dir).ok().map(|spec| spec.tag()))
}
