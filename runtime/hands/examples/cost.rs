//! What durability costs: a durable command against a bare spawn and the same number of syncs, in one run.
#![allow(
    clippy::unwrap_used,
    reason = "a measurement that cannot be taken should stop"
)]

use std::path::Path;
use std::time::{Duration, Instant};

use longhaul_hands::{CommandLine, Spec, State, launch, main_if_shim, own_exe, wait};

const RUNS: u32 = 200;
/// Files and folders a durable command makes durable: spec, its folder's name, claim, folder, workspace, folder.
const SYNCS: usize = 6;

fn main() {
    main_if_shim();
    let folder = std::env::temp_dir().join(format!("longhaul-cost-{}", std::process::id()));
    let ws = folder.join("ws");
    std::fs::create_dir_all(&ws).unwrap();
    let (mut durable, mut bare) = (Vec::new(), Vec::new());
    for run in 0..RUNS {
        durable.push(timed(|| durable_command(&folder, &ws, u64::from(run))));
        bare.push(timed(|| bare_command(&folder, run)));
    }
    std::fs::remove_dir_all(&folder).unwrap();
    let (durable, bare) = (median(durable), median(bare));
    println!("durable command p50 {durable:?}, bare spawn and {SYNCS} syncs p50 {bare:?}");
    println!("ratio {:.2}", durable.as_secs_f64() / bare.as_secs_f64());
}

fn durable_command(folder: &Path, ws: &Path, run: u64) {
    let dir = folder.join(format!("step-{run}"));
    let command = CommandLine::Argv {
        argv: vec!["true".to_owned()],
    };
    launch(&own_exe(), &dir, &Spec::new("cost", run, command, ws, folder)).unwrap();
    assert!(matches!(wait(&dir, None, None).unwrap(), State::Exited(_)));
}

fn bare_command(folder: &Path, run: u32) {
    for sync in 0..SYNCS {
        let file = std::fs::File::create(folder.join(format!("bare-{run}-{sync}"))).unwrap();
        std::io::Write::write_all(&mut &file, b"some bytes").unwrap();
        file.sync_all().unwrap();
    }
    assert!(std::process::Command::new("true").status().unwrap().success());
}

fn timed(work: impl FnOnce()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
