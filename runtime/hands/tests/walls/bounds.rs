//! The shim and its sandbox live and die together (C1, C2).

use crate::common::{Rig, kill_9, shims_of, start, until};

/// C2: from the first instant on, whoever kills the shim kills the sandbox.
#[test]
fn a_killed_shim_takes_its_sandbox_with_it() {
    let Some(rig) = Rig::isolated() else { return };
    let (dir, mut spec) =
        rig.shell("echo up > up; env -i setsid sh -c 'exec sleep 31536028' & sleep 31536029");
    spec.wall_ms = None;
    start(&dir, &spec);
    until("it is up", || rig.ws().join("up").exists());
    let shims = shims_of(&dir);
    assert!(!shims.is_empty());
    shims.into_iter().for_each(kill_9);
    until("nothing of it is left", || {
        let alive = |pid: std::fs::DirEntry| {
            let command = std::fs::read(pid.path().join("cmdline")).unwrap_or_default();
            command.windows(7).any(|word| word == b"3153602")
                && command.starts_with(b"sleep\0")
                && [&b"31536028"[..], b"31536029"]
                    .iter()
                    .any(|word| command.windows(8).any(|w| w == *word))
        };
        !std::fs::read_dir("/proc").unwrap().flatten().any(alive)
    });
}
