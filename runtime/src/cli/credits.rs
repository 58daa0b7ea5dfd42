//! `longhaul credits`, `longhaul billing status`: what there is, what was spent, and more of it.

use longhaul_actors::account::Credits;

use super::Outcome;
use super::args::{BillingVerb, CreditsVerb, Ledger, TopUp};
use super::reach::{Place, Reach};
use super::render::escaped;
use super::ui::{Failure, Ui};
use crate::api::{AccountView, Code, LedgerEntry, LedgerQuery, Problem, ToppedUp};
use crate::lineage::{self, ForHumans};

pub(super) async fn credits(verb: CreditsVerb, place: &Place, ui: &Ui) -> Outcome {
    match verb {
        CreditsVerb::Show => show(place, ui).await,
        CreditsVerb::TopUp(args) => top_up(args, place, ui).await,
        CreditsVerb::Ledger(args) => ledger(args, place, ui).await,
        CreditsVerb::Export => export(place, ui).await,
    }
}

pub(super) async fn billing(verb: BillingVerb, place: &Place, ui: &Ui) -> Outcome {
    match verb {
        BillingVerb::Status => show(place, ui).await,
    }
}

async fn show(place: &Place, ui: &Ui) -> Outcome {
    let reach = place.to_wish().await?;
    let account = reach.control().account().await;
    reach.close().await;
    let account = account?;
    if ui.is_json() {
        ui.object(&account)?;
    } else {
        card(&account)
            .iter()
            .try_for_each(|line| ui.line(&escaped(line)))?;
    }
    Ok(0)
}

/// An account for a person.
fn card(account: &AccountView) -> Vec<String> {
    let mut lines = vec![
        format!("account    {}", account.account),
        format!(
            "balance    {} credits ({})",
            account.balance.credits, account.currency
        ),
    ];
    if account.held.micro > 0 {
        lines.push(format!(
            "available  {} ({} is held for steps under way)",
            account.available.credits, account.held.credits
        ));
    }
    lines.push(format!(
        "spent      {} of {} granted, in {} steps",
        account.settled.credits, account.granted.credits, account.steps
    ));
    if account.overrun.micro > 0 {
        lines.push(format!("overrun    {} (not charged)", account.overrun.credits));
    }
    if account.unknown_steps > 0 {
        let known = "whose cost is not known in full; what is not known was not charged";
        lines.push(format!("unknown    {} steps {known}", account.unknown_steps));
    }
    lines.push(format!(
        "price      {} an hour of active time (version {})",
        account.prices.hour.credits, account.prices.version
    ));
    if let Some(sessions) = account.sessions {
        lines.push(format!(
            "sessions   {} of {} at work, {} waiting for a place",
            sessions.active, sessions.limit, sessions.queued
        ));
    }
    if !account.waiting.is_empty() {
        lines.push(format!("waiting    {} for credit", account.waiting.join(" ")));
    }
    if account.low {
        lines.push("low        a fifth or less is left: longhaul credits top-up AMOUNT".to_owned());
    }
    if !account.opened {
        lines.push("not opened yet; this is what it will be granted".to_owned());
    }
    lines
}

async fn top_up(args: TopUp, place: &Place, ui: &Ui) -> Outcome {
    // Checked here as well, so that a slip of the finger makes nothing.
    let amount: Credits = args
        .amount
        .parse()
        .map_err(|error| invalid(&format!("{error}")))?;
    if amount.is_zero() {
        return Err(invalid("the amount is zero; grant something above zero").into());
    }
    let request = crate::api::TopUp {
        amount: args.amount,
        request_id: args.request.unwrap_or_else(|| uuid::Uuid::now_v7().to_string()),
    };
    // Whoever serves looks at us as well; where nobody serves this is the only look there is.
    lineage::check_self(ForHumans::Money)?;
    let reach = place.to_wish().await?;
    let granted = reach.control().top_up(request.clone()).await;
    let (reach, granted) = match granted {
        // The server was lost on the way: whoever answers now knows the request if it had arrived.
        Err(problem) if reach.may_repeat(&problem) => {
            reach.close().await;
            let reach = place.to_wish().await?;
            let granted = reach.control().top_up(request.clone()).await;
            (reach, granted)
        }
        granted => (reach, granted),
    };
    told(granted, &request.request_id, reach, ui).await
}

async fn told(granted: Result<ToppedUp, Problem>, request: &str, reach: Reach, ui: &Ui) -> Outcome {
    let waits = reach.is_here();
    let granted = granted.map_err(|problem| reach.explained(problem));
    reach.close().await;
    let granted = granted?;
    if ui.is_json() {
        ui.object(&granted)?;
    } else {
        let what = if granted.repeated {
            "had been granted before"
        } else {
            "granted"
        };
        let (amount, balance) = (&granted.amount.credits, &granted.balance.credits);
        let line = format!("{amount} {what} as request {request}; the balance is {balance}");
        ui.line(&escaped(&line))?;
    }
    for session in &granted.resumed {
        ui.note(&format!("resumed {session}"));
    }
    if waits && let Some(session) = granted.resumed.first() {
        ui.note(&format!(
            "nobody serves this directory, so it waits: longhaul attach {session} or longhaul serve"
        ));
    }
    Ok(0)
}

async fn ledger(args: Ledger, place: &Place, ui: &Ui) -> Outcome {
    let reach = place.to_wish().await?;
    let entries = entries(&reach).await;
    reach.close().await;
    let entries = entries?;
    let skipped = entries.len().saturating_sub(args.limit);
    let mut balance = 0;
    for (index, entry) in entries.iter().enumerate() {
        balance += entry.change_micro;
        if index < skipped {
            continue;
        }
        if ui.is_json() {
            ui.object(entry)?;
        } else {
            ui.line(&escaped(&line(entry, balance)))?;
        }
    }
    if skipped > 0 {
        ui.note(&format!(
            "{skipped} earlier records: longhaul credits ledger --limit {}",
            entries.len()
        ));
    }
    Ok(0)
}

async fn export(place: &Place, ui: &Ui) -> Outcome {
    let reach = place.to_wish().await?;
    let entries = entries(&reach).await;
    reach.close().await;
    entries?.iter().try_for_each(|entry| ui.object(entry))?;
    Ok(0)
}

/// Every record of the account.
async fn entries(reach: &Reach) -> Result<Vec<LedgerEntry>, Failure> {
    let (mut entries, mut after) = (Vec::new(), 0);
    loop {
        let query = LedgerQuery { after, limit: None };
        let page = reach.control().ledger(query).await?;
        let is_last = page.entries.is_empty() || page.next_after >= page.head;
        after = page.next_after;
        entries.extend(page.entries);
        if is_last {
            return Ok(entries);
        }
    }
}

/// One record for a person: what it changed, and the balance after it.
fn line(entry: &LedgerEntry, balance_micro: i64) -> String {
    let change = match entry.change_micro {
        0 => String::new(),
        change => signed(change),
    };
    let text = |name: &str| {
        entry
            .data
            .get(name)
            .and_then(|value| value.as_str())
            .unwrap_or_default()
    };
    let number = |name: &str| entry.data.get(name).and_then(serde_json::Value::as_u64);
    let mut detail = Vec::new();
    if let Some(step) = number("step") {
        detail.push(format!("{} step {step}", text("session")));
    } else if !text("session").is_empty() {
        detail.push(text("session").to_owned());
    }
    if entry.change_micro == 0
        && let Some(amount) = number("amountMicro")
    {
        detail.push(Credits::from_micro(amount).to_string());
    }
    if let (Some(from), Some(to)) = (number("fromSeq"), number("toSeq")) {
        detail.push(format!("records {from} to {to} are lost"));
    }
    if !text("request").is_empty() {
        detail.push(format!("request {}", text("request")));
    }
    if let Some(overrun) = number("overrun") {
        detail.push(format!("overrun {}", Credits::from_micro(overrun)));
    }
    if entry.data.get("unknown").is_some_and(|unknown| unknown == true) {
        detail.push("cost not known in full".to_owned());
    }
    format!(
        "{:>6}  {}  {:<18} {:>12} {:>12}  {}",
        entry.seq,
        entry.ts,
        entry.type_name,
        change,
        signed(balance_micro),
        detail.join(", ")
    )
}

fn signed(micro: i64) -> String {
    let amount = Credits::from_micro(micro.unsigned_abs());
    if micro < 0 {
        format!("-{amount}")
    } else {
        amount.to_string()
    }
}

fn invalid(why: &str) -> Problem {
    Problem::new(Code::InvalidRequest, why).next("for example", "longhaul credits top-up 2.50")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_of_the_ledger_says_what_changed_and_what_is_left() {
        let entry = LedgerEntry {
            seq: 12,
            ts: "2026-01-01T00:00:00.000Z".into(),
            type_name: "credits.settled".into(),
            change_micro: -12_000,
            data: json!({ "session": "s_1", "step": 3, "amountMicro": 12_000, "overrun": 7, "unknown": true }),
        };
        let line = line(&entry, 4_988_000);
        assert!(line.contains("-0.012"), "{line}");
        assert!(line.contains("4.988"), "{line}");
        assert!(
            line.ends_with("s_1 step 3, overrun 0.000007, cost not known in full"),
            "{line}"
        );
    }
}
