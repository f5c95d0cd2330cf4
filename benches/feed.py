#!/usr/bin/env python3
"""How soon a change is in force at a gate that follows a control over HTTP, on this machine.

A control and a gate without a store, each a process of its own; tokens are revoked one by one over
the management API. Printed is how long after the API's answer the gate still let each token in,
first alone, then while further tokens are made as fast as one client can.

    benches/feed.py [--revocations 200] [--tokens 20000] [--binary target/release/portcullis]
"""

import argparse
import contextlib
import http.client
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from harness import serving, status

GATE, GATE_ADMIN, CONTROL, CONTROL_GATE, CONTROL_ADMIN = range(19021, 19026)
UPSTREAM = '[upstreams.api]\nendpoints = ["http://127.0.0.1:1"]\n'


class Process:
    """A folder from which to serve, and what is in force for whatever runs there."""

    def __init__(self, binary, folder, admin, **environment):
        self.command = [str(binary), "-c", str(folder / "portcullis.toml")]
        self.folder, self.admin = folder, admin
        self.environment = {**os.environ, **environment}

    def run(self, *words):
        done = subprocess.run([*self.command, *map(str, words)], check=True, capture_output=True, text=True)
        return done.stdout

    def serving(self):
        return serving([*self.command, "serve"], self.admin, env=self.environment)


class Api:
    """The management API, on one connection."""

    def __init__(self, token):
        self.connection = http.client.HTTPConnection("127.0.0.1", CONTROL, timeout=20)
        self.headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def call(self, method, path, body=None):
        self.connection.request(method, f"/api/v3/accounts/1/{path}", body and json.dumps(body), self.headers)
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status >= 300:
            sys.exit(f"{method} {path}: {answer.status} {text.decode()}")
        return json.loads(text)["data"] if text else None

    def make(self):
        grants = [{"permission_set": "job_admin"}]
        return self.call("POST", "service-tokens/", {"name": "one", "permission_grants": grants})


def measure(what, api, count):
    gate = http.client.HTTPConnection("127.0.0.1", GATE, timeout=20)
    delays = []
    for _ in range(count):
        made = api.make()
        # 502: it is let in, and there is no API behind this gate.
        while status(gate, made["token_string"]) != 502:
            time.sleep(0.001)
        api.call("DELETE", f"service-tokens/{made['id']}/")
        answered = time.monotonic()
        while status(gate, made["token_string"]) != 401:
            time.sleep(0.0005)
        delays.append((time.monotonic() - answered) * 1e3)
    delays.sort()
    print(f"{what}: {count} revocations in force at the gate after {statistics.median(delays):.1f} ms (median), "
          f"{delays[count * 99 // 100]:.1f} ms (99 %), {delays[-1]:.1f} ms (longest)", flush=True)


@contextlib.contextmanager
def busy(token):
    stop, made = threading.Event(), []

    def work():
        api = Api(token)
        while not stop.is_set():
            made.append(api.make()["id"])

    thread, began = threading.Thread(target=work), time.monotonic()
    thread.start()
    yield
    stop.set()
    thread.join()
    print(f"meanwhile {len(made) / (time.monotonic() - began):.0f} tokens a second were made", flush=True)


def configure(binary, folder, arguments):
    control, gate = folder / "control", folder / "gate"
    subprocess.run([binary, "init", control], check=True, capture_output=True)
    gate.mkdir()
    for name in ["digest.key", "permission_sets.toml"]:
        shutil.copy(control / name, gate / name)
    for place in [control, gate]:
        (place / "routes.toml").write_text('[[route]]\npath = "/me/"\nrequires = "authenticated"\n')
    limits = '[limits]\nfailed_credentials = "off"\n'
    (control / "portcullis.toml").write_text(
        f'[gate]\nlisten = ["127.0.0.1:{CONTROL_GATE}"]\n{UPSTREAM}{limits}[store]\nurl = "sqlite:portcullis.db"\n'
        f'[admin]\nlisten = "127.0.0.1:{CONTROL_ADMIN}"\n[control]\nlisten = "127.0.0.1:{CONTROL}"\n'
    )
    (gate / "portcullis.toml").write_text(
        f'[gate]\nlisten = ["127.0.0.1:{GATE}"]\n{UPSTREAM}{limits}[admin]\nlisten = "127.0.0.1:{GATE_ADMIN}"\n'
        f'[feed]\nurl = "http://127.0.0.1:{CONTROL}"\ntoken_env = "FEED_TOKEN"\ncache = "cache"\n'
    )
    process = Process(binary, control, CONTROL_ADMIN)
    process.run("account", "create", "--id", 1, "--name", "One", "--plan", "enterprise")
    lines = "".join(
        f'{{"account_id":1,"name":"t{number}","created_at":"2024-05-01T00:00:00Z","grants":[{{"permission_set":"job_admin"}}],"token":"imported-token-{number:09}"}}\n'
        for number in range(arguments.tokens)
    )
    (folder / "lines.jsonl").write_text(lines)
    process.run("import", folder / "lines.jsonl")
    create = ["token", "create", "--name", "x", "--grant"]
    feed = json.loads(process.run(*create, "account_viewer", "--account", 0))["token"]
    admin = json.loads(process.run(*create, "account_admin", "developer", "--account", 1))["token"]
    return process, Process(binary, gate, GATE_ADMIN, FEED_TOKEN=feed), admin


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--revocations", type=int, default=200)
    parser.add_argument("--tokens", type=int, default=20_000)
    parser.add_argument("--binary", type=pathlib.Path, default=pathlib.Path("target/release/portcullis"))
    arguments = parser.parse_args()
    if not arguments.binary.exists():
        sys.exit(f"missing: {arguments.binary}")
    with tempfile.TemporaryDirectory(prefix="feed-bench-") as name:
        control, gate, admin = configure(arguments.binary.resolve(), pathlib.Path(name), arguments)
        with control.serving(), gate.serving():
            api = Api(admin)
            measure("alone", api, arguments.revocations)
            with busy(admin):
                measure("while others change things", api, arguments.revocations)


if __name__ == "__main__":
    main()
