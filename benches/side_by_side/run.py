#!/usr/bin/env python3
"""CPU per proxied request: Portcullis, HAProxy and a bare hyper proxy, in turn, on one machine.

Each proxy runs one worker pinned to one core in front of the same nginx; load (wrk) and nginx
share another core. Portcullis and HAProxy check the same tokens. The bare proxies check nothing
(bare_proxy.rs): `pooled` is hyper's server with hyper-util's client, `paired` the least that can
be done with hyper. HTTP/1.1 keep-alive. A run's figure is the CPU
time of the proxy's processes over the requests that were answered, so that it does not depend on
how much time the other core left. Runs alternate; what counts is the median of the ratios.

With --tls, clients speak HTTP/2 over TLS 1.3 (h2load, 8 requests at a time on each connection, one
token), and the bare proxies, which do not, are left out.

    benches/side_by_side/run.py [--pairs 5] [--seconds 10] [--tokens 1000000] [--connections 64]
                                [--tls] [--binary target/release/portcullis]
                                [--bare target/release/examples/bare_proxy]

Needs nginx, haproxy, wrk, h2load and openssl (Debian: nginx-light haproxy wrk nghttp2-client), two cores, and
`cargo build --release --bin portcullis --example bare_proxy`.
"""

import argparse
import contextlib
import hashlib
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

# What the scripts in the folder above share.
sys.path.append(str(pathlib.Path(__file__).resolve().parents[1]))

from harness import is_ready, make_token

TICKS = os.sysconf("SC_CLK_TCK")
SAMPLE = 200_000
UPSTREAM, GATE, ADMIN, HAPROXY, BARE, GATE_TLS, HAPROXY_TLS = range(19000, 19007)


def write_store_lines(path, tokens, accounts):
    """Accounts with 1 to 5 IP rules each, tokens with 2 grants."""
    cidrs = ["127.0.0.0/8", "10.0.0.0/8", "192.168.0.0/16", "172.16.0.0/12", "192.0.2.0/24"]
    with open(path, "w") as out:
        for account in range(1, accounts + 1):
            line = {"type": "account", "id": account, "name": f"a{account}", "plan": "enterprise", "state": "open"}
            out.write(json.dumps(line) + "\n")
            project = {"type": "project", "account_id": account, "id": account * 10, "name": "p"}
            out.write(json.dumps(project) + "\n")
            for cidr in cidrs[: 1 + account % 5]:
                rule = {"type": "ip_rule", "account_id": account, "action": "allow", "cidr": cidr, "name": ""}
                out.write(json.dumps(rule) + "\n")
            out.write(json.dumps({"type": "ip_rules", "account_id": account, "enabled": True}) + "\n")
        for number, token in enumerate(tokens):
            account = number % accounts + 1
            grants = [
                {"permission_set": "job_admin", "project_id": None, "writable_environment_categories": []},
                {"permission_set": "readonly", "project_id": account * 10, "writable_environment_categories": []},
            ]
            line = {
                "account_id": account, "name": f"t{number}", "created_at": "2024-05-01T00:00:00Z",
                "expires_at": None, "not_before": None, "state": "active", "user_id": None, "allow_ips": [],
                "grants": grants, "token": token,
            }
            out.write(json.dumps(line) + "\n")


def set_up(folder, arguments):
    rng = random.Random(7)
    tokens = [make_token(rng) for _ in range(arguments.tokens)]
    accounts = max(1, min(100_000, arguments.tokens // 10))
    gate = [str(arguments.binary), "-c", str(folder / "gate/portcullis.toml")]
    subprocess.run([arguments.binary, "init", folder / "gate"], check=True, capture_output=True)
    (folder / "gate/portcullis.toml").write_text(
        f'[gate]\nlisten = ["127.0.0.1:{GATE}"]\nlisten_tls = ["127.0.0.1:{GATE_TLS}"]\nworkers = 1\n'
        f'tls = {{ certificates = [{{ certificate = "../tls.crt", key = "../tls.key" }}] }}\n'
        f'[upstreams.api]\nendpoints = ["http://127.0.0.1:{UPSTREAM}"]\n'
        f'[store]\nurl = "sqlite:portcullis.db"\n[admin]\nlisten = "127.0.0.1:{ADMIN}"\n'
    )
    make_certificate(folder)
    write_store_lines(folder / "lines.jsonl", tokens, accounts)
    began = time.monotonic()
    subprocess.run([*gate, "import", folder / "lines.jsonl"], check=True, capture_output=True)
    print(f"imported {arguments.tokens} tokens in {time.monotonic() - began:.1f} s")
    os.remove(folder / "lines.jsonl")
    with open(folder / "map.txt", "w") as out:
        for number, token in enumerate(tokens):
            out.write(f"{hashlib.sha256(token.encode()).hexdigest().upper()} {number % accounts + 1}\n")
    (folder / "allowed.lst").write_text("127.0.0.0/8\n10.0.0.0/8\n192.168.0.0/16\n")
    picked = rng.sample(range(len(tokens)), min(SAMPLE, len(tokens)))
    with open(folder / "requests.txt", "w") as out:
        for number in picked:
            out.write(f"{tokens[number]} {number % accounts + 1}\n")
    account = picked[0] % accounts + 1
    arguments.one = (tokens[picked[0]], f"/api/v2/accounts/{account}/jobs/")
    (folder / "wrk.lua").write_text(WRK.replace("FILE", str(folder / "requests.txt")))
    (folder / "nginx.conf").write_text(NGINX.replace("FOLDER", str(folder)).replace("PORT", str(UPSTREAM)))
    haproxy = HAPROXY_CONF.replace("FOLDER", str(folder)).replace("TLS_PORT", str(HAPROXY_TLS)).replace("PORT", str(HAPROXY))
    (folder / "haproxy.cfg").write_text(haproxy.replace("UPSTREAM", str(UPSTREAM)))


def make_certificate(folder):
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
               "-keyout", folder / "tls.key", "-out", folder / "tls.crt", "-subj", "/CN=localhost", "-days", "2"]
    subprocess.run(command, check=True, capture_output=True)
    (folder / "tls.key").chmod(0o600)
    (folder / "both.pem").write_text((folder / "tls.crt").read_text() + (folder / "tls.key").read_text())


WRK = """
local requests = {}
for line in io.lines("FILE") do
  local token, account = line:match("(%S+) (%S+)")
  requests[#requests + 1] = wrk.format("GET", "/api/v2/accounts/" .. account .. "/jobs/",
    { ["Authorization"] = "Bearer " .. token, ["Host"] = "api.example.com", ["Accept"] = "*/*",
      ["User-Agent"] = "bench/1.0" })
end
local at = 0
function setup(thread) thread:set("seed", 1) end
function init(arguments) math.randomseed(7) end
function request() at = math.random(#requests); return requests[at] end
"""

NGINX = """
worker_processes 1; daemon off; pid FOLDER/nginx.pid; error_log FOLDER/nginx.err;
events { worker_connections 4096; }
http { access_log off; keepalive_requests 1000000000; keepalive_timeout 300s;
  client_body_temp_path FOLDER/b; proxy_temp_path FOLDER/p; fastcgi_temp_path FOLDER/f;
  uwsgi_temp_path FOLDER/u; scgi_temp_path FOLDER/s;
  server { listen 127.0.0.1:PORT backlog=4096; location / { return 200 "ok\\n"; } } }
"""

HAPROXY_CONF = """
global
  nbthread 1
  maxconn 4000
  tune.bufsize 16384
defaults
  mode http
  timeout client 60s
  timeout server 60s
  timeout connect 2s
  http-reuse always
frontend gate
  bind 127.0.0.1:PORT
  bind 127.0.0.1:TLS_PORT ssl crt FOLDER/both.pem alpn h2,http/1.1
  http-request set-var(txn.account) http_auth_bearer,sha2(256),hex,map_str(FOLDER/map.txt)
  http-request return status 401 content-type application/json string "{}" unless { var(txn.account) -m found }
  http-request deny unless { src -f FOLDER/allowed.lst }
  http-request del-header authorization
  http-request set-header x-account-id %[var(txn.account)]
  default_backend api
backend api
  server a 127.0.0.1:UPSTREAM
"""


@contextlib.contextmanager
def running(command, port, ready=None):
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while not (ready() if ready else connects(port)):
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"did not start: {' '.join(map(str, command))}")
            time.sleep(0.05)
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def connects(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
        return True
    return False


def cpu_seconds(group):
    """User and system time of every process of the group."""
    total = 0
    for entry in pathlib.Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            if entry.name.isdigit() and int(fields[2]) == group:
                total += int(fields[11]) + int(fields[12])
    return total / TICKS


def resident_mib(group):
    total = 0
    for entry in pathlib.Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            if entry.name.isdigit() and int(fields[2]) == group:
                total += int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
    return total / 2**20


def load(folder, port, arguments, seconds):
    if arguments.tls:
        return load_tls({GATE: GATE_TLS, HAPROXY: HAPROXY_TLS}[port], arguments, seconds)
    command = ["taskset", "-c", "1", "wrk", "-t1", f"-c{arguments.connections}", f"-d{seconds}s",
               "-s", str(folder / "wrk.lua"), f"http://127.0.0.1:{port}/"]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in out or "Socket errors" in out:
        sys.exit(f"not every request was answered:\n{out}")
    return int(re.search(r"(\d+) requests in", out)[1])


def load_tls(port, arguments, seconds):
    token, path = arguments.one
    command = ["taskset", "-c", "1", "h2load", "-t1", f"-c{arguments.connections}", "-m8", f"-D{seconds}",
               "-H", f"Authorization: Bearer {token}", f"https://127.0.0.1:{port}{path}"]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    answered = re.search(r"requests: .* (\d+) succeeded, 0 failed, 0 errored, 0 timeout", out)
    ok = re.search(r"status codes: (\d+) 2xx, 0 3xx, 0 4xx, 0 5xx", out)
    if not answered or not ok:
        sys.exit(f"not every request was answered:\n{out}")
    return int(answered[1])


def measure(folder, command, port, arguments, ready=None):
    with running(["taskset", "-c", "0", *command], port, ready) as proxy:
        load(folder, port, arguments, 2)
        before = cpu_seconds(proxy.pid)
        began = time.monotonic()
        answered = load(folder, port, arguments, arguments.seconds)
        spent, took = cpu_seconds(proxy.pid) - before, time.monotonic() - began
        return spent / answered * 1e6, answered / took, resident_mib(proxy.pid)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--tokens", type=int, default=1_000_000)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--binary", type=pathlib.Path, default=pathlib.Path("target/release/portcullis"))
    parser.add_argument("--bare", type=pathlib.Path, default=pathlib.Path("target/release/examples/bare_proxy"))
    arguments = parser.parse_args()
    missing = [tool for tool in ["nginx", "haproxy", "wrk", "h2load", "openssl", "taskset"] if not shutil.which(tool)]
    missing += [str(binary) for binary in [arguments.binary, arguments.bare] if not binary.exists()]
    if missing:
        sys.exit(f"missing: {', '.join(missing)}")
    with tempfile.TemporaryDirectory(prefix="side-by-side-") as name:
        folder = pathlib.Path(name)
        folder.chmod(0o755)
        set_up(folder, arguments)
        with running(["taskset", "-c", "1", "nginx", "-c", str(folder / "nginx.conf")], UPSTREAM):
            compare(folder, arguments)


def compare(folder, arguments):
    """Every proxy once a round; the ratios are those of one round."""
    bare = [str(arguments.bare), str(BARE), str(UPSTREAM)]
    proxies = {
        "portcullis": ([str(arguments.binary), "-c", str(folder / "gate/portcullis.toml"), "serve"], GATE, lambda: is_ready(ADMIN)),
        "haproxy": (["haproxy", "-db", "-f", str(folder / "haproxy.cfg")], HAPROXY, None),
        "bare pooled": ([*bare, "pooled"], BARE, None),
        "bare paired": ([*bare, "paired"], BARE, None),
    }
    if arguments.tls:
        proxies = {name: proxies[name] for name in ["portcullis", "haproxy"]}
    ratios = {name: [] for name in proxies if name != "portcullis"}
    for number in range(arguments.pairs):
        found = {name: measure(folder, command, port, arguments, ready) for name, (command, port, ready) in proxies.items()}
        for name, (cpu, rate, resident) in found.items():
            print(f"round {number + 1}: {name:11} {cpu:6.2f} µs/request, {rate:.0f}/s, {resident:.0f} MiB", flush=True)
        for name, collected in ratios.items():
            collected.append(found["portcullis"][0] / found[name][0])
    for name, collected in ratios.items():
        print(f"CPU per request, portcullis / {name}: median {statistics.median(collected):.3f}, "
              f"{min(collected):.3f} to {max(collected):.3f}")


if __name__ == "__main__":
    main()
