//! The shim and its sandbox live and die together (C1, C2).

use crate::common::{Rig, kill_9, long, shims_of, sleepers, start, until};

/// C2: from the first instant on, whoever kills the shim kills the sandbox.
#[test]
fn a_killed_shim_takes_its_sandbox_with_it() {
    let Some(rig) = Rig::isolated() else { return };
    let times = [long(31_536_028), long(31_536_029)];
    let (dir, mut spec) = rig.shell(&format!(
        "env -i setsid sh -c 'echo up > up; exec sleep {}' & exec sleep {}",
        times[0], times[1]
    ));
    spec.wall_ms = None;
    start(&dir, &spec);
    until("it is up", || {
        rig.ws().join("up").exists() && times.iter().all(|time| !sleepers(time).is_empty())
    });
    let shims = shims_of(&dir);
    assert!(!shims.is_empty());
    shims.into_iter().for_each(kill_9);
    until("nothing of it is left", || {
        times.iter().all(|time| sleepers(time).is_empty())
    });
}
