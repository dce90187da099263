#!/usr/bin/env bash
# The one test command: format, lints, documentation, every test, and the kept
# corpus of every fuzz target, replayed on the stable toolchain.
#
#   ./test.sh          everything
#   ./test.sh --quick  format, lints and tests only
#
# What it needs beyond a Rust toolchain it installs itself: Debian packages
# through apt-get (as root and only when missing), crates through cargo.
set -euo pipefail
cd "$(dirname "$0")"

quick=false
case "${1:-}" in
    "") ;;
    --quick) quick=true ;;
    *)
        printf 'usage: ./test.sh [--quick]\n' >&2
        exit 64
        ;;
esac

# A log is read as plain text; a registry may take more than one try.
if [ -t 1 ]; then colour=always; else colour=never; fi
export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-$colour}"
export CARGO_NET_RETRY="${CARGO_NET_RETRY:-10}"
# The step that ended the run is its last line.
step=start
trap 'status=$?; [ "$status" -eq 0 ] || printf "test.sh: failed in the step \"%s\" with status %s\n" "$step" "$status" >&2' EXIT
started=$SECONDS
step() {
    step=$1
    printf '\n== %s (%s s)\n' "$1" "$((SECONDS - started))"
}

# Program needed -> Debian package that brings it.
need() {
    command -v "$1" >/dev/null 2>&1 && return
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
        printf 'test.sh: %s is missing; install the package %s and run again\n' "$1" "$2" >&2
        exit 69
    fi
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$2"
}

step "tools"
need cc gcc
need c++ g++
need make make
# A real peer for certificates: what we issue, OpenSSL must accept.
need openssl openssl
# Processes of another program, at the other end of a Unix socket.
need perl perl
# A real peer for the signatures of sealers.
need minisign minisign
# Sealed configuration files live in repositories.
need git git
# A real server for the store; Debian keeps its programs out of the path.
shopt -s nullglob
postgres=(/usr/lib/postgresql/*/bin)
PATH="$PATH${postgres[*]:+:${postgres[-1]}}"
if ! command -v initdb >/dev/null 2>&1; then
    need initdb postgresql
fi
shopt -u nullglob
# Tests start it as another user than root, and it ends with them.
need setpriv util-linux
# A token for the tests of keys in an HSM.
need softhsm2-util softhsm2
# TPMs for the tests of machines, with certificates of their maker.
need swtpm swtpm
need swtpm_setup swtpm-tools
# A terminal for the tests of its questions.
need script bsdutils
cargo nextest --version >/dev/null 2>&1 || cargo install --locked cargo-nextest

step "format"
cargo fmt --all --check
cargo fmt --manifest-path fuzz/Cargo.toml --all --check

step "lints"
cargo clippy --locked --workspace --all-targets -- -D warnings
# The bare crate, as users get it: without the raw doors that its tests open, and with each backend.
cargo clippy --locked -p blindfold-core -- -D warnings
cargo clippy --locked -p blindfold-core --features aws-lc -- -D warnings
cargo clippy --locked -p blindfold-core --all-targets -- -D warnings

step "tests"
# The daemons switch AWS-LC on, so this runs the core's tests on it, and those that compare both backends.
cargo nextest run --locked --workspace --no-fail-fast
# The same tests on the backend in Rust alone.
cargo nextest run --locked -p blindfold-core --no-fail-fast

if $quick; then
    step "done"
    exit 0
fi

step "documentation tests"
cargo test --locked --workspace --doc --quiet

step "documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --quiet

step "fuzz corpus"
CARGO_TARGET_DIR="$PWD/target" cargo test --locked --manifest-path fuzz/Cargo.toml --test replay

step "done"
