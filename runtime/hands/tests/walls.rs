//! What isolated commands can do, and cannot.
#![allow(clippy::unwrap_used, reason = "a helper fails its test by panicking")]

mod common;

use common::{Rig, exited, run, text};
use longhaul_hands::Isolation;

#[test]
fn an_isolated_command_runs_and_keeps_what_it_writes() {
    let rig = Rig::new();
    let (record, output) = run(&rig.walled(rig.shell(
        "id -u; id -g; pwd; echo $HOME $TMPDIR; ls /; echo hi > made; cat /proc/self/cgroup; cat /proc/self/mounts; ls -la /proc /dev /etc; ip a; hostname; exit 7",
    )));
    println!("{}\n{}", text(&output.stdout.head), text(&output.stderr.head));
    assert_eq!(record.verdict, exited(7), "{}", text(&output.stderr.head));
    assert_eq!(record.isolation, Isolation::Isolated);
    assert_eq!(rig.file("made"), "hi\n");
}
