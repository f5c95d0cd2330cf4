#!/usr/bin/env python3
"""Legacy tokens in a flood: do requests with fast tokens notice, and does the lane go on working?

Fast tokens are sent at half of the gate's capacity, evenly, while a flood goes on beside them: in
turn one of as many requests with a wrong checksum, which cost nothing to refuse, and one of legacy
tokens. What counts is how the second of each pair compares with the first:

  wrong   2,000 wrong legacy tokens a second, all different, each from an address of its own;
  valid   valid legacy tokens, none of them remembered, ten times as many as the lane can verify.

  throughput   of the fast tokens: at least 95 % of the other's
  slow         share of them that takes longer than 5 ms: at most 0.1 points more
  lane         CPU time of the lane's threads, of what their budget allows: at least a half (`valid`)
  memory       that the gate has gained after --wrong different wrong tokens: at most 64 MiB

    benches/legacy_flood.py [--pairs 10] [--seconds 5] [--quota 0.5] [--wrong 10000000]
                            [--binary target/release/portcullis]

With --quota the gate is in a cgroup of its own with that many CPUs, where this machine lets one be
made. Needs wrk, h2load and nginx. Exits with 1 where a limit is not kept.
"""

import argparse
import contextlib
import hashlib
import base64
import json
import os
import pathlib
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time

from harness import resident_mib, scraped, serving

GATE, ADMIN, UPSTREAM = 19021, 19022, 19023
FAST = "fast-token-of-the-flood"
PATH = "/api/v3/accounts/1/projects/"
# Rounds that take a few milliseconds, so that the lane has many to do.
ROUNDS = 20_000
ACCOUNTS, TOKENS = 20, 400
SLOW_MICROS = 5_000
# More than may wait for the lane, so that the flood goes on while they do.
CONNECTIONS = 400

# Each request of a connection after a pause, with what `token` makes of a number that no other has.
WRK = """
local thread = 0
function setup(thread_of_wrk) thread_of_wrk:set("id", thread); thread = thread + 1 end
local number, random = 0, math.random
function init(args) math.randomseed(os.time() + 7919 * id) end
function delay() return %(delay)d end
function request()
  number = number + 1
  local from = string.format("%%d.%%d.%%d.%%d", random(1, 223), random(0, 255), random(0, 255), random(1, 254))
  return wrk.format("GET", "%(path)s", {["Authorization"] = "Bearer " .. (%(token)s), ["X-Forwarded-For"] = from})
end
"""
WRONG_CHECKSUM = 'string.format("pts_%043d000000", number * 100 + id)'
WRONG_LEGACY = f'string.format("k%03d-wrong-%09d-%09d-%d", number % {TOKENS}, random(1, 999999999), number, id)'
VALID_LEGACY = f'string.format("k%03d-right-secret", random(0, {TOKENS - 1}))'


def account(number):
    return {"type": "account", "id": number, "name": f"a{number}", "plan": "enterprise", "state": "open"}


def token(number, of_account, **members):
    grant = {"permission_set": "account_admin", "project_id": None, "writable_environment_categories": []}
    return {"account_id": of_account, "name": f"t{number}", "created_at": "2022-05-01T00:00:00Z", "grants": [grant], **members}


def legacy(number):
    secret, salt = f"k{number:03}-right-secret", f"salt{number:03}"
    derived = hashlib.pbkdf2_hmac("sha256", secret.encode(), salt.encode(), ROUNDS)
    encoded = f"pbkdf2_sha256${ROUNDS}${salt}${base64.b64encode(derived).decode()}"
    return token(number, number % ACCOUNTS + 1, hash=encoded, selector=f"k{number:03}-")


def set_up(folder, arguments):
    subprocess.run([arguments.binary, "init", folder], check=True, capture_output=True)
    (folder / "portcullis.toml").write_text(
        f'[gate]\nlisten = ["127.0.0.1:{GATE}"]\nworkers = 1\n'
        f'[upstreams.api]\nendpoints = ["http://127.0.0.1:{UPSTREAM}"]\n'
        f'[store]\nurl = "sqlite:portcullis.db"\n[admin]\nlisten = "127.0.0.1:{ADMIN}"\n'
        f'[client_ip]\ntrusted_proxies = ["127.0.0.1/32"]\n'
        # Each is hashed anew.
        f'[legacy]\ncache_ttl = "0s"\n'
    )
    lines = [account(number) for number in range(1, ACCOUNTS + 1)]
    lines += [token(0, 1, token=FAST)] + [legacy(number) for number in range(TOKENS)]
    path = folder / "lines.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    subprocess.run([arguments.binary, "-c", folder / "portcullis.toml", "import", path], check=True, capture_output=True)


class Quota:
    """A cgroup with so many CPUs; nothing where none is asked for or can be made."""

    def __init__(self, cpus):
        self.folder = None
        if not cpus:
            return
        for root, settings in [
            ("/sys/fs/cgroup", {"cpu.max": f"{int(cpus * 100_000)} 100000"}),
            ("/sys/fs/cgroup/cpu", {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": str(int(cpus * 100_000))}),
        ]:
            folder = pathlib.Path(root) / f"legacy-flood-{os.getpid()}"
            # What holds version 1's mounts is no cgroup itself.
            if not (pathlib.Path(root) / "cgroup.procs").exists():
                continue
            try:
                folder.mkdir()
                for name, value in settings.items():
                    (folder / name).write_text(value)
                self.folder = folder
                return
            except OSError:
                with contextlib.suppress(OSError):
                    folder.rmdir()
        print("no cgroup can be made here: without a quota", flush=True)

    def enter(self):
        if self.folder:
            (self.folder / "cgroup.procs").write_text(str(os.getpid()))

    def remove(self):
        if self.folder:
            deadline = time.monotonic() + 5
            while self.folder.exists() and time.monotonic() < deadline:
                with contextlib.suppress(OSError):
                    self.folder.rmdir()
                time.sleep(0.05)


def upstream(folder):
    """nginx, which answers everything with 200."""
    (folder / "nginx.conf").write_text(
        f"pid {folder}/nginx.pid; error_log stderr crit; worker_processes 1; daemon off; events {{}}\n"
        f"http {{ access_log off; keepalive_requests 100000000; client_body_temp_path {folder};\n"
        f"proxy_temp_path {folder}; fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};\n"
        f"server {{ listen 127.0.0.1:{UPSTREAM}; location / {{ return 200 ok; }} }} }}\n"
    )
    return subprocess.Popen(["nginx", "-p", folder, "-c", folder / "nginx.conf"], stderr=subprocess.DEVNULL)


@contextlib.contextmanager
def running(folder, arguments, quota):
    behind = upstream(folder)
    command = [arguments.binary, "-c", folder / "portcullis.toml", "serve"]
    try:
        with serving(command, ADMIN, preexec_fn=quota.enter) as process:
            yield process
    finally:
        behind.terminate()
        behind.wait()
        quota.remove()


def flood(folder, kind, per_second, seconds):
    """wrk, with so many requests a second at most."""
    script = folder / f"{kind}.lua"
    made = {"checksum": WRONG_CHECKSUM, "wrong": WRONG_LEGACY, "valid": VALID_LEGACY}[kind]
    delay = 1_000 * CONNECTIONS / per_second if per_second else 0
    script.write_text(WRK % {"delay": delay, "path": PATH, "token": made})
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "30s", "-s", script, f"http://127.0.0.1:{GATE}/"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def flooded(process):
    out = process.communicate()[0]
    return float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1])


def capacity():
    command = ["wrk", "-t1", "-c16", "-d4s", "-H", f"Authorization: Bearer {FAST}", f"http://127.0.0.1:{GATE}{PATH}"]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in out:
        sys.exit(f"the fast token is refused:\n{out}")
    return float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1])


def fast(folder, per_second, seconds):
    """Fast tokens at an even rate: requests a second that were answered, and the share that took long."""
    log, clients = folder / "fast.log", 8
    log.unlink(missing_ok=True)
    command = ["h2load", "--h1", f"-c{clients}", "-t1", f"-D{seconds}", f"--rps={max(1, round(per_second / clients))}"]
    command += ["-H", f"Authorization: Bearer {FAST}", f"--log-file={log}", f"http://127.0.0.1:{GATE}{PATH}"]
    subprocess.run(command, check=True, capture_output=True)
    took = [line.split("\t") for line in log.read_text().splitlines()]
    good = [int(micros) for _, status, micros in took if status == "200"]
    return len(good) / seconds, sum(micros > SLOW_MICROS for micros in good) / max(1, len(good))


def measured(folder, kind, arguments, rate, per_second):
    before = scraped(ADMIN, "portcullis_legacy_cpu_seconds_total")
    beside = flood(folder, kind, per_second, arguments.seconds + 1)
    time.sleep(0.5)
    throughput, slow = fast(folder, rate, arguments.seconds)
    sent = flooded(beside)
    used = scraped(ADMIN, "portcullis_legacy_cpu_seconds_total") - before
    return throughput, slow, sent, used / (arguments.seconds + 1)


def pairs(folder, kind, arguments, rate, per_second, budget):
    """Alternating pairs, each in the other order than the one before."""
    throughput, slow, lane, sent = [], [], [], []
    for number in range(arguments.pairs):
        order = ["checksum", kind] if number % 2 == 0 else [kind, "checksum"]
        found = {one: measured(folder, one, arguments, rate, per_second) for one in order}
        control, flooded_by = found["checksum"], found[kind]
        throughput.append(flooded_by[0] / control[0])
        slow.append((flooded_by[1] - control[1]) * 100)
        lane.append(flooded_by[3] / budget)
        sent.append(flooded_by[2])
    median = statistics.median
    print(
        f"{kind:<6} flood {median(sent):>7.0f}/s  throughput {median(throughput):>6.1%} (least {min(throughput):.1%})  "
        f"slower than 5 ms {median(slow):>+6.2f} points (most {max(slow):+.2f})  lane {median(lane):>4.0%} of its budget",
        flush=True,
    )
    return median(throughput) >= 0.95 and median(slow) <= 0.1 and (kind != "valid" or median(lane) >= 0.5)


def wrong_tokens(folder, process, count):
    """The gate's memory before and after so many different wrong tokens."""
    before, decided = resident_mib(process), scraped(ADMIN, "portcullis_decisions_total")
    while (sent := scraped(ADMIN, "portcullis_decisions_total") - decided) < count:
        flood(folder, "wrong", 0, 20).communicate()
        print(f"       {sent:,.0f} wrong tokens, {resident_mib(process) - before:+.1f} MiB", end="\r", flush=True)
    gained = resident_mib(process) - before
    print(f"\rmemory {sent:>12,.0f} different wrong tokens: {gained:+.1f} MiB", flush=True)
    return gained <= 64


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--quota", type=float, default=0)
    parser.add_argument("--wrong", type=int, default=10_000_000)
    parser.add_argument("--binary", type=pathlib.Path, default=pathlib.Path("target/release/portcullis"))
    arguments = parser.parse_args()
    if not arguments.binary.exists():
        sys.exit(f"there is no {arguments.binary}: cargo build --release")
    for port in (GATE, ADMIN, UPSTREAM):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                sys.exit(f"port {port} is in use")
    quota = Quota(arguments.quota)
    with tempfile.TemporaryDirectory(prefix="legacy-flood-") as name:
        folder = pathlib.Path(name) / "home"
        set_up(folder, arguments)
        with running(folder, arguments, quota) as process:
            cpus = min(arguments.quota, os.cpu_count()) if quota.folder else len(os.sched_getaffinity(0))
            budget, rate = 0.25 * cpus, capacity() / 2
            began = time.process_time()
            hashlib.pbkdf2_hmac("sha256", b"secret", b"salt", 10 * ROUNDS)
            per_second = budget / ((time.process_time() - began) / 10)
            print(f"fast tokens at {rate:.0f}/s; the lane has {budget:.2f} CPUs, about {per_second:.0f} hashes/s", flush=True)
            kept = [
                pairs(folder, "wrong", arguments, rate, 2_000, budget),
                pairs(folder, "valid", arguments, rate, 10 * per_second, budget),
                arguments.wrong == 0 or wrong_tokens(folder, process, arguments.wrong),
            ]
    sys.exit(0 if all(kept) else 1)


if __name__ == "__main__":
    main()
