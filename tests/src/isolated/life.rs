//! One life of the session: a process that is killed at its moment, and another one that brings it to its end.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use longhaul::Control;
use longhaul::api::{stream_id, task_id};
use longhaul_actors::Entity;
use longhaul_actors::account::Account;
use longhaul_actors::session::Session;
use longhaul_actors::task::Task;
use longhaul_hands::{State, kill_all, state};
use longhaul_journal::{Frame, Journal, StreamId};
use rustix::process::{Pid, Signal, kill_process};

use super::blade::named;
use super::human::{Found, Human, Origin};
use super::moment::{Moment, Then};
use super::script::{ACCOUNT, COMMANDS, FAILING, INITIAL, PRICES, SECOND, SERVICE, WORK, playbook};
use crate::child::Child;
use crate::wreck::{copy_journal, frames, open_copy};
use crate::{home, until};

/// How long the human waits between two looks.
const PAUSE: Duration = Duration::from_millis(4);
/// How long a life may take to come to its moment, or to its end.
const DEADLINE: Duration = Duration::from_secs(60);

/// Where lives are lived: what they have in common.
#[derive(Clone, Debug)]
pub struct Stage {
    folder: PathBuf,
    /// The runtime.
    program: &'static str,
    /// The runtime that dies at a frame.
    cutter: &'static str,
    origin: Origin,
    prices: PathBuf,
}

/// Every frame that is on disk, by the name of its stream: its kind and its turn.
pub type Streams = BTreeMap<String, Vec<Arc<Frame>>>;

/// What a life came to.
#[derive(Debug)]
pub struct Life {
    /// The session.
    pub session: StreamId,
    /// What was on disk when its runtime was killed; nothing when none was.
    pub wreck: Option<Streams>,
    /// The commands that had begun then.
    pub begun: Vec<&'static str>,
    /// The highest seq at which anything acknowledged lay then.
    pub acknowledged: u64,
    /// What is on disk at the end.
    pub streams: Streams,
    /// The files of its workspace, but for those of git.
    pub files: BTreeMap<String, String>,
    /// The lines that each command and the service have left at home.
    pub marks: BTreeMap<&'static str, String>,
    place: Place,
}

/// A data directory, which goes with its life. What its commands have left running goes too: a test that fails must not
/// leave it to the machine.
#[derive(Debug)]
struct Place {
    data: PathBuf,
    session: StreamId,
}

impl Drop for Place {
    fn drop(&mut self) {
        let steps = self.steps();
        let dirs = std::fs::read_dir(steps).into_iter().flatten().flatten();
        let dirs: Vec<PathBuf> = dirs.map(|entry| entry.path()).collect();
        let _ = kill_all(&self.session.to_string(), &dirs, Duration::ZERO);
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.data);
        }
    }
}

impl Place {
    fn steps(&self) -> PathBuf {
        self.folder().join("steps")
    }

    fn folder(&self) -> PathBuf {
        self.data.join("sessions").join(self.session.to_string())
    }

    /// The evidence of the command that runs.
    fn running(&self) -> PathBuf {
        let dirs = std::fs::read_dir(self.steps()).expect("it has steps").flatten();
        let mut dirs: Vec<PathBuf> = dirs
            .map(|entry| entry.path())
            .filter(|dir| dir.join("claim.json").exists() || dir.join("spec.json").exists())
            .collect();
        let number = |dir: &PathBuf| {
            let name = dir.file_name().and_then(|name| name.to_str());
            name.and_then(|name| name.parse::<u64>().ok())
        };
        dirs.sort_by_key(number);
        dirs.pop().expect("a command has begun")
    }
}

impl Life {
    /// Its data directory.
    pub fn data(&self) -> &Path {
        &self.place.data
    }

    /// The frames of the session.
    pub fn frames(&self) -> &[Arc<Frame>] {
        of_stream(&self.streams, SECOND)
    }

    /// The frames of the account that it and the run before it were charged to.
    pub fn account(&self) -> &[Arc<Frame>] {
        of_stream(&self.streams, ACCOUNT)
    }
}

/// The frames of one stream.
pub fn of_stream<'a>(streams: &'a Streams, name: &str) -> &'a [Arc<Frame>] {
    streams.get(name).map_or(&[], Vec::as_slice)
}

impl Stage {
    /// A place for lives below `folder`.
    pub fn set(folder: &Path, program: &'static str, cutter: &'static str) -> Self {
        let prices = folder.join("prices.json");
        std::fs::write(&prices, PRICES).expect("the prices are written");
        Self {
            folder: folder.to_owned(),
            program,
            cutter,
            origin: Origin {
                failing: written(folder, "first", FAILING),
                brain: written(folder, "second", &playbook()),
                repository: crate::repository(folder, &[(".gitignore", WORK)]),
            },
            prices,
        }
    }

    /// Lives a life whose runtime is killed at this moment, or never.
    ///
    /// # Panics
    /// When the moment never comes, and when the session does not end.
    pub async fn live(&self, name: &str, moment: Option<&Moment>) -> Life {
        let data = self.folder.join(name);
        let task = task_id(Task::keyed("local", name));
        let session = StreamId::named("session", "local", &format!("key:task:{task}:2"));
        let place = Place { data, session };
        let mut human = Human::wanting(name.to_owned(), self.origin.clone());
        let (mut wreck, mut begun) = (None, Vec::new());
        if let Some(moment) = moment {
            self.die_at(moment, &mut human, &place).await;
            wreck = Some(self.look_at_the_wreck(&place));
            let home = home(&place.data, &session.to_string());
            begun.extend(COMMANDS.into_iter().filter(|command| home.join(command).exists()));
        }
        let acknowledged = human.acknowledged;
        let mut child = self.start(self.program, None, &place.data);
        let control = child.control().await.expect("it serves");
        if let Some(Moment::Running(command, Then::GoesOn)) = moment {
            let id = human.id.clone().expect("it was started");
            let step = place.running();
            let view = control.show(&id).await.expect("it is there");
            assert!(
                matches!(state(&step), Ok(State::Running { .. })),
                "{command} runs still, and the session is {}",
                view.state
            );
            human.held = None;
        }
        let following = follow(&mut human, &control, &place.data);
        self.in_time("the session ends", &place, following).await;
        assert!(child.stop().await.success(), "it stops in good order");
        let streams = self.look_at_the_wreck(&place);
        let id = human.id.as_deref().expect("it was started");
        assert_eq!(stream_id(id).expect("an id"), session);
        let home = home(&place.data, id);
        let marks = COMMANDS.into_iter().chain([SERVICE]);
        Life {
            session,
            wreck,
            begun,
            acknowledged,
            streams,
            files: files(&place.folder().join("workspace")),
            marks: marks
                .map(|name| (name, std::fs::read_to_string(home.join(name)).unwrap_or_default()))
                .collect(),
            place,
        }
    }

    fn start(&self, program: &str, cut: Option<String>, data: &Path) -> Child {
        let cut = cut.map(|cut| format!("LONGHAUL_TEST_CUT={cut}"));
        let prices = format!("LONGHAUL_CREDITS_PRICES={}", self.prices.display());
        let initial = format!("LONGHAUL_CREDITS_INITIAL={INITIAL}");
        let words = ["env", &prices, &initial];
        let words: Vec<&str> = words.into_iter().chain(cut.as_deref()).collect();
        Child::isolated(&words, program, data)
    }

    /// Brings a runtime to its moment, which is its last.
    async fn die_at(&self, moment: &Moment, human: &mut Human, place: &Place) {
        match moment {
            Moment::Frame(cut) => {
                let mut child = self.start(self.cutter, Some(cut.to_string()), &place.data);
                let living = async {
                    // One that dies before it serves has nobody to be asked.
                    let Some(control) = child.control().await else {
                        return;
                    };
                    while let Ok(found) = human.look(&control, &place.data).await {
                        if found == Found::Ended {
                            return;
                        }
                        tokio::time::sleep(PAUSE).await;
                    }
                };
                self.in_time("the runtime comes to its moment", place, living)
                    .await;
                // What belongs to the account is written up to the very end.
                let status = child.stop().await;
                let killed = status.signal() == Some(Signal::KILL.as_raw());
                assert!(killed, "it lived through {cut}: {status}");
            }
            Moment::Running(command, then) => {
                human.held = Some(command);
                let mut child = self.start(self.program, None, &place.data);
                let control = child.control().await.expect("it serves");
                let holding = follow(human, &control, &place.data);
                let found = self.in_time("the command begins", place, holding).await;
                assert_eq!(found, Found::Holding, "{command} has begun");
                child.kill().await;
                let step = place.running();
                let Ok(State::Running { shim_pid }) = state(&step) else {
                    panic!("{command} goes on by itself: {:?}", state(&step));
                };
                match then {
                    Then::GoesOn => {}
                    Then::EndsAlone => {
                        human.held = None;
                        let id = human.id.as_deref().expect("it was started");
                        let go = home(&place.data, id).join(format!("go-{command}"));
                        std::fs::write(go, "").expect("its home is ours to write in");
                        let ended = || matches!(state(&step), Ok(State::Exited(_)));
                        until("the command ends by itself", ended).await;
                    }
                    Then::IsLost => {
                        human.held = None;
                        let shim = i32::try_from(shim_pid).ok().and_then(Pid::from_raw);
                        kill_process(shim.expect("a process"), Signal::KILL).expect("it is ours");
                        let lost = || !matches!(state(&step), Ok(State::Running { .. }));
                        until("its shim is gone", lost).await;
                    }
                }
            }
        }
    }

    /// What comes of this, which must come within a minute; else what the session had written.
    async fn in_time<T>(&self, what: &str, place: &Place, coming: impl Future<Output = T>) -> T {
        match tokio::time::timeout(DEADLINE, coming).await {
            Ok(came) => came,
            Err(_) => panic!("not within {DEADLINE:?}: {what}\n{}", self.last_words(place)),
        }
    }

    fn last_words(&self, place: &Place) -> String {
        let mut words = String::new();
        for (stream, frames) in self.look_at_the_wreck(place) {
            for record in frames.iter().flat_map(|frame| &frame.records) {
                words.push_str(&format!(
                    "{stream} {:>4} {}\n",
                    record.seq, record.event.type_name
                ));
            }
        }
        words
    }

    fn look_at_the_wreck(&self, place: &Place) -> Streams {
        let copy = place.data.with_extension("copy");
        let mut streams = Streams::new();
        if copy_journal(&place.data, &copy) {
            open_copy(&copy, |journal| {
                for kind in [Session::KIND, Account::KIND, Task::KIND] {
                    let heads = journal.list(kind, None, 100).expect("listed");
                    let mut found: Vec<_> = heads.iter().map(|head| frames(journal, head.stream)).collect();
                    found.sort_by_key(|frames| frames[0].position);
                    let found = found.into_iter().enumerate();
                    streams.extend(found.map(|(before, frames)| (named(kind, before), frames)));
                }
            });
        }
        let _ = std::fs::remove_dir_all(copy);
        streams
    }
}

/// Looks after the session until it has ended, or the command that is held has begun.
async fn follow(human: &mut Human, control: &Arc<dyn Control>, data: &Path) -> Found {
    loop {
        match human.look(control, data).await.expect("it answers") {
            Found::UnderWay => tokio::time::sleep(PAUSE).await,
            found => return found,
        }
    }
}

/// Writes a playbook under a folder of its own.
fn written(folder: &Path, name: &str, text: &str) -> String {
    let folder = folder.join(name);
    std::fs::create_dir(&folder).expect("a folder");
    crate::playbook(&folder, text)
}

fn files(workspace: &Path) -> BTreeMap<String, String> {
    let found = crate::tree(workspace, |meta| format!("{:?}", meta.file_type()));
    found
        .into_iter()
        .filter(|(path, _)| !path.starts_with(".git"))
        .map(|(path, what)| (path.display().to_string(), what))
        .collect()
}
