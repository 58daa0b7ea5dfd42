//! Measures what `docs/performance.md` promises, one row per line.
//!
//! `bench NAME [--json] [--dir DIR] [--seconds S] [--count N] [--rounds R]`; `bench list` names the benches.
//!
//! A rate is judged by its ratio to a yardstick that runs in turns with it, since a disk's absolute speed means nothing
//! elsewhere. Data lies under `--dir` (the system's folder for temporary files unless told), and is removed afterwards.

mod actors;
mod append;
mod commands;
mod fold;
mod gate;
mod kit;
mod load;
mod open;
mod plan;
mod row;
mod sleepers;
mod virtually;
mod yardstick;

use std::process::ExitCode;

use crate::plan::{Failure, Plan};

/// One bench: its name, what it shows, and what runs it.
struct Bench {
    name: &'static str,
    shows: &'static str,
    run: fn(&Plan) -> Result<(), Failure>,
}

const BENCHES: &[Bench] = &[
    Bench {
        name: "append",
        shows: "durable appends of 256 bytes with 1, 8, 64 and 512 waiting, beside one zero-filled file",
        run: append::few_streams,
    },
    Bench {
        name: "append-streams",
        shows: "the same over 100,000 streams with 64 waiting; memory, and the time to close",
        run: append::many_streams,
    },
    Bench {
        name: "decide",
        shows: "decisions of one stream through its actor, 64 callers, each answered when durable",
        run: actors::decide,
    },
    Bench {
        name: "steps",
        shows: "no-op steps of 64 real sessions, start and outcome durable, beside half the append rate",
        run: actors::steps,
    },
    Bench {
        name: "command",
        shows: "a durable command without walls, isolated, and held to limits, beside a bare spawn and its syncs",
        run: commands::run,
    },
    Bench {
        name: "steps-charged",
        shows: "the same, each step with a hold on one account that all of them share",
        run: actors::steps_charged,
    },
    Bench {
        name: "credits",
        shows: "pairs of hold and settlement on one account, 64 sessions asking, each answered when durable",
        run: actors::credits,
    },
    Bench {
        name: "size",
        shows: "bytes on disk per byte of events, at one and at four records a frame, catalogue included",
        run: open::size,
    },
    Bench {
        name: "open",
        shows: "opening after kill -9 in the middle of writing 5,000,000 records, and memory then",
        run: open::open,
    },
    Bench {
        name: "fold",
        shows: "records folded per second from a long stream; waking sessions of 1,000 records, cold and from snapshots",
        run: fold::run,
    },
    Bench {
        name: "resume",
        shows: "1,000 sessions at work, killed with -9: until all of them are at work again",
        run: sleepers::resume,
    },
    Bench {
        name: "sleepers",
        shows: "sessions made through `start` and left to sleep, killed with -9: boot, memory, steering 1,000 of them",
        run: sleepers::sleepers,
    },
    Bench {
        name: "gate",
        shows: "what the gate takes to decide about a command line",
        run: gate::run,
    },
    Bench {
        name: "idle-actor",
        shows: "memory of one live session that has nothing to do",
        run: sleepers::idle_actor,
    },
];

fn main() -> ExitCode {
    // The commands of a bench run under this program.
    longhaul_hands::main_if_shim();
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let Some(("child", rest)) = words.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        return told(kit::child(rest));
    }
    let Some((name, flags)) = words.split_first() else {
        eprintln!(
            "usage: bench NAME [--json] [--dir DIR] [--seconds S] [--count N] [--rounds R]; `bench list` names them"
        );
        return ExitCode::from(2);
    };
    if name == "list" {
        for bench in BENCHES {
            println!("{:15} {}", bench.name, bench.shows);
        }
        return ExitCode::SUCCESS;
    }
    let Some(bench) = BENCHES.iter().find(|bench| bench.name == name) else {
        eprintln!("error: there is no bench {name}\nhint: `bench list` names them");
        return ExitCode::from(2);
    };
    told(Plan::new(bench.name, flags).and_then(|plan| (bench.run)(&plan)))
}

fn told(done: Result<(), Failure>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
