//! How long the gate takes for a command line, from its text to the answer: lines of every form, and the corpora of acts.

use std::hint::black_box;
use std::time::Instant;

use longhaul_policy::{Act, Around, Policy};

use crate::plan::{Failure, Plan};
use crate::row::Row;

/// What an agent types on an ordinary day, and what it should not.
const LINES: &[(&str, &str)] = &[
    ("one program", "cargo test -p foo --test bar -- name"),
    (
        "a list",
        "git add -A && git commit -m 'a thing' && git status --short",
    ),
    (
        "wrapped",
        "cd src && FOO=1 env A=b bash -lc \"git push origin main\" | tee log",
    ),
    ("a loop", "for f in *.rs; do rustfmt \"$f\" || exit 1; done"),
    (
        "a pipe",
        "find . -name '*.rs' -not -path './target/*' | xargs grep -n TODO | sort | head -20",
    ),
    (
        "a document",
        "python3 - <<'EOF'\nimport os\nprint(os.getcwd())\nEOF",
    ),
    (
        "a pipe of seven",
        "cd crates/core && find . -name '*.rs' -not -path './target/*' | xargs grep -n TODO | sed -e 's/^/  /' | awk -F: '{print $1}' | sort | uniq -c | head -20",
    ),
    (
        "a list of eight",
        "cd crates/core && cargo fmt --all --check && cargo clippy --all-targets -- -D warnings && cargo test --workspace --quiet && git add -A && git commit -m 'core: tidy the reader' && git status --short && git log --oneline -5",
    ),
    (
        "a pipe of nine",
        "cargo test --workspace 2>&1 | grep -E '^(test|error|warning)' | grep -v '... ok' | sed -e 's/x/y/' | cut -d: -f1 | sort | uniq -c | sort -rn | head -40",
    ),
    (
        "pipes in a list",
        "git log --since='2 weeks ago' --format='%an' | sort | uniq -c | sort -rn | head -10 && git diff --stat HEAD~20 | tail -1",
    ),
    (
        "a search and a loop",
        "find src tests -type f -name '*.py' -not -path '*/.venv/*' -exec grep -Hn 'import requests' {} \\; | cut -d: -f1 | sort -u | while read -r f; do echo \"== $f\"; sed -n '1,20p' \"$f\"; done",
    ),
    (
        "a long search",
        "find . -type f \\( -name '*.ts' -o -name '*.tsx' \\) -not -path '*/node_modules/*' -not -path './dist/*' -mtime -2 -size -200k -exec grep -l --null useEffect {} + | xargs -0 wc -l",
    ),
];

/// Acts with what is expected of them, one a line, in paragraphs below a head.
const CORPORA: [&str; 2] = [
    include_str!("../../../runtime/policy/tests/data/acts-ordinary.txt"),
    include_str!("../../../runtime/policy/tests/data/acts-risky.txt"),
];
/// What one line may take.
const REACH_US: f64 = 50.0;

pub(crate) fn run(plan: &Plan) -> Result<(), Failure> {
    let times = usize::try_from(plan.count.unwrap_or(20_000))?;
    for (name, line) in LINES.iter().copied() {
        let all = times_us(line, times);
        Row::new(plan)
            .with("what", name)
            .number("p50_us", all[times / 2], 1)
            .number("p99_us", all[times * 99 / 100], 1)
            .print(plan);
    }
    corpora(plan, (times / 100).max(1));
    Ok(())
}

/// The median of each line of the corpora, and of these the median, the 99th of a hundred and the slowest.
fn corpora(plan: &Plan, times: usize) {
    let mut medians: Vec<(f64, String)> = CORPORA
        .iter()
        .flat_map(|corpus| command_lines(corpus))
        .map(|line| (times_us(&line, times)[times / 2], line))
        .collect();
    medians.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    let count = medians.len();
    let over = medians.iter().filter(|(took, _)| *took > REACH_US).count();
    let (slowest_us, slowest) = medians.last().cloned().unwrap_or_default();
    Row::new(plan)
        .with("what", format!("{count} acts, over lines"))
        .number("p50_us", medians[count / 2].0, 1)
        .number("p99_us", medians[count * 99 / 100].0, 1)
        .with("lines_over_50_us", over)
        .number("slowest_us", slowest_us, 1)
        .with("slowest", slowest)
        .print(plan);
}

/// The command lines of a corpus: calls of tools are no text that is parsed.
fn command_lines(corpus: &str) -> impl Iterator<Item = String> {
    corpus
        .lines()
        .skip_while(|line| !line.starts_with("# "))
        .filter(|line| !line.is_empty() && !line.starts_with("# ") && !line.starts_with("tool "))
        .map(|line| line.replace("\\n", "\n"))
}

/// How long each of so many decisions took, the shortest first.
fn times_us(line: &str, times: usize) -> Vec<f64> {
    let policy = Policy::standard();
    let act = Act::line(line);
    let mut all = Vec::with_capacity(times);
    for _ in 0..times {
        let begun = Instant::now();
        black_box(policy.decide(black_box(&act), &Around::bare()));
        all.push(begun.elapsed().as_secs_f64() * 1e6);
    }
    all.sort_by(f64::total_cmp);
    all
}
