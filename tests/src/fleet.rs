//! Sessions that are worked on while their runtime is killed again and again, and the human who looks after them.
//!
//! The human keeps nothing but what was acknowledged: what was not is sent again, under the same key.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use longhaul::Control;
use longhaul::api::{
    ApprovalStatus, ApprovalsQuery, Cancel, Decide, LimitsWish, Pause, Problem, Send as Message, SessionView,
    Start, WorkspaceWish,
};
use longhaul_actors::session::{ApprovalDecision, Mode, SendMode, WorkspaceKind};

use crate::dice::Dice;
use crate::{repository, shell_brain};

/// Rounds of work in one session; each has every kind of act.
const ROUNDS: usize = 3;

/// What the human does to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is left alone.
    Alone,
    /// It is talked to.
    TalkedTo,
    /// It is paused and resumed.
    Paused,
    /// It asks, and is answered.
    Asks,
    /// It is canceled while a command runs.
    Canceled,
    /// It wants to do what needs approval, and gets it.
    Approved,
    /// It works on a repository, and keeps what it changed there.
    Patches,
    /// It starts and stops services.
    Serves,
    /// It rests for so long that it hibernates, and is woken.
    Rests,
    /// Its brain dies again and again before it says anything.
    Sick,
}

const FATES: [Fate; 10] = [
    Fate::Alone,
    Fate::Sick,
    Fate::TalkedTo,
    Fate::Rests,
    Fate::Paused,
    Fate::Approved,
    Fate::Asks,
    Fate::Patches,
    Fate::Canceled,
    Fate::Serves,
];

/// A human takes his time: one look in so many leads to something.
const LEISURE: u64 = 8;

/// One session of the fleet, as its human knows it.
#[derive(Clone, Debug)]
pub struct Ship {
    /// Its name.
    pub key: String,
    /// What is done to it.
    pub fate: Fate,
    /// Its id, once its start was acknowledged.
    pub id: Option<String>,
    /// Whether it has reached its end.
    pub is_home: bool,
    /// The highest seq that anything acknowledged lies at.
    pub acknowledged: u64,
    /// Messages that were acknowledged, by seq.
    pub said: BTreeMap<u64, String>,
    /// Messages that were sent, whether or not that was acknowledged.
    pub sent: BTreeSet<String>,
    brain: String,
    repository: Option<PathBuf>,
    paused: bool,
    canceled: bool,
}

impl Ship {
    /// A ship that is to be sent out; its playbook lies in `folder`.
    pub fn build(folder: &Path, number: usize) -> Self {
        let fate = FATES[number % FATES.len()];
        let key = format!("ship-{number}");
        let home = folder.join(&key);
        std::fs::create_dir_all(&home).expect("a folder");
        let brain = if fate == Fate::Sick {
            shell_brain(&home, "sick", &dies_often(&home), FINISHES)
        } else {
            let file = home.join("playbook.toml");
            std::fs::write(&file, playbook(fate)).expect("the playbook is written");
            format!("playbook:{}", file.display())
        };
        let repository = (fate == Fate::Patches).then(|| repository(&home, &[]));
        Self {
            key,
            fate,
            id: None,
            is_home: false,
            acknowledged: 0,
            said: BTreeMap::new(),
            sent: BTreeSet::new(),
            brain,
            repository,
            paused: false,
            canceled: false,
        }
    }

    /// Where its commands leave their marks: in their home, which is kept and seen behind walls as well.
    pub fn marks(&self, data: &Path) -> PathBuf {
        let id = self.id.as_deref().expect("it was started");
        crate::home(data, id)
    }

    /// Names of the files that its commands leave one line in.
    pub fn expected_marks(&self) -> Vec<String> {
        let rounds = if self.fate == Fate::Sick { 0 } else { ROUNDS };
        let gated = (self.fate == Fate::Approved).then(|| "gated".to_owned());
        (0..rounds)
            .flat_map(|round| [format!("a{round}"), format!("b{round}")])
            .chain(gated)
            .collect()
    }

    /// Does the next thing for it; says which wish was acknowledged, if one was.
    ///
    /// # Errors
    /// What the runtime said, or that it is gone.
    pub async fn look_after(
        &mut self,
        control: &Arc<dyn Control>,
        dice: &mut Dice,
    ) -> Result<Option<&'static str>, Problem> {
        let Some(id) = self.id.clone() else {
            let started = control.start(self.start()).await?;
            self.acknowledged = self.acknowledged.max(2);
            self.id = Some(started.id);
            return Ok(Some("start"));
        };
        let view = control.show(&id).await?;
        self.is_home = matches!(view.state.as_str(), "completed" | "failed" | "canceled");
        match (view.state.as_str(), self.fate) {
            ("completed" | "failed" | "canceled", _) => Ok(None),
            ("paused", _) if dice.below(LEISURE) == 0 => {
                self.heard(control.resume(&id, longhaul::api::Resume::default()).await?.seq);
                Ok(Some("resume"))
            }
            ("awaiting_input", Fate::Asks) if dice.below(LEISURE) == 0 => {
                self.say(control, &id, "the answer", SendMode::Steer).await
            }
            ("idle" | "hibernated", Fate::Rests) if dice.below(LEISURE) == 0 => {
                self.say(control, &id, "go on", SendMode::Steer).await
            }
            ("awaiting_approval", Fate::Approved) if dice.below(LEISURE) == 0 => {
                self.approve(control, &id).await
            }
            (_, Fate::TalkedTo) if self.said.len() < 4 && dice.below(3) == 0 => {
                let mode = [SendMode::Steer, SendMode::Queue][self.said.len() % 2];
                let text = format!("word {}", self.said.len());
                self.say(control, &id, &text, mode).await
            }
            (_, Fate::Paused) if !self.paused && at_work(&view) => {
                let wish = Pause::default();
                self.heard(control.pause(&id, wish).await?.seq);
                self.paused = true;
                Ok(Some("pause"))
            }
            (_, Fate::Canceled) if !self.canceled && view.head > 12 && at_work(&view) => {
                let wish = Cancel::default();
                self.heard(control.cancel(&id, wish).await?.seq);
                self.canceled = true;
                Ok(Some("cancel"))
            }
            _ => Ok(None),
        }
    }

    async fn approve(
        &mut self,
        control: &Arc<dyn Control>,
        id: &str,
    ) -> Result<Option<&'static str>, Problem> {
        let query = ApprovalsQuery {
            session: Some(id.to_owned()),
        };
        let asked = control.approvals(query).await?.approvals;
        let Some(asked) = asked.iter().find(|asked| asked.status == ApprovalStatus::Pending) else {
            return Ok(None);
        };
        let wish = Decide {
            decision: ApprovalDecision::Approve,
            evidence: "it is to be done, once".into(),
            by: None,
        };
        self.heard(control.decide(&asked.id, wish).await?.seq);
        Ok(Some("approve"))
    }

    async fn say(
        &mut self,
        control: &Arc<dyn Control>,
        id: &str,
        text: &str,
        mode: SendMode,
    ) -> Result<Option<&'static str>, Problem> {
        let message = Message {
            text: text.into(),
            mode,
            idempotency_key: Some(format!("key of {text}")),
            by: None,
        };
        self.sent.insert(text.to_owned());
        let accepted = control.send(id, message).await?;
        self.heard(accepted.seq);
        self.said.insert(accepted.seq, text.to_owned());
        Ok(Some("send"))
    }

    fn heard(&mut self, seq: u64) {
        self.acknowledged = self.acknowledged.max(seq);
    }

    fn start(&self) -> Start {
        Start {
            goal: format!("sail {}", self.key),
            brain: Some(self.brain.clone()),
            mode: match self.fate {
                Fate::Rests => Mode::Interactive,
                _ => Mode::Bounded,
            },
            workspace: match &self.repository {
                Some(repository) => WorkspaceWish {
                    kind: WorkspaceKind::Clone,
                    source: repository.display().to_string(),
                    ..WorkspaceWish::default()
                },
                None => WorkspaceWish::default(),
            },
            limits: (self.fate == Fate::Rests).then(|| LimitsWish {
                idle_ms: Some(250),
                ..LimitsWish::default()
            }),
            key: Some(self.key.clone()),
            ..Start::default()
        }
    }
}

fn at_work(view: &SessionView) -> bool {
    view.step.as_ref().is_some_and(|step| step.kind == "exec")
}

/// Commands that leave one line each outside the workspace, between every other kind of act.
fn playbook(fate: Fate) -> String {
    let mut text = String::new();
    for round in 0..ROUNDS {
        text.push_str(&format!(
            "[[step]]\nrun = \"echo ran >> ~/a{round}; sleep 0.0{}\"\n\n\
             [[step]]\nwrite = \"{round}.txt\"\ncontent = \"one\\n\"\n\n\
             [[step]]\nreplace = \"{round}.txt\"\nold = \"one\"\nnew = \"two\"\n\n\
             [[step]]\nread = \"{round}.txt\"\n\n\
             [[step]]\nlist = \"\"\n\n\
             [[step]]\nrun = \"sleep 0.02; cat {round}.txt; echo ran >> ~/b{round}\"\nexpect = {{ stdout_contains = \"two\" }}\n\n\
             [[step]]\nartifact = \"{round}.txt\"\nkind = \"report\"\n\n",
            3 + 2 * round
        ));
        match (fate, round) {
            (Fate::Asks, 0) => text.push_str("[[step]]\nask = \"which?\"\n\n"),
            (Fate::Canceled, 1) => {
                text.push_str("[[step]]\nrun = \"trap 'sleep 0.2; exit 1' TERM; sleep 60 & wait\"\n\n")
            }
            (Fate::Approved, 0) => {
                text.push_str("[[step]]\nrun = \"git push nowhere main; echo ran >> ~/gated\"\n\n")
            }
            (Fate::Patches, _) => text.push_str("[[step]]\npatch = true\n\n"),
            (Fate::Serves, _) => text.push_str(
                "[[step]]\nservice = \"web\"\nstart = \"sleep 1000\"\n\n\
                 [[step]]\nservice = \"web\"\nstop = true\n\n",
            ),
            (Fate::Rests, 0) => text.push_str("[[step]]\nyield = true\n\n"),
            _ => {}
        }
    }
    text.push_str("[[step]]\nfinish = \"home\"\n");
    text
}

/// The answer of a shell brain that reaches its goal at once.
const FINISHES: &str =
    r#"echo "{\"type\":\"answer\",\"step\":$step,\"end\":{\"kind\":\"finish\",\"summary\":\"home\"}}""#;

/// Few enough deaths in a row to be no crash loop, and enough that longhaul waits before it asks again.
fn dies_often(home: &Path) -> String {
    let deaths = home.join("deaths").display().to_string();
    format!("echo died >>{deaths}; [ $(wc -l <{deaths}) -gt 4 ] || exit 3")
}
