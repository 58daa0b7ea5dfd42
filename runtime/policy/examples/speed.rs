//! How long a decision takes: `cargo run --release -p longhaul-policy --example speed`.

use std::hint::black_box;
use std::time::Instant;

use longhaul_policy::{Act, Around, Policy};

fn main() {
    let lines = [
        "cargo test -p foo --test bar -- name",
        "git add -A && git commit -m 'a thing' && git status --short",
        "cd src && FOO=1 sudo env A=b bash -lc \"git push origin main\" | tee log",
        "for f in *.rs; do rustfmt \"$f\" || exit 1; done",
        "python3 - <<'EOF'\nimport os\nprint(os.getcwd())\nEOF",
        "V=$(git describe --tags); go build -ldflags \"-X main.version=$V\" ./... 2>&1 | tail -40",
        "find . -name '*.rs' -not -path './target/*' | xargs grep -n TODO | sort | head -20",
        "curl -s http://localhost:3000/health | jq .status",
        // As long as command lines of agents become.
        "cd crates/core && find . -name '*.rs' -not -path './target/*' | xargs grep -n TODO | sed -e 's/^/  /' | awk -F: '{print $1}' | sort | uniq -c | head -20",
        "ps aux | grep -v grep | grep 'node server.js' | awk '{print $2}' | sort -n | tail -5",
        "cargo test --workspace 2>&1 | grep -E '^(test|error|warning)' | grep -v '... ok' | sort | uniq -c | sort -rn | head -40",
        "cd crates/core && cargo fmt --all --check && cargo clippy --all-targets -- -D warnings && cargo test --workspace --quiet && git add -A && git commit -m 'core: tidy the reader' && git status --short && git log --oneline -5",
        "git log --since='2 weeks ago' --format='%an' | sort | uniq -c | sort -rn | head -10 && git diff --stat HEAD~20 | tail -1",
        "for f in $(git ls-files '*.rs'); do if grep -q TODO \"$f\"; then sed -i 's/TODO/FIXME/' \"$f\" && rustfmt --check \"$f\" || echo \"not clean: $f\"; fi; done",
        "find . -type f \\( -name '*.ts' -o -name '*.tsx' \\) -not -path '*/node_modules/*' -not -path './dist/*' -mtime -2 -size -200k -exec grep -l --null useEffect {} + | xargs -0 wc -l",
        "find src tests -type f -name '*.py' -not -path '*/.venv/*' -exec grep -Hn 'import requests' {} \\; | cut -d: -f1 | sort -u | while read -r f; do echo \"== $f\"; sed -n '1,20p' \"$f\"; done",
    ];
    let policy = Policy::standard();
    // Ratios: twice the text, twice the time.
    for (name, make) in [
        ("list", (|n| "ls; ".repeat(n)) as fn(usize) -> String),
        ("pipe", |n| "cat a | ".repeat(n) + "sh"),
        ("braces", |n| "{a,b}".repeat(n)),
        ("parens", |n| "(".repeat(n)),
        ("substitutions", |n| "echo $(".repeat(n) + &")".repeat(n)),
        ("words", |n| "ls ".to_owned() + &"a ".repeat(n)),
        ("variables", |n| {
            (0..n)
                .map(|i| format!("v{i}=$v{}$v{};", i + 1, i + 1))
                .collect::<String>()
                + "$v0"
        }),
        ("quotes", |n| "\"$(".repeat(n)),
        ("documents", |n| "cat <<A\n".repeat(n)),
        ("functions", |n| "f() { f; f; }; f;".repeat(n)),
        ("finds", |n| "find . -exec ".repeat(n)),
        ("assigns", |n| "a=b; ".repeat(n) + "$a"),
        ("python", |n| {
            format!("python -c 'run(); {}'", "\"a\", ".repeat(n))
        }),
        ("options", |n| "git ".to_owned() + &"-a ".repeat(n)),
        ("fors", |n| {
            "for i in 1 2 3; do ".repeat(n) + "$i" + &"; done".repeat(n)
        }),
    ] {
        let mut times = Vec::new();
        for count in [50, 500, 5_000] {
            let act = Act::line(make(count));
            let begun = Instant::now();
            black_box(policy.decide(&act, &Around::bare()));
            times.push(format!("{count}: {:.2} ms", begun.elapsed().as_secs_f64() * 1e3));
        }
        println!("{name:14} {}", times.join("  "));
    }
    for line in lines {
        let act = Act::line(line);
        black_box(policy.decide(&act, &Around::bare()));
        let mut best = f64::MAX;
        let mut all = Vec::new();
        for _ in 0..2_000 {
            let begun = Instant::now();
            black_box(policy.decide(black_box(&act), &Around::bare()));
            let took = begun.elapsed().as_secs_f64() * 1e6;
            best = best.min(took);
            all.push(took);
        }
        all.sort_by(f64::total_cmp);
        println!(
            "best {best:7.1} us  p50 {:7.1} us  p99 {:7.1} us  {line:?}",
            all[1_000], all[1_980]
        );
    }
}
