"""Makes the rows of run.sh out of what it measured: rows.py FOLDER true|false SAID COSMIAN"""

import json
import pathlib
import sys

folder, as_json, said, cosmian = pathlib.Path(sys.argv[1]), sys.argv[2] == "true", sys.argv[3], sys.argv[4]


def read(name):
    return json.loads((folder / f"{name}.json").read_text())


ours, bao = read("ours-encrypt"), read("bao-encrypt")
ours_one, bao_one = read("ours-encrypt-1"), read("bao-encrypt-1")
sign, bao_sign = read("ours-sign"), read("bao-sign")
low, tink, wrk, hsm, bulk, start = (read(n) for n in ("low", "tink", "wrk", "hsm", "bulk", "start"))
served = json.loads(pathlib.Path(said).read_text().splitlines()[0])
BAO = "OpenBao transit, file audit"

rows = []


def row(name, ours, peer, unit, peer_is, more=True, goal=None, met=None, note=None):
    """`more`: more is better. `goal` is for people; `met` says whether it is reached."""
    ratio = None if peer is None else (ours / peer if more else peer / ours)
    rows.append({"name": name, "ours": ours, "peer": peer, "ratio": ratio, "unit": unit, "goal": goal,
                 "met": met, "peer_is": peer_is, "note": note})


def at_least(value, bound):
    return value >= bound


per_core = ours["per_core_second"] / bao["per_core_second"]
row("medium: operations per core and second", ours["per_core_second"], bao["per_core_second"], "1/s", BAO,
    goal="ratio >= 5", met=at_least(per_core, 5))
row("medium: server CPU per operation", ours["server_cpu_us"], bao["server_cpu_us"], "us", BAO, more=False,
    goal="ours <= 40", met=ours["server_cpu_us"] <= 40)
row(f"medium: 99th percentile at {ours['clients']} clients", ours["p99_us"], bao["p99_us"], "us", BAO, more=False,
    goal="ratio >= 5", met=at_least(bao["p99_us"] / ours["p99_us"], 5))
row("medium: operations per second", ours["per_second"], bao["per_second"], "1/s", BAO,
    note=f"{ours['clients']} clients on the same machine as the server")
row("medium: median, one client", ours_one["p50_us"], bao_one["p50_us"], "us", BAO, more=False,
    note="each operation waits for the disk")
row("medium: server CPU per operation, one client", ours_one["server_cpu_us"], bao_one["server_cpu_us"], "us", BAO,
    more=False, note="nobody to share a sync with")
row("resident memory under load", ours["resident_mib"], bao["resident_mib"], "MiB", BAO, more=False,
    goal="ours < 30", met=ours["resident_mib"] < 30)
row("RSA-2048 PSS: server CPU per signature", sign["server_cpu_us"], bao_sign["server_cpu_us"], "us", BAO, more=False,
    goal="ours <= 300", met=sign["server_cpu_us"] <= 300)
row("RSA-2048 PSS: signatures per second", sign["per_second"], bao_sign["per_second"], "1/s", BAO)
row("low: operations per second, one thread", low["per_second"], bao["per_second"], "1/s", BAO + f", {bao['clients']} clients",
    goal="ratio >= 300", met=at_least(low["per_second"] / bao["per_second"], 300),
    note=None if low["keys_in_hand"] else "NO KEY IN HAND: the operations went to the service")
row("low: operations per second, beside a library", low["per_second"], tink["per_second"], "1/s", "Tink (Python, C++ inside)",
    goal="ratio > 1", met=low["per_second"] > tink["per_second"])
row("low: time of an operation, policy included", low["median_ns"], tink["mean_ns"], "ns", "Tink (Python, C++ inside)", more=False,
    goal="ours < 1000", met=low["median_ns"] < 1000)
row("high: encryption in the token", hsm["service_path_us"], hsm["bare_call_us"], "us", "bare PKCS #11 call, SoftHSM2", more=False,
    goal="ours - peer <= 15", met=hsm["added_us"] <= 15, note=f"added: {hsm['added_us']:.1f} us")
row("bulk: 1 GiB stream", bulk["stream_gib_per_second"], bulk["bare_gib_per_second"], "GiB/s", "bare AES-256-GCM of AWS-LC",
    goal="ratio >= 0.85", met=at_least(bulk["stream_gib_per_second"] / bulk["bare_gib_per_second"], 0.85))
row("start-up: opening store, audit log, listeners", served["open_ms"], None, "ms", None, note=f"process start {start['exec_ms']:.1f} ms more")
row("check: OpenBao by our loop and by wrk", bao["per_second"], wrk["per_second"], "1/s", "the same OpenBao, asked by wrk",
    note=f"near 1: our loop is no handicap; wrk's 99th percentile {wrk['p99_us']:.0f} us, errors {wrk['errors']}")
row("Cosmian KMS", None, None, None, "Cosmian KMS", note=cosmian)


def number(value):
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.2f}"


for line in rows:
    if as_json:
        print(json.dumps(line))
        continue
    met = {True: "met", False: "MISSED", None: ""}[line["met"]]
    ratio = "" if line["ratio"] is None else f"{line['ratio']:.2f}x"
    print(f"{line['name']:<48} {number(line['ours']):>12} {number(line['peer']):>12} {line['unit'] or '':<6} {ratio:>9}"
          f"  {line['goal'] or '':<18} {met:<6} {line['peer_is'] or ''}{' (' + line['note'] + ')' if line['note'] else ''}")
