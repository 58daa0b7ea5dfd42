//! `longhaul token`: what lets somebody else look at one session, steer it, or decide for it.

use clap::{Args, Subcommand, ValueEnum};

use super::Outcome;
use super::reach::Place;
use super::render::escaped;
use super::ui::Ui;
use crate::api::{Code, Mint, Problem, Scope, TokenView};
use crate::lineage::{self, ForHumans};

pub(super) const AFTER_TOKEN: &str = "\
A token is for one session, for a minute to a day. Its text is printed once, by create, and is kept nowhere: whoever has it may \
do what it allows. It is shown to whoever serves, as the header `Authorization: Bearer TOKEN`, as `?token=TOKEN`, or by this \
command line, which shows LONGHAUL_TOKEN where it is set. A process that acts for an agent gets none (self_approval).

Scopes:
  read     look at the session: its records, requests for approval and artifacts
  steer    say something to it, pause, resume and cancel it
  approve  decide on its requests for approval, as the human that --human names

Examples:
  TOKEN=$(longhaul token create ID --scope read)
  longhaul token create ID --scope read --scope approve --human ann --ttl 8h --json";

#[derive(Debug, Args)]
pub(super) struct Token {
    #[command(subcommand)]
    pub(super) verb: TokenVerb,
}

#[derive(Debug, Subcommand)]
pub(super) enum TokenVerb {
    /// Mint a token for a session, and print its text
    Create(Create),
    /// List the tokens of a session that have not run out
    Ls(OfSession),
    /// Make a token count no more
    Revoke(Revoke),
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// Which session
    id: String,
    /// What it may do; once for each scope
    #[arg(long = "scope", value_enum, value_name = "SCOPE", required = true)]
    scopes: Vec<ScopeArg>,
    /// How long it counts: seconds, or a number with s, m or h; a minute to a day
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = seconds)]
    ttl: u64,
    /// The human who decides with it; needed for approve
    #[arg(long, value_name = "NAME")]
    human: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct OfSession {
    /// Which session
    id: String,
}

#[derive(Debug, Args)]
pub(super) struct Revoke {
    /// Which session
    id: String,
    /// Which of its tokens
    token: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ScopeArg {
    /// Look at the session
    Read,
    /// Say something to it, pause, resume and cancel it
    Steer,
    /// Decide on its requests for approval
    Approve,
}

impl From<ScopeArg> for Scope {
    fn from(scope: ScopeArg) -> Self {
        match scope {
            ScopeArg::Read => Self::Read,
            ScopeArg::Steer => Self::Steer,
            ScopeArg::Approve => Self::Approve,
        }
    }
}

/// Seconds, from a number and what it counts.
fn seconds(text: &str) -> Result<u64, String> {
    let (number, unit) = match text.strip_suffix(['s', 'm', 'h']) {
        Some(number) => (number, text.chars().last().unwrap_or('s')),
        None => (text, 's'),
    };
    let each = match unit {
        'h' => 3_600,
        'm' => 60,
        _ => 1,
    };
    let whole = number
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| number.parse::<u64>().ok());
    let seconds = whole.flatten().and_then(|number| number.checked_mul(each));
    seconds.ok_or_else(|| "it takes a whole number, of seconds or with s, m or h behind it".to_owned())
}

pub(super) async fn token(verb: TokenVerb, place: &Place, ui: &Ui) -> Outcome {
    match verb {
        TokenVerb::Create(args) => create(args, place, ui).await,
        TokenVerb::Ls(args) => ls(&args.id, place, ui).await,
        TokenVerb::Revoke(args) => revoke(&args, place, ui).await,
    }
}

async fn create(args: Create, place: &Place, ui: &Ui) -> Outcome {
    // Whoever serves looks at us as well; where nobody serves this is the only look there is.
    lineage::check_self(ForHumans::Tokens)?;
    let request = Mint {
        scopes: args.scopes.into_iter().map(Scope::from).collect(),
        ttl_seconds: args.ttl,
        human: args.human,
    };
    let reach = place.to_wish_about(&args.id).await?;
    let minted = reach.control().mint(&args.id, request).await;
    let minted = minted.map_err(|problem| reach.explained(problem));
    let nobody_serves = reach.is_here();
    reach.close().await;
    let minted = minted?;
    if ui.is_json() {
        ui.object(&minted)?;
    } else {
        ui.line(&escaped(minted.token.reveal()))?;
        ui.note(&format!("{} counts until {}", minted.id, minted.expires_at));
    }
    if nobody_serves {
        ui.note("it can be shown once somebody serves: longhaul serve");
    }
    Ok(0)
}

async fn ls(id: &str, place: &Place, ui: &Ui) -> Outcome {
    let reach = place.to_wish_about(id).await?;
    let found = reach.control().tokens(id).await;
    reach.close().await;
    let tokens = found?.tokens;
    if ui.is_json() {
        tokens.iter().try_for_each(|token| ui.object(token))?;
    } else if tokens.is_empty() {
        ui.note("no token of this session counts, nor was one revoked that otherwise would");
    } else {
        ui.line(&columns("id", "status", "expires", "scopes"))?;
        tokens
            .iter()
            .try_for_each(|token| ui.line(&escaped(&line(token))))?;
    }
    Ok(0)
}

fn line(token: &TokenView) -> String {
    let mut scopes = token
        .scopes
        .iter()
        .map(|scope| scope.word())
        .collect::<Vec<_>>()
        .join(" ");
    if let Some(human) = &token.human {
        scopes = format!("{scopes}, as {human}");
    }
    columns(&token.id, &token.status, &token.expires_at, &scopes)
}

fn columns(id: &str, status: &str, expires: &str, scopes: &str) -> String {
    format!("{id:<35}  {status:<7}  {expires:<24}  {scopes}")
}

async fn revoke(args: &Revoke, place: &Place, ui: &Ui) -> Outcome {
    let reach = place.to_wish_about(&args.id).await?;
    let mut revoked = reach.control().revoke(&args.id, &args.token).await;
    // Once more is the same, so an answer that was lost is asked for again.
    if matches!(&revoked, Err(problem) if problem.code == Code::OutcomeUnknown) {
        revoked = reach.control().revoke(&args.id, &args.token).await;
    }
    let revoked = revoked.map_err(|problem: Problem| reach.explained(problem));
    reach.close().await;
    let revoked = revoked?;
    if ui.is_json() {
        ui.object(&revoked)?;
    } else {
        let word = if revoked.repeated {
            "was revoked before"
        } else {
            "is revoked"
        };
        ui.note(&format!("{} {word}", revoked.id));
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_number_of_seconds_minutes_or_hours() {
        for (text, wanted) in [("90", 90), ("90s", 90), ("15m", 900), ("24h", 86_400), ("0", 0)] {
            assert_eq!(seconds(text), Ok(wanted), "{text}");
        }
        for text in [
            "",
            "h",
            "1d",
            "1.5h",
            "-1",
            "+1",
            "1 h",
            "99999999999999999999",
            "99999999999999999h",
        ] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
