//! The process that stands between the runtime and one command, and outlives the runtime.
//!
//! In order: detach, lock, claim, start, watch, kill what is left, sync, record. Each of these may be cut short by
//! SIGKILL or by power loss, and [`state`](crate::state) still says the truth: before the claim nothing has executed,
//! after the exit record nothing changes, in between the outcome is unknown.
//!
//! One thread, one loop, no timer that ticks: it sleeps in `poll` until output, a signal or a deadline.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{self, Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus};

use crate::ahead::Ahead;
use crate::capture::Capture;
use crate::dir::{self, Lock, REFUSAL, STDERR, STDOUT};
use crate::disk::DiskWatch;
use crate::egress::{self, Proxy};
use crate::isolate::{self, Doorkeeper, Ended};
use crate::launcher::{self, Started};
use crate::limits::{DiskLimit, Group, Usage};
use crate::lineage;
use crate::patience::{says_term, timespec};
use crate::procs;
use crate::ready;
use crate::sabotage;
use crate::spec::{Claim, ExitRecord, PROTOCOL, Spec, StreamRecord, Verdict};
use crate::sys::{self, Children, Fork};

/// Exit code of the detaching process: the command is claimed and in a shim's care.
pub(crate) const STARTED: i32 = 0;
/// Exit code: another shim has the command, or it has ended.
pub(crate) const TAKEN: i32 = 10;
/// Exit code: nothing was claimed; the file `refusal` says why.
pub(crate) const REFUSED: i32 = 11;

/// How long output may still flow after every process of the command is dead: only a stranger can hold the pipe then.
const DRAIN: Duration = Duration::from_secs(2);
/// How long SIGKILL is repeated before what is left counts as a survivor.
const KILL_PATIENCE: Duration = Duration::from_secs(5);
/// How long a full disk may delay the exit record before the outcome is left unknown.
const RECORD_PATIENCE: Duration = Duration::from_secs(2);
const SURVIVORS_LISTED: usize = 64;

/// Becomes the shim if the program was called as `PROGRAM shim DIR`, one that waits for its command if it was called as
/// `PROGRAM shim PLACE ready`, or the proxy of a command if it was called as `PROGRAM egress DIR` by a shim, and then
/// never returns.
///
/// Must come first in `main`: before any thread is started and before any descriptor is opened that matters.
pub fn main_if_shim() {
    crate::isolate::main_if_probe();
    let words: Vec<OsString> = std::env::args_os().skip(1).take(4).collect();
    match &words[..] {
        [verb, dir] if verb == "shim" => run(Path::new(dir)),
        [verb, _, word] if verb == "shim" && word == ready::WORD => ready::run(),
        [verb, dir] if verb == egress::VERB => egress::run(Path::new(dir)),
        _ => {}
    }
}

/// Is the shim of the command in `dir`: detaches, runs it, records its end.
///
/// The calling process ends as soon as the command is claimed (exit code 0) or cannot be; the rest happens in a
/// process of its own, in another session, with no descriptor, no parent and no environment in common.
pub fn run(dir: &Path) -> ! {
    let outcome = sys::close_all_from_3()
        .and_then(|()| sys::must_be_single_threaded())
        .and_then(|()| detach())
        .and_then(|report| claim_and_run(dir, report, settle()?, None));
    match outcome {
        Ok(code) => sys::exit_now(code),
        Err(error) => {
            let _ = std::fs::write(dir.join(REFUSAL), error.to_string());
            sys::exit_now(REFUSED)
        }
    }
}

/// Leaves the runtime's session and family. Returns in the shim; the calling process waits for the claim and exits.
fn detach() -> io::Result<Report> {
    found_a_session()?;
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    match sys::fork()? {
        Fork::Child => Ok(Report(write)),
        Fork::Parent(_) => {
            drop(write);
            let mut code = [0; 1];
            let told = rustix::io::read(&read, &mut code);
            // A shim that died without a word has claimed or not; the directory says which.
            sys::exit_now(if matches!(told, Ok(1)) {
                i32::from(code[0])
            } else {
                STARTED
            })
        }
    }
}

/// A group leader may not found a session; then a child does. Who execs us as an ordinary child has made us none.
pub(crate) fn found_a_session() -> io::Result<()> {
    if process::setsid().is_err() {
        match sys::fork()? {
            Fork::Parent(child) => exit_like(child),
            Fork::Child => process::setsid().map(|_| ())?,
        }
    }
    Ok(())
}

fn exit_like(child: u32) -> ! {
    let pid = i32::try_from(child).ok().and_then(Pid::from_raw);
    let status = pid.and_then(|pid| {
        process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED)
            .ok()
            .flatten()
    });
    sys::exit_now(status.and_then(|s| s.exit_status()).unwrap_or(STARTED))
}

/// The way to tell who waits for the claim how it went: the detaching process, or the runtime itself. Dropping it lets go
/// of them.
pub(crate) struct Report(pub(crate) OwnedFd);

impl Report {
    fn tell(self, code: i32) {
        let _ = rustix::io::write(&self.0, &[u8::try_from(code).unwrap_or(u8::MAX)]);
    }
}

/// Sees a command through from the claim to the record. `ahead` is what was prepared before it was known.
pub(crate) fn claim_and_run(
    dir: &Path,
    report: Report,
    signals: OwnedFd,
    ahead: Option<Ahead>,
) -> io::Result<i32> {
    match claim(dir, signals, ahead) {
        Ok(Some(claimed)) => {
            report.tell(STARTED);
            claimed.run(dir)?;
            Ok(STARTED)
        }
        Ok(None) => {
            report.tell(TAKEN);
            Ok(TAKEN)
        }
        Err(error) => {
            let _ = std::fs::write(dir.join(REFUSAL), error.to_string());
            report.tell(REFUSED);
            Ok(REFUSED)
        }
    }
}

/// The right to execute the command, proved by the claim on disk.
struct Claimed {
    spec: Spec,
    /// Name of its control group.
    group: String,
    /// What there is of its surroundings already.
    ahead: Option<Ahead>,
    signals: OwnedFd,
    _lock: Lock,
}

/// Takes up the ways of a shim: what it ignores, who may look into it, whose orphans are its own, what those who kill it are
/// known by all the same. Returns where the signals come that it heeds.
pub(crate) fn settle() -> io::Result<OwnedFd> {
    sys::ignore(&[
        libc::SIGHUP,
        libc::SIGINT,
        libc::SIGQUIT,
        libc::SIGPIPE,
        libc::SIGUSR1,
        libc::SIGUSR2,
        libc::SIGTSTP,
        libc::SIGTTIN,
        libc::SIGTTOU,
    ]);
    let signals = sys::signal_fd(&[libc::SIGTERM, libc::SIGCHLD])?;
    process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    process::set_dumpable_behavior(process::DumpableBehavior::NotDumpable)?;
    process::set_child_subreaper(Some(process::getpid()))?;
    lineage::brand_me()?;
    Ok(signals)
}

/// Locks and claims; none if the command is somebody else's or over. Until this returns nothing may execute.
fn claim(dir: &Path, signals: OwnedFd, ahead: Option<Ahead>) -> io::Result<Option<Claimed>> {
    let Some(lock) = dir::lock(dir)? else {
        return Ok(None);
    };
    if dir::is_taken(dir)? {
        return Ok(None);
    }
    let (text, spec) = dir::open_spec(dir)?;
    spec.check().map_err(io::Error::other)?;
    // What was prepared and does not suit is undone here, before the claim says what there will be. Else the walls are built
    // while the claim is on its way to the disk.
    let ahead = ahead.and_then(|mut ahead| {
        let is_of_use = ahead.suits(&spec) && ahead.order(dir, &spec, &text).is_ok();
        is_of_use.then_some(ahead)
    });
    dir::reserve_exit(dir, &lock)?;
    let me = procs::myself()?;
    let group = match ahead.as_ref().and_then(Ahead::group_name) {
        Some(name) => name.to_owned(),
        // A name that no other command has, of this or any other runtime: two directories may know the same session.
        None => format!(
            "longhaul-{}-{}-{}.{}",
            spec.session, spec.step, me.pid, me.start_time
        ),
    };
    let groups = spec.groups.as_ref().map(|groups| groups.dirs(&group));
    let claim = Claim {
        protocol: PROTOCOL,
        boot_id: procs::boot_id()?,
        pid: me.pid,
        start_time: me.start_time,
        tag: spec.tag(),
        groups: groups.unwrap_or_default(),
    };
    let claimed = dir::place_claim(dir, &claim, &lock)?;
    Ok(claimed.then_some(Claimed {
        spec,
        group,
        ahead,
        signals,
        _lock: lock,
    }))
}

impl Claimed {
    fn run(mut self, dir: &Path) -> io::Result<()> {
        let began = Instant::now();
        let ahead = self.ahead.take();
        let capture = |name| {
            let file = dir::create_output(dir, name)?;
            let mut capture = Capture::new(file, self.spec.head_bytes, self.spec.tail_bytes);
            if self.spec.wall_ms.is_none() {
                capture.read_along(&dir.join(name));
            }
            io::Result::Ok(capture)
        };
        let failed = |step: &str, error: &io::Error| Verdict::SandboxError {
            step: step.to_owned(),
            errno: error.raw_os_error().unwrap_or(libc::EIO),
        };
        let mut ended = match (capture(STDOUT), capture(STDERR)) {
            (Ok(stdout), Ok(stderr)) => self.see_through(dir, began, [stdout, stderr], ahead),
            (Err(error), _) | (_, Err(error)) => End::before_it_began(failed("output_files", &error)),
        };
        let wall_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut records = ended.streams.iter_mut().map(Capture::finish);
        let stdout = records.next().unwrap_or_default();
        let stderr = records.next().unwrap_or_default();
        drop(records);
        let record = self.record(&ended, [stdout, stderr], wall_ms);
        self.write_down(dir, record, &ended.streams)
    }

    /// Runs the command from the making of its control group to the removal of it.
    fn see_through(&self, dir: &Path, began: Instant, streams: [Capture; 2], ahead: Option<Ahead>) -> End {
        let failed = |step: &str, error: &io::Error| Verdict::SandboxError {
            step: step.to_owned(),
            errno: error.raw_os_error().unwrap_or(libc::EIO),
        };
        let spec = &self.spec;
        let (sandbox, made) = ahead.map_or((None, None), Ahead::into_parts);
        let group = spec.groups.as_ref().map(|groups| {
            let mut group = made.map_or_else(|| Group::make(groups, &self.group), Ok)?;
            match group.limit(groups, &self.group, &spec.limits) {
                Ok(()) => Ok(group),
                Err(error) => {
                    group.remove();
                    Err(error)
                }
            }
        });
        let mut group = match group.transpose() {
            Ok(group) => group,
            Err(error) => return End::before_it_began(failed("cgroup", &error)),
        };
        let disk = DiskWatch::new(&spec.limits, &spec.workspace, &[&spec.home, &spec.tmp]);
        let mut ended = match disk {
            Ok(disk) => match launcher::start(spec, dir, group.as_ref(), began, &self.signals, sandbox) {
                Ok(started) => {
                    let bounds = Bounds {
                        group: group.as_ref(),
                        disk,
                    };
                    Watch::new(spec, began, &self.signals, started, streams, bounds).see_through()
                }
                Err(verdict) => End {
                    streams: streams.into(),
                    ..End::before_it_began(verdict)
                },
            },
            Err(error) => End::before_it_began(failed("disk", &error)),
        };
        if let Some(group) = &mut group {
            // Before the record: afterwards nobody would look for it any more.
            let left = group.remove();
            ended.survivors.extend(left);
            ended.survivors.sort_unstable();
            ended.survivors.dedup();
            ended.survivors.truncate(SURVIVORS_LISTED);
        }
        ended
    }

    fn record(&self, ended: &End, streams: [StreamRecord; 2], wall_ms: u64) -> ExitRecord {
        let [stdout, stderr] = streams;
        ExitRecord {
            protocol: PROTOCOL,
            verdict: ended.verdict.clone(),
            isolation: self.spec.isolation(),
            stdout,
            stderr,
            wall_ms,
            usage: ended.usage,
            workspace_synced: true,
            survivors: ended.survivors.clone(),
        }
    }

    /// Puts everything on disk, what the command did before what is said about it.
    ///
    /// After a power loss a finished command must have its workspace writes, hence `syncfs`. Where the command
    /// directory is on the same file system, that one call also covers the outputs and the bytes of the record.
    fn write_down(&self, dir: &Path, mut record: ExitRecord, streams: &[Capture]) -> io::Result<()> {
        let give_up = Instant::now() + RECORD_PATIENCE;
        let workspace = File::open(&self.spec.workspace);
        let same_disk = workspace
            .as_ref()
            .is_ok_and(|ws| matches!((ws.metadata(), dir.metadata()), (Ok(a), Ok(b)) if a.dev() == b.dev()));
        retry(give_up, || dir::write_exit(dir, &record, false))?;
        let synced = workspace.and_then(|ws| {
            if sabotage::is_on("record-before-the-work") {
                return Ok(());
            }
            rustix::fs::syncfs(&ws).map_err(Into::into)
        });
        if !(synced.is_ok() && same_disk) {
            record.workspace_synced = synced.is_ok();
            for stream in streams {
                // An output that cannot be synced is still worth a record of how the command ended.
                let _ = stream.sync();
            }
            retry(give_up, || dir::write_exit(dir, &record, true))?;
        }
        retry(give_up, || dir::publish_exit(dir))
    }
}

/// Tries again for a while what a full disk may refuse.
fn retry(give_up: Instant, mut attempt: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    loop {
        match attempt() {
            Err(error) if error.kind() == io::ErrorKind::StorageFull && Instant::now() < give_up => {
                std::thread::sleep(Duration::from_millis(50));
            }
            done => return done,
        }
    }
}

/// How a command came to its end, before anything is written down.
struct End {
    verdict: Verdict,
    streams: Vec<Capture>,
    usage: Option<Usage>,
    survivors: Vec<u32>,
}

impl End {
    fn before_it_began(verdict: Verdict) -> Self {
        Self {
            verdict,
            streams: Vec::new(),
            usage: None,
            survivors: Vec::new(),
        }
    }
}

/// Why the shim itself ends the command.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    Timeout,
    Silent,
    OutputLimit,
    DiskFull(DiskLimit),
    Canceled,
}

/// What holds a running command to its limits, beside time and output.
struct Bounds<'a> {
    group: Option<&'a Group>,
    disk: Option<DiskWatch>,
}

/// A running command and everything that may end it.
struct Watch<'a> {
    spec: &'a Spec,
    signals: &'a OwnedFd,
    main: Pid,
    /// Of an isolated command: where its init has said how it ended.
    told: Option<OwnedFd>,
    proxy: Option<Proxy>,
    doorkeeper: Option<Doorkeeper>,
    /// Open read ends with what has come through them.
    pipes: [Option<OwnedFd>; 2],
    streams: [Capture; 2],
    buffer: Vec<u8>,
    wall: Option<Instant>,
    /// When it last said something.
    heard: Instant,
    bounds: Bounds<'a>,
    stop: Option<(Stop, Instant)>,
}

impl<'a> Watch<'a> {
    fn new(
        spec: &'a Spec,
        began: Instant,
        signals: &'a OwnedFd,
        started: Started,
        streams: [Capture; 2],
        bounds: Bounds<'a>,
    ) -> Self {
        Self {
            spec,
            signals,
            main: started.pid,
            told: started.told,
            proxy: started.proxy,
            doorkeeper: started.doorkeeper,
            pipes: [Some(started.stdout), Some(started.stderr)],
            streams,
            buffer: vec![0; 64 << 10],
            wall: spec
                .wall_ms
                .filter(|_| !sabotage::is_on("forget-the-time"))
                .and_then(|ms| began.checked_add(Duration::from_millis(ms))),
            heard: Instant::now(),
            bounds,
            stop: None,
        }
    }

    /// Watches until the command is over, kills what is left of it, and says how it ended.
    fn see_through(mut self) -> End {
        let status = self.watch();
        let survivors = self.kill_the_tree();
        self.drain();
        let usage = self.usage();
        let verdict = self.verdict(status, &usage);
        End {
            verdict,
            streams: self.streams.into(),
            usage: Some(usage),
            survivors,
        }
    }

    /// What was used, from the group or, without one, from what was reaped.
    fn usage(&self) -> Usage {
        let (cpu_ms, mem_peak) = sys::usage_of_the_reaped();
        match self.bounds.group.map(Group::usage) {
            Some(usage) if usage.cpu_ms > 0 => usage,
            Some(usage) => Usage { cpu_ms, ..usage },
            None => Usage {
                cpu_ms,
                mem_peak,
                ..Usage::default()
            },
        }
    }

    /// How it ended: what the shim did goes first, then what the kernel counted, then the wait status.
    fn verdict(&self, status: Option<WaitIdStatus>, usage: &Usage) -> Verdict {
        match (self.stop, status) {
            (Some((Stop::Timeout, _)), _) => Verdict::Timeout {
                limit_ms: self.spec.wall_ms.unwrap_or_default(),
                idle: false,
            },
            (Some((Stop::Silent, _)), _) => Verdict::Timeout {
                limit_ms: self.spec.idle_ms.unwrap_or_default(),
                idle: true,
            },
            (Some((Stop::OutputLimit, _)), _) => Verdict::OutputLimit {
                limit_bytes: self.spec.kill_bytes,
            },
            (Some((Stop::DiskFull(limit), _)), _) => Verdict::DiskFull { limit },
            (Some((Stop::Canceled, _)), _) => Verdict::Canceled,
            (None, Some(status)) => self.own_end(&status, usage),
            (None, None) => Verdict::SandboxError {
                step: "wait".to_owned(),
                errno: libc::ECHILD,
            },
        }
    }

    /// How it ended when nobody ended it.
    fn own_end(&self, status: &WaitIdStatus, usage: &Usage) -> Verdict {
        let limits = &self.spec.limits;
        let direct = (status.exit_status(), status.terminating_signal());
        let ended = match (&self.told, direct) {
            (Some(told), (_, signal)) => match (isolate::ended(told), signal) {
                // The kernel or somebody outside killed init, and everything with it.
                (Ended::Untold, Some(signal)) => Ended::Signaled(signal),
                (ended, _) => ended,
            },
            (None, (Some(code), _)) => Ended::Exited(code),
            (None, (None, Some(signal))) => Ended::Signaled(signal),
            (None, (None, None)) => Ended::Untold,
        };
        match ended {
            Ended::Exited(code) => Verdict::Exited { code },
            Ended::Signaled(libc::SIGSYS) if self.told.is_some() => Verdict::SandboxViolation,
            Ended::Signaled(libc::SIGKILL) if usage.oom_kills > 0 && !sabotage::is_on("overlook-the-oom") => {
                Verdict::OomKilled {
                    limit_bytes: limits.memory_bytes,
                }
            }
            Ended::Signaled(libc::SIGXFSZ) if limits.disk_bytes > 0 => Verdict::DiskFull {
                limit: DiskLimit::FileSize,
            },
            Ended::Signaled(signal) => Verdict::Signaled { signal },
            Ended::Untold => Verdict::SandboxError {
                step: "wait".to_owned(),
                errno: libc::ECHILD,
            },
        }
    }

    /// Returns the status of the main process, unreaped, or none when the time to be polite is over.
    fn watch(&mut self) -> Option<WaitIdStatus> {
        loop {
            // The end is looked for before the deadlines: a command that made it in time has made it.
            if let Some(status) = self.main_status() {
                return Some(status);
            }
            let now = Instant::now();
            match self.stop {
                Some((_, killed_at)) if now >= killed_at => return None,
                None if self.wall.is_some_and(|wall| now >= wall) => self.stop_politely(Stop::Timeout, now),
                None if self.silent_at().is_some_and(|silent| now >= silent) => {
                    self.stop_politely(Stop::Silent, now);
                }
                _ => {}
            }
            let total = self.streams[0].total() + self.streams[1].total();
            if total > self.spec.kill_bytes && !sabotage::is_on("let-it-talk-for-ever") {
                // No grace: it would be spent writing more.
                self.stop = self.stop.or(Some((Stop::OutputLimit, now)));
                return None;
            }
            if let Some(limit) = self.bounds.disk.as_mut().and_then(|disk| disk.check(now)) {
                // No grace here either.
                self.stop = self.stop.or(Some((Stop::DiskFull(limit), now)));
                return None;
            }
            let deadline = self.next_look();
            self.sleep_and_read(deadline.map(|deadline| deadline.saturating_duration_since(now)));
            if self.take_signals() && self.stop.is_none() {
                self.stop_politely(Stop::Canceled, Instant::now());
            }
        }
    }

    /// The next moment at which something may be due without anybody making a sound.
    fn next_look(&self) -> Option<Instant> {
        let disk = self.bounds.disk.as_ref().map(DiskWatch::due);
        let of_time = match self.stop {
            Some((_, killed_at)) => [Some(killed_at), None],
            None => [self.wall, self.silent_at()],
        };
        of_time.into_iter().flatten().chain(disk).min()
    }

    fn silent_at(&self) -> Option<Instant> {
        let patience = Duration::from_millis(self.spec.idle_ms?);
        self.heard.checked_add(patience)
    }

    fn main_status(&self) -> Option<WaitIdStatus> {
        // NOWAIT leaves it a zombie: its pid is also its group's id, and stays reserved while the tree is killed.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        process::waitid(WaitId::Pid(self.main), options).ok().flatten()
    }

    /// SIGTERM to all of the tree; SIGKILL is due after the grace.
    fn stop_politely(&mut self, why: Stop, now: Instant) {
        let killed_at = now + Duration::from_millis(self.spec.grace_ms.min(3_600_000));
        self.stop = Some((why, killed_at));
        self.signal_the_tree(Signal::TERM);
    }

    /// Waits for output, a signal or the end of `patience`, and takes the output in.
    fn sleep_and_read(&mut self, patience: Option<Duration>) {
        let ready = {
            let mut fds = vec![PollFd::new(self.signals, PollFlags::IN)];
            let bell = self.doorkeeper.as_ref().map(Doorkeeper::bell);
            let open: Vec<usize> = (0..2).filter(|i| self.pipes[*i].is_some()).collect();
            fds.extend(
                self.pipes
                    .iter()
                    .flatten()
                    .map(|pipe| PollFd::new(pipe, PollFlags::IN)),
            );
            let pipes_end = fds.len();
            fds.extend(bell.as_ref().map(|bell| PollFd::new(bell, PollFlags::IN)));
            // Interrupted or failed: the caller looks at everything anyway.
            let _ = poll(&mut fds, patience.map(timespec).as_ref());
            let ready = |(i, fd): (usize, &PollFd<'_>)| is_ready(fd).then_some(i);
            if let Some(doorkeeper) = self
                .doorkeeper
                .as_ref()
                .filter(|_| fds[pipes_end..].iter().any(is_ready))
            {
                doorkeeper.answer();
            }
            open.into_iter()
                .zip(&fds[1..pipes_end])
                .filter_map(ready)
                .collect::<Vec<usize>>()
        };
        for index in ready {
            self.read_once(index);
        }
    }

    fn read_once(&mut self, index: usize) {
        let Some(pipe) = &self.pipes[index] else { return };
        match rustix::io::read(pipe.as_fd(), &mut self.buffer[..]) {
            Ok(0) => self.pipes[index] = None,
            Ok(n) => {
                self.heard = Instant::now();
                self.streams[index].push(&self.buffer[..n]);
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            Err(_) => self.pipes[index] = None,
        }
    }

    /// Reads what signals have come and reaps orphans; true if somebody asked to cancel.
    fn take_signals(&mut self) -> bool {
        let canceled = says_term(self.signals);
        self.reap_orphans();
        canceled
    }

    /// Reaps the dead that fell to the shim as their nearest reaper, but never the main process.
    fn reap_orphans(&self) -> Children {
        loop {
            match sys::peek_dead_child() {
                Ok(Children::Dead(pid)) if pid != raw(self.main) => reap(pid),
                Ok(children) => return children,
                Err(_) => return Children::Alive,
            }
        }
    }

    fn signal_the_tree(&self, signal: Signal) {
        // The group first, in one call, so that a fork bomb cannot outrun it. Safe: its leader is not yet reaped.
        let _ = process::kill_process_group(self.main, signal);
        let Ok(all) = procs::all() else { return };
        for process in procs::descendants(std::process::id(), &all)
            .iter()
            .filter(|p| !p.is_dead())
        {
            if process.pid != raw(self.main) {
                let _ = procs::signal(process, signal);
            }
        }
    }

    /// Kills until no descendant is left; returns those that would not die.
    ///
    /// Whoever leaves the group or the session, or loses its parent, still descends from the shim, its reaper.
    fn kill_the_tree(&mut self) -> Vec<u32> {
        let give_up = Instant::now() + KILL_PATIENCE;
        if let Some(proxy) = self.proxy.take() {
            // It has written down whatever it denied before the command heard of it.
            proxy.end();
        }
        let _ = process::kill_process_group(self.main, Signal::KILL);
        if let Some(group) = self.bounds.group {
            group.kill();
        }
        if self.main_status().is_some() {
            // The usual end: reaping the main process leaves no child at all, and there is nothing to search for.
            reap(raw(self.main));
            if self.reap_orphans() == Children::None {
                return Vec::new();
            }
        }
        let mut pause = Duration::from_millis(1);
        loop {
            let family = procs::all()
                .map(|all| procs::descendants(std::process::id(), &all))
                .unwrap_or_default();
            for process in family.iter().filter(|p| !p.is_dead()) {
                let _ = procs::signal(process, Signal::KILL);
            }
            // From here on the main process may be reaped like any other: nothing is sent to its group any more.
            while let Ok(Children::Dead(pid)) = sys::peek_dead_child() {
                reap(pid);
            }
            if matches!(sys::peek_dead_child(), Ok(Children::None)) {
                return Vec::new();
            }
            if Instant::now() >= give_up {
                let alive = family.iter().filter(|p| !p.is_dead()).map(|p| p.pid);
                return alive.take(SURVIVORS_LISTED).collect();
            }
            let mut fds = [PollFd::new(self.signals, PollFlags::IN)];
            let _ = poll(&mut fds, Some(&timespec(pause)));
            let mut info = [0_u8; 128];
            while let Ok(128) = rustix::io::read(self.signals, &mut info) {}
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    /// Takes in what is still in the pipes. All writers are dead, unless one gave its end away to a stranger.
    fn drain(&mut self) {
        let give_up = Instant::now() + DRAIN;
        let limit = self.streams[0].total() + self.streams[1].total() + (4 << 20);
        while self.pipes.iter().any(Option::is_some) {
            let left = give_up.saturating_duration_since(Instant::now());
            if left.is_zero() || self.streams[0].total() + self.streams[1].total() > limit {
                return;
            }
            self.sleep_and_read(Some(left));
            let mut info = [0_u8; 128];
            while let Ok(128) = rustix::io::read(self.signals, &mut info) {}
        }
    }
}

fn is_ready(fd: &PollFd<'_>) -> bool {
    !fd.revents().is_empty()
}

fn raw(pid: Pid) -> u32 {
    pid.as_raw_nonzero().get().unsigned_abs()
}

fn reap(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
    }
}
