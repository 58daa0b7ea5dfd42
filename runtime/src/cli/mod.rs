//! The command line.
//!
//! It keeps these manners: data goes to stdout and everything else to stderr; `--json` gives one object per line
//! wherever something is read, problems included; a closed pipe is fine; meaning stands without colour; ids stand free
//! of punctuation; what destroys asks first, and `--yes` answers; exit codes are those of [`crate::api::Code`].
//!
//! A verb speaks to the sessions through [`crate::Control`] and cannot tell who answers: whoever serves the directory,
//! a runtime of its own, or, for a verb that only reads, the files themselves (see `reach`). Signals are handled here
//! and nowhere else in longhaul.

mod args;
mod joints;
mod reach;
mod render;
mod ui;

mod approvals;
mod artifacts;
mod attend;
mod completions;
mod credits;
mod demo;
mod doctor;
mod fold;
mod guests;
mod journal;
mod limits;
mod moving;
mod patch;
mod policy;
mod replay;
mod room;
mod run;
mod serve;
mod sessions;
mod settings;
mod shelf;
mod tail;
mod tasks;
mod tokens;
mod wishes;

use std::process::ExitCode;

use longhaul_actors::session::ResourcesWish;

use crate::api::{Code, Problem};
use crate::sandbox::SandboxOptions;
use args::{AutonomousVerb, Cli, Verb};
use reach::Place;
use ui::{Failure, Ui};

/// What a verb comes to: an exit code, or why there is none.
type Outcome = Result<u8, Failure>;

pub use guests::Guest;

/// Runs the command line of this process and says with what it exits.
pub fn main() -> ExitCode {
    main_with(&[])
}

/// As [`main`], for a program that brings entities of its own: their streams are replayed and checked with its rules
/// (B-EMBED-3).
///
/// ```no_run
/// # use longhaul::actors::session::Session as Counter;
/// fn main() -> std::process::ExitCode {
///     longhaul::intercept();
///     longhaul::cli::main_with(&[longhaul::cli::Guest::of::<Counter>()])
/// }
/// ```
pub fn main_with(guests: &[Guest]) -> ExitCode {
    let cli = match args::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(code) => return ExitCode::from(code),
    };
    let ui = Ui::of_process(cli.json);
    log_to_stderr(&ui);
    let outcome = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(threads) => threads.block_on(perform(cli, guests, &ui)),
        Err(error) => Err(Problem::new(Code::Internal, format!("cannot start threads: {error}")).into()),
    };
    ExitCode::from(match outcome {
        Ok(code) => code,
        // Whoever read our output has seen enough.
        Err(Failure::PipeClosed) => 0,
        Err(Failure::Problem(problem)) => ui.problem(&problem),
    })
}

async fn perform(cli: Cli, guests: &[Guest], ui: &Ui) -> Outcome {
    if let Verb::Completions(args) = cli.verb {
        return completions::completions(args, ui);
    }
    let mut place = Place::find(cli.data, cli.policy)?;
    match &cli.verb {
        Verb::Run(args) => place.hold(args.limiting.options(&args.walls), ResourcesWish::default()),
        Verb::Autonomous(args) => match &args.verb {
            AutonomousVerb::Run(args) => {
                place.hold(args.limiting.options(&args.walls), ResourcesWish::default())
            }
        },
        Verb::Attach(args) => place.hold(args.limiting.options(&args.walls), ResourcesWish::default()),
        Verb::Serve(args) => place.hold(args.limiting.options(&args.walls), args.resources.wish()),
        _ => {}
    }
    place.wall_in(match &cli.verb {
        Verb::Run(args) => args.walls.options(),
        Verb::Autonomous(args) => match &args.verb {
            AutonomousVerb::Run(args) => args.walls.options(),
        },
        Verb::Attach(args) => args.walls.options(),
        Verb::Serve(args) => {
            let mut walls = args.walls.options();
            walls.allow_process = args.allow_process_sandbox;
            walls
        }
        _ => SandboxOptions::default(),
    });
    match cli.verb {
        Verb::Run(args) => run::run(*args, &place, ui).await,
        Verb::Autonomous(autonomous) => match autonomous.verb {
            AutonomousVerb::Run(args) => run::run(*args, &place, ui).await,
        },
        Verb::Attach(args) => attend::attach(args, &place, ui).await,
        Verb::Serve(args) => serve::serve(args, &place, ui).await,
        Verb::Ls(args) => sessions::ls(args, &place, ui).await,
        Verb::Show(args) => sessions::show(args, &place, ui).await,
        Verb::Tail(args) => tail::tail(args, &place, ui).await,
        Verb::Patch(args) => patch::patch(args, &place, ui).await,
        Verb::Send(args) => wishes::send(args, &place, ui).await,
        Verb::Pause(args) => wishes::pause(args, &place, ui).await,
        Verb::Credits(args) => credits::credits(args.verb, &place, ui).await,
        Verb::Billing(args) => credits::billing(args.verb, &place, ui).await,
        Verb::Resume(args) => wishes::resume(args, &place, ui).await,
        Verb::Cancel(args) => wishes::cancel(args, &place, ui).await,
        Verb::Archive(args) => wishes::archive(args, &place, ui).await,
        Verb::Fork(args) => wishes::fork(args, &place, ui).await,
        Verb::Checkpoint(args) => wishes::checkpoint(args, &place, ui).await,
        Verb::Approvals(approvals) => approvals::approvals(approvals.verb, &place, ui).await,
        Verb::Token(token) => tokens::token(token.verb, &place, ui).await,
        Verb::Artifacts(artifacts) => artifacts::artifacts(artifacts.verb, &place, ui).await,
        Verb::SuggestedWork(suggested) => tasks::suggested_work(suggested.verb, &place, ui).await,
        Verb::Tasks(tasks) => tasks::tasks(tasks.verb, &place, ui).await,
        Verb::Du(args) => room::du(&args, &place, ui),
        Verb::Rm(args) => room::rm(args, &place, ui).await,
        Verb::Gc(args) => room::gc(args, &place, ui).await,
        Verb::Export(args) => moving::export(&args, &place, ui),
        Verb::Import(args) => moving::import(&args, &place, ui).await,
        Verb::Adopt(args) => moving::adopt(args, &place, ui).await,
        Verb::Backup(args) => moving::backup(&args, &place, ui),
        Verb::Replay(args) => replay::replay(&args, guests, &place, ui),
        Verb::Journal(args) => journal::journal(args, &place, ui).await,
        Verb::Policy(args) => policy::policy(args, &place, ui),
        Verb::Doctor(args) => doctor::doctor(args, &place, ui).await,
        Verb::Demo(args) => demo::demo(args, &place, ui).await,
        Verb::Completions(_) => unreachable!("answered before a place was looked for"),
    }
}

/// Log lines of the program itself go to stderr; `LONGHAUL_LOG` chooses which (`debug`, `longhaul=debug,warn`).
fn log_to_stderr(ui: &Ui) {
    let filter = tracing_subscriber::EnvFilter::builder()
        .with_default_directive(tracing::level_filters::LevelFilter::WARN.into())
        .with_env_var("LONGHAUL_LOG")
        .from_env_lossy();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(ui.colours_stderr());
    // Somebody who installed a subscriber before calling us wants that one.
    let _ = subscriber.try_init();
}
