#!/usr/bin/env bash
# Fuzzes every target for MINUTES each, then folds what was found into the kept corpus.
#
#   fuzz/run.sh 5            every target, five minutes each
#   fuzz/run.sh 5 object     one target
#
# Needs the nightly toolchain; installs cargo-fuzz when it is missing.
set -euo pipefail
cd "$(dirname "$0")"

minutes="${1:-}"
case "$minutes" in
    "" | *[!0-9]*)
        printf 'usage: fuzz/run.sh MINUTES [TARGET …]\n' >&2
        exit 64
        ;;
esac
shift
cargo fuzz --version >/dev/null 2>&1 || cargo install --locked cargo-fuzz

all=$(sed -n 's|^path = "fuzz_targets/\(.*\)\.rs"$|\1|p' Cargo.toml)
for target in ${*:-$all}; do
    found=$(mktemp -d)
    printf '\n== %s, %s min\n' "$target" "$minutes"
    cargo +nightly fuzz run --fuzz-dir . --features libfuzzer "$target" "$found" "corpus/$target" -- \
        -max_total_time="$((minutes * 60))" -max_len=70000 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1
    # Keeps the smallest inputs that add coverage.
    cargo +nightly fuzz run --fuzz-dir . --features libfuzzer "$target" "corpus/$target" "$found" -- -merge=1
    rm -r "$found"
done
