#!/usr/bin/env python3
"""Sustained single changes under a running gate: are they in force in time, and does memory stay?

Four runs on one gate, which follows the store from a process of its own:

  accounts  so many changes a second for minutes, of the same accounts again and again: the gate's
            memory must not grow, however often the overlay is folded into a new base;
  tokens    tokens are made and revoked, so many changes a second, each durable before it counts:
            which share is in force within 250 ms, and how late is the latest hundredth;
  api       the same over the management API: tokens are made, rotated and revoked by turns;
  import    the tokens run while tokens are imported in bulk, so that the gate takes snapshots meanwhile.

    benches/soak.py [--minutes 3] [--rate 1000] [--seconds 60] [--singles 500] [--tokens 200000]
                    [--binary target/release/portcullis] [--driver PATH]

The driver is `benches/soak.rs`, built by `cargo build --release --bench soak` if it is not given.
"""

import argparse
import contextlib
import json
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

from harness import resident_mib, scraped, serving

GATE, ADMIN, CONTROL = 19011, 19012, 19013
# More than make a fold, so that there is one every few seconds.
ACCOUNTS = 6_000


def lines(accounts, tokens, prefix):
    """One account more, each with a token that is known by name, then tokens of theirs."""
    grant = {"permission_set": "job_admin", "project_id": None, "writable_environment_categories": []}
    for account in range(1, accounts + 2 if accounts else 1):
        yield {"type": "account", "id": account, "name": f"a{account}", "plan": "enterprise", "state": "open"}
        yield token(account, f"token-of-account-{account:06}", grant)
    for number in range(tokens):
        yield token(number % ACCOUNTS + 1, f"{prefix}-{number:012}", grant)


def token(account, secret, grant):
    return {"account_id": account, "name": "t", "created_at": "2024-05-01T00:00:00Z", "grants": [grant], "token": secret}


def write_lines(path, found):
    with open(path, "w") as out:
        out.writelines(json.dumps(line) + "\n" for line in found)
    return path


def init(folder, arguments):
    subprocess.run([arguments.binary, "init", folder], check=True, capture_output=True)
    # Nothing is there: what is permitted gets 502, which is as good as an answer here.
    (folder / "portcullis.toml").write_text(
        f'[gate]\nlisten = ["127.0.0.1:{GATE}"]\nworkers = 1\n'
        f'[upstreams.api]\nendpoints = ["http://127.0.0.1:1"]\n'
        f'[store]\nurl = "sqlite:portcullis.db"\n[admin]\nlisten = "127.0.0.1:{ADMIN}"\n'
        f'[control]\nlisten = "127.0.0.1:{CONTROL}"\n'
    )


def set_up(folder, arguments):
    init(folder, arguments)
    first = write_lines(folder / "first.jsonl", lines(ACCOUNTS, arguments.tokens, "first"))
    run_import(folder, arguments, first)


def run_import(folder, arguments, path):
    command = [arguments.binary, "-c", folder / "portcullis.toml", "import", path]
    subprocess.run(command, check=True, capture_output=True)


def gate(folder, arguments):
    return serving([arguments.binary, "-c", folder / "portcullis.toml", "serve"], ADMIN)


class Memory:
    """The gate's resident memory, once a second, while something runs."""

    def __init__(self, process):
        self.process = process
        self.ended = threading.Event()
        self.samples = []

    def __enter__(self):
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()

    def watch(self):
        while not self.ended.wait(1):
            self.samples.append(resident_mib(self.process))

    def part(self, which):
        """Least and most in a third of the run: folds come and go within it."""
        third = max(1, len(self.samples) // 3)
        samples = self.samples[:third] if which == 0 else self.samples[-third:]
        return f"{min(samples):.0f}-{max(samples):.0f}" if samples else "-"


def admin_token(folder, arguments):
    """The secret of a token that manages the tokens of account 1."""
    create = ["token", "create", "--account", "1", "--name", "admin", "--grant", "account_admin", "job_admin"]
    command = [arguments.binary, "-c", folder / "portcullis.toml", *create]
    secret = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["token"]
    deadline = time.monotonic() + 10
    while not manages_tokens(secret):
        if time.monotonic() > deadline:
            sys.exit("the management API does not take a new token")
        time.sleep(0.01)
    return secret


def manages_tokens(secret):
    """Whether a token is in force at the management API."""
    request = urllib.request.Request(f"http://127.0.0.1:{CONTROL}/api/v3/accounts/1/service-tokens/?limit=1")
    request.add_header("Authorization", f"Bearer {secret}")
    with contextlib.suppress(urllib.error.HTTPError):
        return urllib.request.urlopen(request, timeout=5).status == 200
    return False


def drive(folder, arguments, accounts, rate, seconds, sample, *api):
    command = [arguments.driver, folder / "portcullis.toml", f"127.0.0.1:{GATE}", accounts, rate, seconds, sample, *api]
    done = subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def report(name, found, memory):
    print(
        f"{name:<9} {found['rate']:>8.0f} {found['commit_p50']:>8.1f} {found['commit_p99']:>8.1f} "
        f"{found['looked_for']:>9} {found['in_time']:>9.4%} {found['p50']:>7.1f} {found['p99']:>7.1f} "
        f"{found['longest']:>8.1f} {found['lost']:>5} {memory.part(0):>10} {memory.part(1):>10} "
        f"{scraped(ADMIN, 'portcullis_index_overlay_entries'):>8.0f}",
        flush=True,
    )


HEADER = (
    f"{'':<9} {'changes':>8} {'durable':>8} {'':>8} {'looked':>9} {'in 250':>9} {'in force':>7} {'':>7} {'':>8} {'':>5} "
    f"{'RSS, MiB':>10} {'':>10} {'overlay':>8}\n"
    f"{'':<9} {'a second':>8} {'p50 ms':>8} {'p99 ms':>8} {'for':>9} {'ms':>9} {'p50 ms':>7} {'p99 ms':>7} {'most':>8} "
    f"{'lost':>5} {'first':>10} {'last 1/3':>10} {'entries':>8}"
)


def build_driver():
    command = ["cargo", "build", "--release", "--bench", "soak", "--message-format=json"]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    artifacts = [json.loads(line) for line in out.splitlines()]
    return next(found["executable"] for found in artifacts if found.get("target", {}).get("name") == "soak")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--rate", type=int, default=1_000)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--singles", type=int, default=500)
    parser.add_argument("--tokens", type=int, default=200_000)
    parser.add_argument("--binary", type=pathlib.Path, default=pathlib.Path("target/release/portcullis"))
    parser.add_argument("--driver", type=pathlib.Path)
    arguments = parser.parse_args()
    if not arguments.binary.exists():
        sys.exit(f"there is no {arguments.binary}: cargo build --release")
    for port in (GATE, ADMIN, CONTROL):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                sys.exit(f"port {port} is in use")
    arguments.driver = arguments.driver or build_driver()
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder = pathlib.Path(name) / "home"
        set_up(folder, arguments)
        with gate(folder, arguments) as process:
            print(HEADER, flush=True)
            with Memory(process) as memory:
                # One in four: as many requests as one connection takes at this rate.
                found = drive(folder, arguments, ACCOUNTS, arguments.rate, int(arguments.minutes * 60), 4)
            report("accounts", found, memory)
            with Memory(process) as memory:
                found = drive(folder, arguments, 0, arguments.singles, arguments.seconds, 1)
            report("tokens", found, memory)
            admin = admin_token(folder, arguments)
            with Memory(process) as memory:
                found = drive(folder, arguments, 0, arguments.singles, arguments.seconds, 1, f"127.0.0.1:{CONTROL}", admin)
            report("api", found, memory)
            second = write_lines(folder / "second.jsonl", lines(0, arguments.tokens, "second"))
            importing = threading.Thread(target=run_import, args=(folder, arguments, second))
            with Memory(process) as memory:
                importing.start()
                found = drive(folder, arguments, 0, arguments.singles, arguments.seconds, 1)
                importing.join()
            report("import", found, memory)


if __name__ == "__main__":
    main()
