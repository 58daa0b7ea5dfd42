//! What may be typed.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use longhaul_actors::session::{Sandbox, SendMode};
use longhaul_journal::Level;

use super::artifacts::Artifacts;
use super::demo;
use super::limits::{LimitingArgs, ResourceArgs};
use super::tasks::{SuggestedWork, Tasks};
use super::tokens::{AFTER_TOKEN, Token};
use super::ui::Ui;
use crate::api::{Code, Problem};
use crate::sandbox::{ProcMount, SandboxOptions};

/// Durable agent sessions: every step is on disk before it counts, so a session survives crashes, is watched and
/// steered while it runs, and can be replayed.
#[derive(Debug, Parser)]
#[command(name = "longhaul", version, after_help = AFTER_HELP, disable_help_subcommand = true, max_term_width = 100)]
pub(super) struct Cli {
    /// The data directory [default: $XDG_DATA_HOME/longhaul or ~/.local/share/longhaul]
    #[arg(
        long,
        value_name = "DIR",
        env = "LONGHAUL_DATA",
        hide_env_values = true,
        global = true,
        help_heading = EVERYWHERE
    )]
    pub(super) data: Option<PathBuf>,

    /// The policy file by which acts are judged here [default: policy.toml in the data directory, if it is there]
    #[arg(
        long,
        value_name = "FILE",
        env = "LONGHAUL_POLICY",
        hide_env_values = true,
        global = true,
        help_heading = EVERYWHERE
    )]
    pub(super) policy: Option<PathBuf>,

    /// One JSON object per line instead of text, problems too
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    pub(super) json: bool,

    #[command(subcommand)]
    pub(super) verb: Verb,
}

/// Over the options that every verb takes.
const EVERYWHERE: &str = "Everywhere";

const AFTER_HELP: &str = "\
An ID is what `longhaul ls` shows, an unambiguous beginning of it, or the session's key.

Exit codes:
  0  ok                     5  try again later
  1  failed                 6  out of credits or budget
  2  wrong usage            7  waits for a human
  3  not authorised         8  damaged journal
  4  conflict             130  interrupted

Environment: LONGHAUL_DATA (data directory), LONGHAUL_POLICY (policy file), LONGHAUL_LOG (log filter, default warn), \
LONGHAUL_URL (where runUrl begins, default http://localhost), LONGHAUL_UNTIL_DONE_HOURS (active time of a run until-done, \
default 24), LONGHAUL_APPROVAL_HOURS (after which a request for approval counts as denied, default never), \
LONGHAUL_SANDBOX (as --sandbox), LONGHAUL_SANDBOX_READ_ONLY (as --sandbox-read-only, separated by colons), \
LONGHAUL_TOKEN (a client token that is shown to whoever serves), LONGHAUL_CREDITS_INITIAL (what a new account is granted, default 5.00), LONGHAUL_MAX_ACTIVE (sessions at work at the same \
time, default 5), NO_COLOR.";

const AFTER_RUN: &str = "\
Examples:
  longhaul run --brain playbook:fix.toml \"make the failing test pass\"
  longhaul run --brain 'process:./agent.py --careful' --key nightly \"tidy the changelog\"
  longhaul run --brain process:./agent.py --duration 3h --json \"port the parser\"

Inside a git repository the session works on a clone of HEAD with the uncommitted changes on top, so your own files stay \
as they are; `longhaul patch ID` prints what it changed. Elsewhere it works in an empty folder. While nobody serves the \
directory, this command does the work itself.

A run with a duration ends when its goal is reached or its time is spent, and hands in what it has by then. With --json it \
prints one object, {ok, runId, status, runUrl}, as soon as the run is on disk; while somebody serves the directory it then \
returns.

Ctrl-C once detaches, twice cancels. The exit code tells how the session came to rest: 0 completed, 1 failed or \
canceled, 6 out of credits or budget, 7 it waits for a human.";

const AFTER_FORK: &str = "\
The new session has the records of the other one up to SEQ, and its files as they were then; it is a session of its own from \
there on, and needs the other one no more. An act that was under way at SEQ counts as unknown and is not done again; nothing \
that was done before is repeated. Files are kept at the end of each turn and by `longhaul checkpoint ID`; where they are not, \
the seqs that can be forked are named.

Examples:
  longhaul fork ID --at 17
  longhaul fork ID --at 17 --say \"do it without the new dependency\"; longhaul attach NEW";

const AFTER_APPROVALS: &str = "\
An approval covers exactly the act that is shown, once: its arguments, folder, environment, standard input, and what stands \
in the scripts it runs. Where any of that changes, it is asked for again. Every decision needs grounds, which are kept. \
A process that acts for an agent cannot decide (self_approval).";

const AFTER_TASKS: &str = "\
An ID is what `longhaul tasks ls` shows, an unambiguous beginning of it, or the task's key. `longhaul run --task ID --brain \
KIND:NAME` lets an agent work on a task; the task then follows its run: it waits for an approval with it, is completed when the \
run reaches its goal, and is open again when it does not.";

const AFTER_ADOPT: &str = "\
Adopt a session only where it is to live from now on: nobody can see from here whether another copy still runs. What was \
under way when the copy was made counts as unknown and is not done again; its workspace is made anew.";

const AFTER_BACKUP: &str = "\
DIR must not exist; it becomes a data directory of its own, with the log and the bodies that were on disk when the backup \
began. Not in it: workspaces and evidence of steps, and what is made anew (catalogue, snapshots). Every session in it is \
only read until it is adopted: longhaul --data DIR adopt ID";

const AFTER_REPAIR: &str = "\
History is not edited: `journal.gap` is appended behind everything that was ever numbered, and says what is lost. Whatever \
may have been done in the gap counts as unknown and is not done again. The session is paused (damaged); `longhaul resume ID` \
lets it go on once you have looked.

`longhaul journal repair account` takes up the credit account: what was held before the gap is charged in full, and what was \
granted or charged within it is as if it had never been. Repeat those top-ups, under their request ids.

A task (t_...) goes on from where it stood before the gap. The tokens of a session, named by `longhaul journal verify`, are all void afterwards: mint others.";

const AFTER_POLICY: &str = "\
Examples:
  longhaul policy check -- git push origin main
  longhaul policy check --command 'cd lib && npm publish | tee log'
  longhaul policy check --tool GITHUB_CREATE_RELEASE --args '{\"tag\": \"v1\"}'
  longhaul policy goal \"Tidy the docs. Do not deploy.\"

Rules of your own stand in policy.toml in the data directory, in the form that `longhaul policy show` prints. Nothing is \
run: scripts that a command names are read from the current directory, which counts as the workspace.";

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Start a session towards a goal, and watch it
    #[command(after_help = AFTER_RUN)]
    Run(Box<Run>),
    /// Runs that need nobody to watch them
    Autonomous(Autonomous),
    /// Watch a session, and work for it while nobody serves
    Attach(Attach),
    /// Work for all sessions, and answer on a socket
    Serve(Serve),
    /// List the sessions
    Ls(Ls),
    /// Show one session
    Show(Which),
    /// Print the log of a session
    Tail(Tail),
    /// Print the patch a session made
    Patch(Which),
    /// Say something to a session
    Send(Send),
    /// Let a session rest until it is resumed
    Pause(Pause),
    /// Let a paused session go on
    Resume(Resume),
    /// End a session for good
    Cancel(Cancel),
    /// Make a session that has ended read-only
    Archive(Which),
    /// Begin a session as another one was at some seq
    #[command(after_help = AFTER_FORK)]
    Fork(Fork),
    /// Keep the files of a session as they are, to fork it from here later
    Checkpoint(Which),
    /// Show and top up the credit that work is paid with
    Credits(CreditsArgs),
    /// Show where the account stands
    Billing(BillingArgs),
    /// Decide what agents may do that is not theirs to decide
    #[command(after_help = AFTER_APPROVALS)]
    Approvals(Approvals),
    /// Let somebody else look at one session, steer it, or decide for it
    #[command(after_help = AFTER_TOKEN)]
    Token(Token),
    /// Show and fetch what sessions leave behind
    Artifacts(Artifacts),
    /// List what agents suggest to do next, and say what becomes of it
    SuggestedWork(SuggestedWork),
    /// List and change what is to be done
    #[command(after_help = AFTER_TASKS)]
    Tasks(Tasks),
    /// Write a session to one file, for another place
    Export(Export),
    /// Take in a session from a file; it is only read here until it is adopted
    Import(Import),
    /// Take on a session that was imported or restored
    #[command(after_help = AFTER_ADOPT)]
    Adopt(Which),
    /// Copy the whole journal, also while it is in use
    #[command(after_help = AFTER_BACKUP)]
    Backup(Backup),
    /// Show what takes room
    Du(Du),
    /// Remove the files of a session that has ended, or the session itself
    Rm(Rm),
    /// Free what no record names any more, and the logs of removed sessions
    Gc(Gc),
    /// Compute the state of a session from its log
    Replay(Replay),
    /// Look at the journal itself, whether or not it is in use
    Journal(Journal),
    /// Ask what the gate says about an act or a goal
    #[command(after_help = AFTER_POLICY)]
    Policy(Policy),
    /// Check whether everything longhaul needs is there
    Doctor(Doctor),
    /// Tell the whole story with real processes, in well under a minute
    Demo(demo::Demo),
    /// Print completions for a shell
    Completions(Completions),
}

/// Reads the command line; on help, version or wrong usage says so, and returns the exit code.
pub(super) fn parse(argv: impl IntoIterator<Item = OsString>) -> Result<Cli, u8> {
    let argv: Vec<OsString> = argv.into_iter().collect();
    Cli::try_parse_from(&argv).map_err(|error| {
        let wants_json = argv.iter().any(|word| word == "--json");
        if error.use_stderr() && wants_json {
            let text = error.to_string();
            let detail = text.trim_start_matches("error: ").trim_end();
            return Ui::of_process(true).problem(&Problem::new(Code::InvalidRequest, detail));
        }
        // A closed pipe is fine here too.
        let _ = error.print();
        u8::try_from(error.exit_code()).unwrap_or(Code::InvalidRequest.exit_code())
    })
}

#[derive(Debug, Args)]
pub(super) struct Run {
    /// What the session is for
    pub(super) goal: Option<String>,
    /// Who decides the next step: playbook:FILE or process:PROGRAM
    #[arg(long, value_name = "KIND:NAME")]
    pub(super) brain: Option<String>,
    /// Rest after each turn instead of going on until the goal is reached
    #[arg(long)]
    pub(super) interactive: bool,
    /// How long it may work: 30m, 1h, 3h, 5h or until-done, in active time; waiting spends none of it
    // Its words are checked with the rest of the wish, so that the code of the problem is the same over every way in.
    #[arg(long, value_name = "TIME", conflicts_with = "interactive")]
    pub(super) duration: Option<String>,
    /// A name; the session with that name is attached to if there is one
    #[arg(long)]
    pub(super) key: Option<String>,
    /// The task that it works on; its goal is that of the task unless one is given
    #[arg(long, value_name = "ID", conflicts_with = "key")]
    pub(super) task: Option<String>,
    /// Work on the current folder itself, not on a copy
    #[arg(long)]
    pub(super) in_place: bool,
    /// What the session may cost in all, credits
    #[arg(long, value_name = "AMOUNT", allow_hyphen_values = true)]
    pub(super) budget: Option<String>,
    /// What to do when as many sessions work as may
    #[arg(long, value_enum, default_value_t = OnLimitArg::Queue)]
    pub(super) on_limit: OnLimitArg,
    /// Let isolated commands reach this: name[:port], or git, npm, crates, pypi; may be repeated
    #[arg(long, value_name = "NAME|PRESET", value_delimiter = ',')]
    pub(super) allow_net: Vec<String>,
    #[command(flatten)]
    pub(super) shown: Shown,
    #[command(flatten)]
    pub(super) walls: WallArgs,
    #[command(flatten)]
    pub(super) resources: ResourceArgs,
    #[command(flatten)]
    pub(super) limiting: LimitingArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum OnLimitArg {
    /// Wait for a place
    Queue,
    /// Start nothing
    Reject,
}

#[derive(Debug, Args)]
pub(super) struct Autonomous {
    #[command(subcommand)]
    pub(super) verb: AutonomousVerb,
}

#[derive(Debug, Subcommand)]
pub(super) enum AutonomousVerb {
    /// The same as `longhaul run`
    #[command(after_help = AFTER_RUN)]
    Run(Box<Run>),
}

#[derive(Debug, Args)]
pub(super) struct Attach {
    /// Which session
    pub(super) id: String,
    /// Print records from this seq on [default: the last ten, and what comes]
    #[arg(long, value_name = "SEQ")]
    pub(super) from: Option<u64>,
    #[command(flatten)]
    pub(super) shown: Shown,
    #[command(flatten)]
    pub(super) walls: WallArgs,
    #[command(flatten)]
    pub(super) limiting: LimitingArgs,
}

#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Shown {
    /// Least important records to show
    #[arg(long, value_enum, default_value_t = LevelArg::Progress)]
    level: LevelArg,
}

impl Shown {
    pub(super) const fn level(self) -> Level {
        match self.level {
            LevelArg::User => Level::User,
            LevelArg::Progress => Level::Progress,
            LevelArg::Internal => Level::Internal,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LevelArg {
    /// What a person wants to read
    User,
    /// And what shows that work goes on
    Progress,
    /// And everything else
    Internal,
}

#[derive(Debug, Args)]
pub(super) struct Serve {
    /// How long the folders of a session stay after its end, in days, or `forever` [default: 7]
    #[arg(
        long,
        value_name = "DAYS",
        env = "LONGHAUL_KEEP_WORKSPACES",
        hide_env_values = true
    )]
    pub(super) keep_workspaces: Option<String>,
    /// The most that sessions may be let to reach; a start that asks for more is refused [default: no bound]
    #[arg(long, value_name = "NAME|PRESET", num_args = 0.., value_delimiter = ',')]
    pub(super) net_bound: Option<Vec<String>>,
    #[command(flatten)]
    pub(super) resources: ResourceArgs,
    #[command(flatten)]
    pub(super) limiting: LimitingArgs,
    #[command(flatten)]
    pub(super) walls: WallArgs,
    /// Let sessions that ask for it run commands without walls
    #[arg(long)]
    pub(super) allow_process_sandbox: bool,
}

/// How commands are walled in.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Isolation")]
pub(super) struct WallArgs {
    /// What stands between commands and this machine [default: isolated]
    #[arg(
        long,
        value_enum,
        value_name = "MODE",
        env = "LONGHAUL_SANDBOX",
        hide_env_values = true
    )]
    pub(super) sandbox: Option<SandboxArg>,
    /// The /proc of isolated commands: `none` where a container allows no other
    #[arg(long, value_enum, value_name = "KIND", default_value_t)]
    pub(super) sandbox_proc: ProcArg,
    /// Refuse a machine without this layer instead of going on with the others
    #[arg(long, value_enum, value_name = "LAYER")]
    pub(super) require: Vec<RequireArg>,
    /// A folder of this machine that isolated commands see as well, read-only (a toolchain in a home); may be repeated
    #[arg(
        long,
        value_name = "PATH",
        env = "LONGHAUL_SANDBOX_READ_ONLY",
        hide_env_values = true,
        value_delimiter = ':'
    )]
    pub(super) sandbox_read_only: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum SandboxArg {
    /// Namespaces, a root of their own, no rights, filtered system calls
    Isolated,
    /// Nothing: they run as you, and can do what you can
    Process,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum ProcArg {
    /// One of their own
    #[default]
    Private,
    /// An empty folder
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum RequireArg {
    /// The kernel's own rules about files (Linux 5.13)
    Landlock,
    /// A control group for each command; the same as --limits=cgroup
    Cgroup,
}

impl WallArgs {
    /// What a session that is started with these words asks for.
    pub(super) fn wish(&self) -> Option<Sandbox> {
        self.sandbox.map(|sandbox| match sandbox {
            SandboxArg::Isolated => Sandbox::Isolated,
            SandboxArg::Process => Sandbox::Process,
        })
    }

    /// Whether commands must have control groups.
    pub(super) fn requires_cgroup(&self) -> bool {
        self.require.contains(&RequireArg::Cgroup)
    }

    /// How a runtime that is opened with these words walls commands in.
    pub(super) fn options(&self) -> SandboxOptions {
        SandboxOptions {
            default: self.wish().unwrap_or_default(),
            proc: match self.sandbox_proc {
                ProcArg::Private => ProcMount::Private,
                ProcArg::None => ProcMount::None,
            },
            require_landlock: self.require.contains(&RequireArg::Landlock),
            read_only: self.sandbox_read_only.clone(),
            ..SandboxOptions::default()
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct Ls {
    /// Archived sessions too
    #[arg(long)]
    pub(super) archived: bool,
    /// At most this many
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(super) limit: usize,
}

#[derive(Debug, Args)]
pub(super) struct Which {
    /// Which session
    pub(super) id: String,
}

#[derive(Debug, Args)]
pub(super) struct Approvals {
    #[command(subcommand)]
    pub(super) verb: ApprovalsVerb,
}

#[derive(Debug, Subcommand)]
pub(super) enum ApprovalsVerb {
    /// List what waits for a decision
    Ls(ListApprovals),
    /// Show one request: the whole act, and why it asks
    Show(WhichApproval),
    /// Let the act be done, once
    Approve(Approve),
    /// Refuse the act; the agent is told why, and goes on
    Deny(Deny),
}

#[derive(Debug, Args)]
pub(super) struct ListApprovals {
    /// Every request of this session, decided or not
    #[arg(long, value_name = "ID")]
    pub(super) session: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct WhichApproval {
    /// Which request
    pub(super) id: String,
}

#[derive(Debug, Args)]
pub(super) struct Approve {
    /// Which request, by its whole id
    pub(super) id: String,
    /// On what grounds, at most 4 KiB
    #[arg(long, value_name = "TEXT")]
    pub(super) evidence: String,
}

#[derive(Debug, Args)]
pub(super) struct Deny {
    /// Which request, by its whole id
    pub(super) id: String,
    /// Why, at most 4 KiB; the agent is told
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: String,
}

#[derive(Debug, Args)]
pub(super) struct Tail {
    /// Which session
    pub(super) id: String,
    /// Begin with this seq
    #[arg(long, value_name = "SEQ", default_value_t = 1)]
    pub(super) from: u64,
    /// Wait for what comes, until the session ends
    #[arg(long, short)]
    pub(super) follow: bool,
    #[command(flatten)]
    pub(super) shown: Shown,
}

#[derive(Debug, Args)]
pub(super) struct Send {
    /// Which session
    pub(super) id: String,
    /// What to say
    pub(super) text: String,
    /// When it is to be seen
    #[arg(long, value_enum, default_value_t = ModeArg::Steer)]
    mode: ModeArg,
}

impl Send {
    pub(super) const fn mode(&self) -> SendMode {
        match self.mode {
            ModeArg::Steer => SendMode::Steer,
            ModeArg::Queue => SendMode::Queue,
            ModeArg::Interrupt => SendMode::Interrupt,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ModeArg {
    /// By the next step of the running turn
    Steer,
    /// By the next turn
    Queue,
    /// At once: the running turn ends
    Interrupt,
}

#[derive(Debug, Args)]
pub(super) struct Pause {
    /// Which session
    pub(super) id: String,
    /// End the open step instead of waiting for it
    #[arg(long)]
    pub(super) now: bool,
}

#[derive(Debug, Args)]
pub(super) struct Resume {
    /// Which session
    pub(super) id: String,
    /// What it may cost in all from here on, credits
    #[arg(long, value_name = "AMOUNT", allow_hyphen_values = true)]
    pub(super) budget: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct CreditsArgs {
    #[command(subcommand)]
    pub(super) verb: CreditsVerb,
}

#[derive(Debug, Subcommand)]
pub(super) enum CreditsVerb {
    /// Show the balance
    Show,
    /// Grant more credit
    TopUp(TopUp),
    /// Print the last records of the account, with the balance after each
    Ledger(Ledger),
    /// Print every record of the account, one JSON object per line
    Export,
}

#[derive(Debug, Args)]
pub(super) struct TopUp {
    /// How much, credits: 5 or 0.25
    #[arg(allow_hyphen_values = true)]
    pub(super) amount: String,
    /// Names the request, so that it is granted once however often it is sent
    #[arg(long, value_name = "ID")]
    pub(super) request: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Ledger {
    /// At most this many, the last ones
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(super) limit: usize,
}

#[derive(Debug, Args)]
pub(super) struct BillingArgs {
    #[command(subcommand)]
    pub(super) verb: BillingVerb,
}

#[derive(Debug, Subcommand)]
pub(super) enum BillingVerb {
    /// Show the balance, what is held, the prices, and how many sessions work
    Status,
}

#[derive(Debug, Args)]
pub(super) struct Cancel {
    /// Which session
    pub(super) id: String,
    /// End it even though its processes are not confirmed gone
    #[arg(long)]
    pub(super) force: bool,
    /// Do not ask
    #[arg(long, short)]
    pub(super) yes: bool,
}

#[derive(Debug, Args)]
pub(super) struct Replay {
    /// Which session
    #[arg(required_unless_present = "all")]
    pub(super) id: Option<String>,
    /// Stop after this seq
    #[arg(long, value_name = "SEQ", conflicts_with_all = ["diff", "check"])]
    pub(super) to: Option<u64>,
    /// What changed between two seqs
    #[arg(long, num_args = 2, value_names = ["A", "B"], conflicts_with = "check")]
    pub(super) diff: Option<Vec<u64>>,
    /// Only check that this version of longhaul could go on from the log
    #[arg(long)]
    pub(super) check: bool,
    /// Check every session
    #[arg(long, requires = "check", conflicts_with = "id")]
    pub(super) all: bool,
}

#[derive(Debug, Args)]
pub(super) struct Fork {
    /// Which session
    pub(super) id: String,
    /// The last record that both have [default: its last one]
    #[arg(long, value_name = "SEQ")]
    pub(super) at: Option<u64>,
    /// A name for the new session
    #[arg(long)]
    pub(super) key: Option<String>,
    /// Something to say to the new session before it goes on
    #[arg(long, value_name = "TEXT")]
    pub(super) say: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Du {
    /// Only this session
    pub(super) id: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Rm {
    /// Which session
    pub(super) id: String,
    /// Remove its log as well: the session is gone, and its id is never given again
    #[arg(long)]
    pub(super) log: bool,
    /// Do not ask
    #[arg(long, short)]
    pub(super) yes: bool,
}

#[derive(Debug, Args)]
pub(super) struct Gc {
    /// Keep what is younger than this, named or not
    #[arg(long, value_name = "HOURS", default_value_t = 24)]
    pub(super) grace_hours: u64,
    /// Write segments anew in which at least this share belongs to removed sessions
    #[arg(long, value_name = "PERCENT", default_value_t = 50, value_parser = clap::value_parser!(u8).range(1..=100))]
    pub(super) at_least_percent: u8,
}

#[derive(Debug, Args)]
pub(super) struct Export {
    /// Which session
    pub(super) id: String,
    /// Where to; it must not exist
    pub(super) file: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct Import {
    /// What `longhaul export` wrote
    pub(super) file: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct Backup {
    /// Where to; it must not exist
    pub(super) dir: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct Journal {
    #[command(subcommand)]
    pub(super) verb: JournalVerb,
}

#[derive(Debug, Subcommand)]
pub(super) enum JournalVerb {
    /// Print every record of a session, or one line per stream
    Inspect(Inspect),
    /// Check every frame and the chain of hashes
    Verify(Verify),
    /// Make a quarantined session writable again, behind what it lost
    #[command(after_help = AFTER_REPAIR)]
    Repair(Repair),
    /// Count what is there
    Stats,
}

#[derive(Debug, Args)]
pub(super) struct Inspect {
    /// Which session
    pub(super) id: Option<String>,
    /// Begin with this seq
    #[arg(long, value_name = "SEQ", default_value_t = 1, requires = "id")]
    pub(super) from: u64,
}

#[derive(Debug, Args)]
pub(super) struct Repair {
    /// Which session, or `account`
    #[arg(required_unless_present = "acknowledge_lost")]
    pub(super) id: Option<String>,
    /// Take note of damaged bytes that belong to no session, so that they are not reported any more
    #[arg(long, conflicts_with = "id")]
    pub(super) acknowledge_lost: bool,
    /// Do not ask
    #[arg(long, short, requires = "acknowledge_lost")]
    pub(super) yes: bool,
}

#[derive(Debug, Args)]
pub(super) struct Verify {
    /// Check the frames only, not the bodies that lie beside them
    #[arg(long)]
    pub(super) frames_only: bool,
    /// Also prove that a session's chain passes through a hash noted elsewhere
    #[arg(long, value_name = "ID=HASH")]
    pub(super) head: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct Policy {
    #[command(subcommand)]
    pub(super) verb: PolicyVerb,
}

/// Asking the gate.
#[derive(Debug, Subcommand)]
pub(super) enum PolicyVerb {
    /// Whether an act is allowed, asks, or is denied
    Check(PolicyCheck),
    /// What a goal forbids and asks for
    Goal {
        /// The text of the goal
        text: String,
    },
    /// Print the policy that comes with longhaul
    Show,
    /// Read a policy file, and try the cases in its [[test]] sections
    Test {
        /// The file
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("act").required(true).args(["argv", "command", "tool"]))]
pub(super) struct PolicyCheck {
    /// The act runs in isolated hands: what no rule knows is allowed
    #[arg(long)]
    pub(super) contained: bool,
    /// A playbook of yours does it, not an agent
    #[arg(long)]
    pub(super) mine: bool,
    /// A goal, whose prohibitions count
    #[arg(long, value_name = "TEXT")]
    pub(super) goal: Option<String>,
    /// A line for a shell
    #[arg(long, value_name = "LINE")]
    pub(super) command: Option<String>,
    /// A tool by its name
    #[arg(long, value_name = "NAME")]
    pub(super) tool: Option<String>,
    /// Arguments of the tool, a JSON object
    #[arg(long, value_name = "JSON", requires = "tool")]
    pub(super) args: Option<String>,
    /// A program and its arguments
    #[arg(last = true, value_name = "ARGV")]
    pub(super) argv: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct Doctor {
    #[command(flatten)]
    pub(super) walls: WallArgs,
}

#[derive(Debug, Args)]
pub(super) struct Completions {
    /// Which shell
    pub(super) shell: Shell,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parsed(words: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("longhaul").chain(words.split(' ')))
    }

    #[test]
    fn the_table_of_verbs_agrees_with_itself() {
        Cli::command().debug_assert();
    }

    #[test]
    fn data_and_json_may_stand_behind_the_verb() {
        let cli = parsed("tail s_7f3a --from 41 -f --level user --json --data /d").expect("it is right");
        assert!(cli.json);
        assert_eq!(cli.data, Some(PathBuf::from("/d")));
        let Verb::Tail(tail) = cli.verb else {
            panic!("{:?}", cli.verb)
        };
        assert_eq!(
            (tail.from, tail.follow, tail.shown.level()),
            (41, true, Level::User)
        );
    }

    #[test]
    fn a_goal_and_a_brain_may_be_missing_here_so_that_the_verb_says_what_to_do() {
        assert!(parsed("run").is_ok());
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for words in [
            "replay",
            "replay s_1 --all",
            "replay --all",
            "replay s_1 --to 3 --check",
            "replay s_1 --diff 3",
            "journal inspect --from 3",
            "send s_1",
            "send s_1 hello --mode shout",
            "tail s_1 --level loud",
            "run goal --duration 1h --interactive",
            "autonomous goal",
        ] {
            assert!(parsed(words).is_err(), "{words} was accepted");
        }
        for words in [
            "replay --check --all",
            "replay s_1 --diff 3 9",
            "journal inspect s_1 --from 3",
            "autonomous run goal --duration 1h",
        ] {
            assert!(parsed(words).is_ok(), "{words} was refused");
        }
    }
}
