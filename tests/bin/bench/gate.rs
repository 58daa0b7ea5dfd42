//! How long the gate takes for a command line, from its text to the answer.

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
        "a long search",
        "find . -type f \\( -name '*.ts' -o -name '*.tsx' \\) -not -path '*/node_modules/*' -not -path './dist/*' -mtime -2 -size -200k -exec grep -l --null useEffect {} + | xargs -0 wc -l",
    ),
];

pub(crate) fn run(plan: &Plan) -> Result<(), Failure> {
    let policy = Policy::standard();
    let times = usize::try_from(plan.count.unwrap_or(20_000))?;
    for (name, line) in LINES.iter().copied() {
        let act = Act::line(line);
        let mut all = Vec::with_capacity(times);
        for _ in 0..times {
            let begun = Instant::now();
            black_box(policy.decide(black_box(&act), &Around::bare()));
            all.push(begun.elapsed().as_secs_f64() * 1e6);
        }
        all.sort_by(f64::total_cmp);
        Row::new(plan)
            .with("what", name)
            .number("p50_us", all[times / 2], 1)
            .number("p99_us", all[times * 99 / 100], 1)
            .print(plan);
    }
    Ok(())
}
