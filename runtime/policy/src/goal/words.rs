//! The words of a goal, and which of them are risky.

use crate::Category;
use Category::{ChangeProductionData, Deploy, MessageOutside, Publish, ReadSecrets, Spend};

/// A word in lower case, or a sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token(String);

impl Token {
    pub(super) fn is(&self, word: &str) -> bool {
        self.0 == word
    }

    fn any(&self, words: &str) -> bool {
        words.split(' ').any(|word| word == self.0)
    }

    pub(super) fn ends_sentence(&self) -> bool {
        matches!(self.0.as_str(), "." | "!" | "?" | ";" | ":" | "\n")
    }

    /// A verb as in an order, not in -ing and not a plural.
    pub(super) fn is_order(&self) -> bool {
        !self.0.ends_with("ing") && !self.0.ends_with('s') && !self.0.ends_with("ment")
    }

    /// A word that says little by itself.
    pub(super) fn is_small(&self) -> bool {
        self.any(
            "a an the any our my your to anything git npm cargo touch send post read use open make run \
             create change modify delete write print access force accidentally actually ever new real \
             be in on or and no",
        )
    }
}

/// Contracted forms, apart.
const CONTRACTIONS: [(&str, &str); 30] = [
    ("don't", "do not"),
    ("dont", "do not"),
    ("doesn't", "does not"),
    ("didn't", "did not"),
    ("won't", "will not"),
    ("wont", "will not"),
    ("can't", "can not"),
    ("cant", "can not"),
    ("shouldn't", "should not"),
    ("mustn't", "must not"),
    ("mayn't", "may not"),
    ("isn't", "is not"),
    ("aren't", "are not"),
    ("wasn't", "was not"),
    ("weren't", "were not"),
    ("wouldn't", "would not"),
    ("couldn't", "could not"),
    ("needn't", "need not"),
    ("shan't", "shall not"),
    ("hasn't", "has not"),
    ("haven't", "have not"),
    ("ain't", "is not"),
    ("i'll", "i will"),
    ("we'll", "we will"),
    ("i'd", "i would"),
    ("let's", "let us"),
    ("it's", "it is"),
    ("that's", "that is"),
    ("nope", "no"),
    ("never-mind", "never mind"),
];

/// Takes a text apart. Dots within words (`.env`, `v1.2`) do not end a sentence.
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut word = String::new();
    let chars: Vec<char> = text.chars().collect();
    let flush = |word: &mut String, tokens: &mut Vec<Token>| {
        let bare = word.trim_matches('\'');
        match CONTRACTIONS.iter().find(|(short, _)| *short == bare) {
            Some((_, long)) => tokens.extend(long.split(' ').map(|word| Token(word.to_owned()))),
            None if bare.is_empty() => {}
            None => tokens.push(Token(bare.to_owned())),
        }
        word.clear();
    };
    for (at, &c) in chars.iter().enumerate() {
        let next = chars.get(at + 1).copied().unwrap_or(' ');
        let c = if matches!(c, '\u{2019}' | '\u{2018}' | '\u{2bc}' | '`') {
            '\''
        } else {
            c
        };
        match c {
            _ if c.is_alphanumeric() => word.extend(c.to_lowercase()),
            '\'' if next.is_alphabetic() && !word.is_empty() => word.push('\''),
            '.' if next.is_alphanumeric() => word.push('.'),
            '_' | '$' | '@' | '/' => word.push(' '),
            '-' if !word.is_empty() && next.is_alphanumeric() => word.push(' '),
            '.' | '!' | '?' | ';' | ':' | '\n' => {
                flush_all(&mut word, &mut tokens, &flush);
                // A line that is merely broken goes on: the next one begins with a small letter.
                let goes_on = c == '\n'
                    && chars[at + 1..]
                        .iter()
                        .find(|c| !c.is_whitespace())
                        .is_some_and(|c| c.is_lowercase());
                let blank = next == '\n';
                if !goes_on || blank {
                    tokens.push(Token(c.to_string()));
                }
            }
            ',' | '(' | ')' => {
                flush_all(&mut word, &mut tokens, &flush);
                tokens.push(Token(c.to_string()));
            }
            '\u{2014}' | '\u{2013}' => {
                flush_all(&mut word, &mut tokens, &flush);
                tokens.push(Token("-".into()));
            }
            '-' if next == '-' || (next == ' ' && word.is_empty()) => {
                flush_all(&mut word, &mut tokens, &flush);
                tokens.push(Token("-".into()));
            }
            _ => flush_all(&mut word, &mut tokens, &flush),
        }
    }
    flush_all(&mut word, &mut tokens, &flush);
    tokens
}

fn flush_all(word: &mut String, tokens: &mut Vec<Token>, flush: &impl Fn(&mut String, &mut Vec<Token>)) {
    let whole = std::mem::take(word);
    for part in whole.split(' ') {
        flush(&mut part.to_owned(), tokens);
    }
}

const PUBLISH: &str = "publish publishes published publishing publication republish republishing unpublish \
             release releases released releasing push pushes pushed pushing upload uploads uploaded \
             uploading merge merging";
const DEPLOY: &str = "deploy deploys deployed deploying deployment deployments redeploy redeploying redeployment \
             rollout rollouts rollback ship ships shipped shipping undeploy predeploy hotdeploy \
             autodeploy";
const SPEND: &str = "spend spends spent spending buy buys bought buying purchase purchases purchased purchasing \
             pay pays paid paying payment payments money subscribe subscribing subscription charge \
             charges charging refund refunds cash";
const MESSAGE: &str = "email emails emailed emailing e-mail mail mails mailed mailing message messages messaging \
             messaged notify notifies notified notifying tweet tweets tweeting slack send sends sent \
             sending contact contacts contacting contacted announce announces announcing announcement \
             announcements dm dms sms post posts posting posted reply replying outreach";
const SECRETS: &str = "secret secrets credential credentials password passwords .env .netrc passphrase \
             passphrases keychain .ssh token tokens";
/// Words that make a table, a row or a file theirs who changes it.
const CHANGES: &str = "touch touching touched modify modifying modified change changing changed alter altering \
             write writing drop dropping delete deleting deleted update updating updated wipe wiping \
             reset truncate truncating migrate migrating overwrite overwriting erase erasing purge \
             corrupt edit editing remove removing";

/// The categories of what begins at this token, and how many tokens that is.
pub(super) fn risky_at(tokens: &[Token], at: usize) -> Option<(Vec<Category>, usize)> {
    let token = tokens.get(at)?;
    let before = |back: usize| at.checked_sub(back).and_then(|at| tokens.get(at));
    let after = |on: usize| tokens.get(at + on);
    let follows = |words: &str| after(1).is_some_and(|token| token.any(words));
    let precedes = |words: &str| before(1).is_some_and(|token| token.any(words));
    let near_before = |words: &str| (1..=6).any(|back| before(back).is_some_and(|token| token.any(words)));
    let near_after =
        |words: &str, reach: usize| (1..=reach).any(|on| after(on).is_some_and(|token| token.any(words)));
    let one = |category: Category| Some((vec![category], 1));
    if token.any(PUBLISH) {
        let harmless = match token.0.as_str() {
            "push" | "pushes" | "pushing" | "pushed" => {
                if follows(
                    "notification notifications button buttons back yourself harder constant through api",
                ) {
                    return None;
                }
                if follows("to it this code changes anything straight directly into")
                    && near_after("production prod live", 4)
                {
                    return Some((vec![Publish, Deploy], 1));
                }
                false
            }
            "release" | "releases" | "released" | "releasing" => {
                follows(
                    "notes mode build builds profile candidate branch branches binary binaries lock locks \
             memory checklist process script workflow page schedule",
                ) && !follows("page")
                    || precedes("cargo latest previous last stable each every upstream")
            }
            "merge" | "merging" => {
                near_after(
                    "conflict conflicts sort function functions algorithm two arrays lists dictionaries objects \
             cells duplicate duplicates strategy files modules classes",
                    3,
                ) || precedes("git deep array")
            }
            "upload" | "uploads" | "uploading" | "uploaded" => {
                follows(
                    "form button handler widget component endpoint field dialog page limit size feature bug \
             code progress",
                ) && !precedes("not")
            }
            _ => false,
        };
        return if harmless { None } else { one(Publish) };
    }
    if token.any(DEPLOY) {
        let harmless = token.any("ship ships shipped shipping")
            && follows(
                "address cost costs label labels method rate rates form calculator options page fee fees",
            );
        return if harmless { None } else { one(Deploy) };
    }
    let rolls = token.any("roll rolls rolling rolled");
    if rolls && follows("out back") || token.any("go goes going") && follows("live") {
        return Some((vec![Deploy], 2));
    }
    if rolls
        && follows("it this that them anything everything")
        && after(2).is_some_and(|token| token.any("out back"))
    {
        return Some((vec![Deploy], 3));
    }
    let spoken_of = |words: &str| (1..=24).any(|back| before(back).is_some_and(|token| token.any(words)));
    if token.any("apply applying")
        && follows("it them this that")
        && spoken_of("terraform tofu helm kubernetes k8s manifests infrastructure")
    {
        return Some((vec![Deploy], 2));
    }
    if token.any("terraform kubectl helm tofu pulumi") && follows("apply destroy upgrade install up delete")
        || token.any("apply applying destroy")
            && (1..=3)
                .any(|on| after(on).is_some_and(|token| token.any("terraform manifests infrastructure")))
    {
        return Some((vec![Deploy], 2));
    }
    if token.any("pr prs") || token.is("pull") && follows("request requests") {
        let length = if token.is("pull") { 2 } else { 1 };
        let makes = near_before(
            "open opening create creating raise raising submit submitting file make making send merge \
             merging no close closing any",
        );
        return makes.then(|| (vec![Publish], length));
    }
    if token.is("public")
        && near_before("make go making going")
        && !follows("function method field api class functions methods")
    {
        return one(Publish);
    }
    if token.any(SPEND) {
        let harmless = match token.0.as_str() {
            "pay" | "paying" | "pays" | "paid" => near_after("attention heed off respect", 3),
            "spend" | "spends" | "spent" | "spending" => {
                near_after(
                    "time hours hour minutes minute effort days day long energy week",
                    6,
                ) && !near_after("money dollars usd credits cents euros budget", 8)
            }
            "charge" | "charges" | "charging" => precedes("in battery") || follows("of station cable level"),
            "payment" | "payments" | "subscription" | "refund" | "refunds" => follows(
                "form module page service code flow component test tests model table logic bug processing \
             gateway endpoint handler class api validation history list screen",
            ),
            _ => false,
        };
        return if harmless { None } else { one(Spend) };
    }
    if token.any("costs cost fees charges") && near_before("incur incurring cause causing any generate") {
        return one(Spend);
    }
    if token.any("place placing submit") && near_after("order orders bid bids trade trades", 3)
        || token.any("book booking")
            && near_after("flight hotel ticket tickets flights anything travel room", 3)
    {
        return one(Spend);
    }
    if token.any("credit debit") && follows("card cards") {
        return Some((vec![Spend], 2));
    }
    if token.any(MESSAGE) {
        let harmless = match token.0.as_str() {
            "message" | "messages" => {
                precedes(
                    "error commit log warning status success help debug validation exception the this that \
             these a each toast flash good clear failure info panic assert existing usage exact",
                ) || follows(
                    "queue queues bus broker format formats type types parser handler id ids body schema text \
             texts passing digest class model",
                )
            }
            "post" | "posts" | "posted" | "posting" => {
                precedes("blog the a each http new forum draft every all") && !follows("to")
                    || follows(
                        "request requests endpoint route routes handler body processing model method install commit \
             build mortem types type list page",
                    )
            }
            "send" | "sends" | "sent" | "sending" => {
                follows("button buffer channel and queue trait sync") && !follows("and")
            }
            "contact" | "contacts" | "contacting" | "contacted" => {
                follows("form page list info details section model table component us book information field")
                    || precedes("the a") && !token.is("contacting")
            }
            "email" | "emails" | "mail" | "mails" | "mailing" | "mailed" | "emailed" | "emailing" => follows(
                "template templates validation validator address addresses field fields regex column format \
             parser input module service client server domain test tests header parsing normalization",
            ),
            "slack" => {
                follows("integration client bot adapter parser module time space")
                    || precedes("some more timing the") && !near_before("to in on")
            }
            "notify" | "notifies" | "notified" | "notifying" => {
                follows("function handler method callback crate trait")
            }
            "reply" | "replying" => follows("parser handler format type") || precedes("the a"),
            "announcement" | "announcements" => {
                precedes("draft an the") && near_before("draft write prepare")
            }
            _ => false,
        };
        return if harmless { None } else { one(MessageOutside) };
    }
    if token.any("reach reaching") && follows("out")
        || token.any("share sharing") && near_after("outside externally publicly with anyone", 5)
    {
        return Some((vec![MessageOutside], 2));
    }
    if token.any("comment commenting") && near_after("issue issues pr prs ticket tickets pull thread", 4)
        || token.any("call calling text texting ping pinging message")
            && follows("anyone customers users people clients anybody them him her")
    {
        return one(MessageOutside);
    }
    if token.any("open create file opening creating filing close comment")
        && near_after("issue issues ticket tickets", 3)
        && near_after("github jira upstream linear tracker", 6)
    {
        return one(MessageOutside);
    }
    if token.any(SECRETS) {
        let harmless = match token.0.as_str() {
            "token" | "tokens" => {
                !near_before(
                    "read reading print printing expose exposing leak leaking log logging show showing access \
             accessing use using touch share commit reveal steal fetch open look dump api auth secrets \
             credentials passwords keys",
                ) || follows("count limit limits usage bucket stream parser type types budget kind")
            }
            "password" | "passwords" => follows(
                "reset resets field fields form page validation hashing strength input policy length rules \
             check flow hash hasher change screen handling confirmation",
            ),
            "secret" | "secrets" => follows("santa sauce scanner scanning detection module"),
            ".env" => follows("example sample"),
            _ => false,
        };
        return if harmless { None } else { one(ReadSecrets) };
    }
    if token.any("env environment dotenv")
        && follows("file files variables vars")
        && near_before("read reading print printing open dump show touch access cat look leak expose log")
        || token.any("api private ssh signing encryption access gpg pgp") && follows("key keys")
    {
        return Some((vec![ReadSecrets], 2));
    }
    if token.any("production prod") {
        if follows(
            "build builds ready quality grade mode code bundle bundles dependencies readiness worthy \
             use level",
        ) {
            return None;
        }
        let carried = near_before(
            "deploy deploys deploying deployed deployment push pushing release releasing ship shipping \
             rollout roll publish promote promoting live",
        ) && precedes("to in into on onto the");
        return one(if carried { Deploy } else { ChangeProductionData });
    }
    if token.any("live customer customers real user")
        && (1..=2).any(|on| {
            after(on).is_some_and(|token| {
                token.any(
                    "data database databases db site system systems records environment traffic accounts",
                )
            })
        })
        && (token.is("live") || near_before(CHANGES))
    {
        return Some((vec![ChangeProductionData], 2));
    }
    if token.any("database databases db data tables table records rows")
        && near_before(CHANGES)
        && !follows("schema model models class structure structures type types layer module component of")
    {
        return one(ChangeProductionData);
    }
    if token.any("migration migrations") && near_before("run running apply applying execute executing any") {
        return one(ChangeProductionData);
    }
    None
}
