#!/usr/bin/env python3
"""What a bulk import costs, and what others notice of it, on this machine.

Lines with plain tokens, then the same with digests (as `export` writes them), go into an empty
SQLite store. Printed are lines a second, CPU time, and the most memory that the process had; the
same for a tenth of the lines, so that growth shows; the time of a second run, in which every line
is there already; and an import that is killed (SIGKILL) half way and run again. At last tokens are
revoked one by one while an import goes on: how long each command took, and how long after its end
a gate that serves meanwhile still let the token in.

    benches/import.py [--lines 1000000] [--accounts 1000] [--revocations 40]
                      [--binary target/release/portcullis]
"""

import argparse
import http.client
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time

from harness import make_token, serving, status

GATE, ADMIN = 19011, 19012


class Store:
    """A folder that `init` made, with accounts and without their tokens."""

    def __init__(self, arguments, folder):
        self.binary, self.folder = str(arguments.binary), folder
        subprocess.run([self.binary, "init", folder], check=True, capture_output=True)
        (folder / "portcullis.toml").write_text(
            f'[gate]\nlisten = ["127.0.0.1:{GATE}"]\n[upstreams.api]\nendpoints = ["http://127.0.0.1:1"]\n'
            f'[store]\nurl = "sqlite:portcullis.db"\n[admin]\nlisten = "127.0.0.1:{ADMIN}"\n'
        )
        (folder / "routes.toml").write_text('[[route]]\npath = "/me/"\nrequires = "authenticated"\n')
        accounts = [
            {"type": "account", "id": number, "name": f"a{number}", "plan": "enterprise", "state": "open"}
            for number in range(1, arguments.accounts + 1)
        ]
        (folder / "accounts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in accounts))
        self.run("import", folder / "accounts.jsonl")

    def command(self, *words):
        return [self.binary, "-c", str(self.folder / "portcullis.toml"), *map(str, words)]

    def run(self, *words):
        return subprocess.run(self.command(*words), check=True, capture_output=True, text=True).stdout

    def measure(self, *words):
        """Runs a command: its output, seconds, CPU seconds, and the most MiB that it had in memory."""
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
            began = time.monotonic()
            process = subprocess.Popen(self.command(*words), stdout=out, stderr=errors)
            most = watch_memory(process.pid)
            took = time.monotonic() - began
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            out.seek(0), errors.seek(0)
            if process.returncode:
                sys.exit(f"{words}: exit {process.returncode}\n{errors.read()}")
            return out.read(), took, usage.ru_utime + usage.ru_stime, most


def watch_memory(pid):
    """The most MiB that a process has had in memory, once it has ended.

    What `wait4` says is at least what this program had when it began the process.
    """
    most = 0
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                most = int(line.split()[1]) / 1024
        time.sleep(0.005)
    return most


def write_lines(path, arguments):
    rng = random.Random(11)
    with open(path, "w") as out:
        for number in range(arguments.lines):
            account = number % arguments.accounts + 1
            out.write(
                f'{{"account_id":{account},"name":"t{number}","created_at":"2024-05-01T00:00:00Z",'
                '"expires_at":null,"not_before":null,"state":"active","user_id":null,"allow_ips":[],'
                '"grants":[{"permission_set":"job_admin","project_id":null,"writable_environment_categories":[]}],'
                f'"token":"{make_token(rng)}"}}\n'
            )


def head(source, target, lines):
    with open(source) as read, open(target, "w") as out:
        for _, line in zip(range(lines), read):
            out.write(line)


def throughput(kind, path, lines, make_store):
    """The whole file, then a tenth of it, each into a store of its own; the first one's store and time."""
    store = make_store()
    summary, took, cpu, most = store.measure("--json", "import", path)
    expect(summary, added=lines)
    tenth = store.folder.parent / "tenth.jsonl"
    head(path, tenth, lines // 10)
    small, _, _, least = make_store().measure("--json", "import", tenth)
    expect(small, added=lines // 10)
    print(f"{kind}: {lines} lines in {took:.1f} s, {lines / took:,.0f}/s, {cpu:.1f} s of CPU; "
          f"at most {most:.0f} MiB, with a tenth of the lines {least:.0f}", flush=True)
    summary, again, cpu, _ = store.measure("--json", "import", path)
    expect(summary, unchanged=lines)
    print(f"{kind}: again, all unchanged: {again:.1f} s, {lines / again:,.0f}/s, {cpu:.1f} s of CPU", flush=True)
    return store, took


def expect(summary, **counts):
    found = json.loads(summary)
    if any(found[key] != count for key, count in counts.items()) or found["rejected"]:
        sys.exit(f"expected {counts}, found {found}")


def killed(path, lines, uninterrupted, make_store):
    """Killed when about half is stored, and run again: everything is there, nothing twice."""
    store = make_store()
    began = time.monotonic()
    process = subprocess.Popen(store.command("import", path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(uninterrupted / 2)
    process.kill()
    process.wait()
    first = time.monotonic() - began
    summary, took, _, _ = store.measure("--json", "import", path)
    found = json.loads(summary)
    if found["added"] + found["unchanged"] != lines or not found["unchanged"] or not found["added"]:
        sys.exit(f"the killed import left {found}")
    print(f"killed after {first:.1f} s with {found['unchanged']} stored; run again: {took:.1f} s", flush=True)


def single_changes(path, arguments, store):
    """Revokes token after token while an import goes on and a gate serves."""
    create = ["token", "create", "--account", 1, "--name", "one", "--grant", "job_admin"]
    made = [json.loads(store.run(*create)) for _ in range(arguments.revocations)]
    commands, delays = [], []
    with serving(store.command("serve"), ADMIN):
        connection = http.client.HTTPConnection("127.0.0.1", GATE, timeout=20)
        importing = subprocess.Popen(store.command("import", path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.5)
        for token in made:
            if importing.poll() is not None:
                break
            # 502: it was let in, and there is no API behind this gate.
            if status(connection, token["token"]) != 502:
                sys.exit("a token that was made before is not let in")
            began = time.monotonic()
            store.run("token", "revoke", token["id"])
            ended = time.monotonic()
            while status(connection, token["token"]) != 401:
                time.sleep(0.001)
            commands.append(ended - began)
            delays.append(time.monotonic() - ended)
        importing.wait()
    if not commands:
        sys.exit("the import was over before a token could be revoked: give more --lines")
    for what, seconds in [("`token revoke`", commands), ("in force at the gate after that", delays)]:
        print(f"during an import, {len(seconds)} single changes: {what}: median {statistics.median(seconds) * 1e3:.0f} ms, "
              f"longest {max(seconds) * 1e3:.0f} ms", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--accounts", type=int, default=1_000)
    parser.add_argument("--revocations", type=int, default=40)
    parser.add_argument("--binary", type=pathlib.Path, default=pathlib.Path("target/release/portcullis"))
    arguments = parser.parse_args()
    if not arguments.binary.exists():
        sys.exit(f"missing: {arguments.binary}")
    with tempfile.TemporaryDirectory(prefix="import-bench-") as name:
        folder = pathlib.Path(name)
        numbers = iter(range(1_000))

        def make_store():
            store = Store(arguments, folder / f"store-{next(numbers)}")
            key = folder / "digest.key"
            if key.exists():
                (store.folder / "digest.key").write_bytes(key.read_bytes())
            key.write_bytes((store.folder / "digest.key").read_bytes())
            return store

        plain, digests = folder / "plain.jsonl", folder / "digests.jsonl"
        write_lines(plain, arguments)
        exported, took = throughput("plain tokens", plain, arguments.lines, make_store)
        with open(digests, "w") as out:
            for line in exported.run("export").splitlines(keepends=True):
                if '"type":"token"' in line and '"account_id":0,' not in line:
                    out.write(line)
        throughput("digests", digests, arguments.lines, make_store)
        killed(plain, arguments.lines, took, make_store)
        single_changes(plain, arguments, make_store())


if __name__ == "__main__":
    main()
