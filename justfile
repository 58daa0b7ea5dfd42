# The loop, short. `just` lists it; CI (.ci/run) runs the same recipes.

default:
    @just --list

# Format, lint, docs, and the tests of the pure rules.
check:
    cargo fmt --all
    cargo clippy --workspace --all-targets --locked -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked
    cargo test -p longhaul-actors --locked

# Every test that runs on a bare machine.
test:
    cargo test --workspace --locked

# The tests that need strace or python3.
test-tools:
    cargo test --workspace --locked -- --ignored

# The crash matrix with virtual hands, the one with real hands behind walls, and SIGKILLs from one seed.
crash SEED="1" KILLS="40":
    cargo test -p longhaul-tests --locked --test crash_matrix -- --nocapture
    cargo test -p longhaul-tests --locked --test isolated_matrix -- --nocapture
    LONGHAUL_TEST_SEED={{SEED}} LONGHAUL_TEST_KILLS={{KILLS}} cargo test -p longhaul-tests --locked --test kill -- --nocapture

# Breaks one promise at a time, and requires that a named test notices.
sabotage:
    cargo run --locked -p longhaul-tests --bin sabotage

# Everything at full counts; takes long.
deep:
    LONGHAUL_TEST_DEEP=1 cargo test --workspace --release --locked -- --include-ignored

# One bench by name (`just bench list`), beside its yardstick; docs/performance.md has the table.
bench NAME="append" *FLAGS:
    cargo run --release --locked -p longhaul-tests --bin bench -- {{NAME}} {{FLAGS}}

# The whole story with real processes.
demo:
    cargo run --release --locked -- demo

# Licences, advisories, sources (needs cargo-deny and a copy of the advisory database).
deny:
    cargo deny check
