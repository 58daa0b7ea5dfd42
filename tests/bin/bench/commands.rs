//! What a durable command costs beside a bare one: without walls, behind them, and held to limits by a control group, each
//! from a pool of its own as a runtime has one; and the last of them where no shim is ready.
//!
//! The yardstick is a bare spawn and the syncs that a durable command cannot do without, in turns with it: its folder, its
//! wish, its claim with the folder it stands in, the file system once it has ended, and the name of its record.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use longhaul_hands::{
    CommandLine, Groups, Limits, Pool, Spec, State, Verdict, Walls, launch, own_exe, probe_groups,
    session_uid, wait,
};

use crate::plan::{Failure, Plan};
use crate::row::Row;

/// What is measured in turns.
const KINDS: [&str; 6] = [
    "bare_us",
    "syncs_us",
    "process_us",
    "isolated_us",
    "limited_us",
    "cold_us",
];

pub(crate) fn run(plan: &Plan) -> Result<(), Failure> {
    let commands = plan.count.unwrap_or(100).max(1);
    let place = Place::new(plan.folder())?;
    let groups = probe_groups()
        .map_err(|lacks| eprintln!("note: no control group: {lacks}"))
        .ok();
    let mut taken: [Vec<Duration>; KINDS.len()] = Default::default();
    // What the walls alone cost: the same command with and without them, one right after the other.
    let mut walls = Vec::new();
    for number in 0..commands {
        let times = [
            timed(bare)?,
            timed(|| syncs(&place.workspace, &place.root.join(format!("yardstick-{number}"))))?,
            place.command("process", number, None, None)?,
            place.command("isolated", number, Some(place.walls.clone()), None)?,
            place.command("limited", number, Some(place.walls.clone()), groups.clone())?,
            place.command("cold", number, Some(place.walls.clone()), groups.clone())?,
        ];
        let [.., process, isolated, _, _] = times;
        walls.push(microseconds(isolated) - microseconds(process));
        for (all, time) in taken.iter_mut().zip(times) {
            all.push(time);
        }
    }
    let mut row = Row::new(plan).with("commands", commands);
    let mut p50 = Vec::new();
    for (kind, times) in KINDS.into_iter().zip(&mut taken) {
        times.sort_unstable();
        let middle = microseconds(times[times.len() / 2]);
        row = row.number(kind, middle, 0);
        p50.push(middle);
    }
    walls.sort_unstable_by(f64::total_cmp);
    let [bare, syncs, _, isolated, limited, cold] = p50[..] else {
        return Err("every kind has been measured".into());
    };
    let worst = &taken[KINDS.len() - 2];
    let p99 = worst[(worst.len() * 99 / 100).min(worst.len() - 1)];
    row.number("walls_us", walls[walls.len() / 2], 0)
        .number("limited_p99_us", microseconds(p99), 0)
        .number("isolated_ratio", isolated / (bare + syncs), 2)
        .number("cold_ratio", cold / (bare + syncs), 2)
        .number("ratio", limited / (bare + syncs), 2)
        .with("groups", groups.map_or("none", |groups| groups.by().as_str()))
        .print(plan);
    Ok(())
}

fn microseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn timed(work: impl FnOnce() -> Result<(), Failure>) -> Result<Duration, Failure> {
    let begun = Instant::now();
    work()?;
    Ok(begun.elapsed())
}

fn bare() -> Result<(), Failure> {
    let status = Command::new("true").env_clear().status()?;
    if status.success() {
        Ok(())
    } else {
        Err("true is not true".into())
    }
}

/// The syncs of one durable command.
fn syncs(workspace: &Path, folder: &Path) -> Result<(), Failure> {
    let sync_folder = |folder: &Path| File::open(folder)?.sync_all();
    fs::create_dir(folder)?;
    sync_folder(folder.parent().ok_or("it lies in a folder")?)?;
    for name in ["wish", "claim"] {
        let path = folder.join(name);
        fs::write(&path, [b' '; 512])?;
        File::open(path)?.sync_all()?;
    }
    sync_folder(folder)?;
    fs::write(folder.join("record"), [b' '; 8 << 10])?;
    rustix::fs::syncfs(File::open(workspace)?)?;
    fs::rename(folder.join("record"), folder.join("exit"))?;
    sync_folder(folder)?;
    Ok(())
}

struct Place {
    root: PathBuf,
    pools: BTreeMap<&'static str, Pool>,
    workspace: PathBuf,
    walls: Walls,
}

impl Place {
    fn new(root: &Path) -> Result<Self, Failure> {
        let workspace = root.join("workspace");
        fs::create_dir(&workspace)?;
        let mut walls = Walls::default();
        if rustix::process::geteuid().is_root() {
            let map = fs::read_to_string("/proc/self/uid_map")?;
            walls.host_uid = session_uid("bench", &map);
            std::os::unix::fs::lchown(&workspace, walls.host_uid, walls.host_uid)?;
        }
        let pool = |kind| (kind, Pool::new(own_exe(), root.to_owned()));
        Ok(Self {
            root: root.to_owned(),
            pools: ["process", "isolated", "limited"].into_iter().map(pool).collect(),
            workspace,
            walls,
        })
    }

    /// From the wish to the record, for whoever waits.
    fn command(
        &self,
        kind: &str,
        number: u64,
        walls: Option<Walls>,
        groups: Option<Groups>,
    ) -> Result<Duration, Failure> {
        let command = CommandLine::Argv {
            argv: vec!["true".into()],
        };
        // A home for each kind: behind walls it belongs to another user.
        let private = self.root.join(kind);
        let mut spec = Spec::new("bench", number, command, &self.workspace, &private);
        fs::create_dir_all(&private)?;
        (spec.walls, spec.groups, spec.limits) = (walls, groups, Limits::default());
        let dir = self.root.join(format!("{kind}-{number}"));
        let begun = Instant::now();
        match self.pools.get(kind) {
            Some(pool) => pool.launch(&dir, &spec)?,
            None => launch(&own_exe(), &dir, &spec)?,
        };
        let state = wait(&dir, None, None)?;
        let took = begun.elapsed();
        match state {
            State::Exited(record) if record.verdict == (Verdict::Exited { code: 0 }) => Ok(took),
            other => Err(format!("{kind}: {other:?}").into()),
        }
    }
}
