#!/usr/bin/env python3
"""What a gate keeps in memory: at its start, and after tokens have been imported while it runs.

    benches/resident.py [--tokens 1000000] [--accounts 100000] [--ip-rules 8] [--more 100000]
                        [--binary target/release/portcullis]

Accounts have one project and up to so many IP rules each, tokens 1 to 5 grants. Memory is looked at
once it has stopped falling: the allocator gives back what was freed a little later.
"""

import argparse
import pathlib
import random
import sys
import tempfile
import time

from harness import resident_mib, scraped
from soak import ADMIN, gate, init, run_import, write_lines

# Looks, one a second, in which memory must not have fallen.
STILL = 10
# Longest that is waited for that, and for an import to be in force, in seconds.
PATIENCE = 180
GRANTS = ["job_admin", "readonly", "developer", "analyst", "metadata_only"]


def account_lines(number, rng, arguments):
    yield {"type": "account", "id": number, "name": f"a{number}", "plan": "enterprise", "state": "open"}
    yield {"type": "project", "account_id": number, "id": number * 10, "name": "p"}
    for rule in range(rng.randint(0, arguments.ip_rules)):
        action = "deny" if rng.random() < 0.25 else "allow"
        cidr = f"11.{rule}.{rng.randint(0, 255)}.0/24" if rule % 4 else f"2001:db8:{rule:x}{rng.randint(0, 4095):03x}::/48"
        yield {"type": "ip_rule", "account_id": number, "action": action, "cidr": cidr, "name": ""}
    yield {"type": "ip_rules", "account_id": number, "enabled": True}


def token_line(number, rng, arguments):
    account = number % arguments.accounts + 1
    projects = [None, *[account * 10] * 4]
    grants = [
        {"permission_set": GRANTS[at], "project_id": projects[at], "writable_environment_categories": []}
        for at in range(rng.randint(1, 5))
    ]
    return {
        "account_id": account,
        "name": "t",
        "created_at": "2024-05-01T00:00:00Z",
        "grants": grants,
        "token": f"resident-{number:012}",
    }


def lines(arguments, rng):
    for number in range(1, arguments.accounts + 1):
        yield from account_lines(number, rng, arguments)
    for number in range(arguments.tokens):
        yield token_line(number, rng, arguments)


def peak_mib(process):
    """The most since the last call, or since the start (proc_pid_clear_refs(5))."""
    with open(f"/proc/{process.pid}/status") as status:
        line = next(line for line in status if line.startswith("VmHWM"))
    with open(f"/proc/{process.pid}/clear_refs", "w") as refs:
        refs.write("5")
    return int(line.split()[1]) / 1024


def steady_mib(process):
    least, still = resident_mib(process), 0
    for _ in range(PATIENCE):
        time.sleep(1)
        now = resident_mib(process)
        still = still + 1 if now > least - 0.5 else 0
        least = min(least, now)
        if still == STILL:
            break
    return resident_mib(process)


def wait_for_tokens(wanted):
    for _ in range(PATIENCE):
        # `init` has made one more.
        if scraped(ADMIN, "portcullis_index_tokens") >= wanted:
            return
        time.sleep(1)
    sys.exit(f"the gate does not come to hold {wanted} tokens")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=1_000_000)
    parser.add_argument("--accounts", type=int, default=100_000)
    parser.add_argument("--ip-rules", type=int, default=8)
    parser.add_argument("--more", type=int, default=100_000)
    parser.add_argument("--binary", type=pathlib.Path, default=pathlib.Path("target/release/portcullis"))
    arguments = parser.parse_args()
    if not arguments.binary.exists():
        sys.exit(f"there is no {arguments.binary}: cargo build --release")
    rng = random.Random(7)
    with tempfile.TemporaryDirectory(prefix="resident-") as name:
        folder = pathlib.Path(name) / "home"
        init(folder, arguments)
        run_import(folder, arguments, write_lines(folder / "first.jsonl", lines(arguments, rng)))
        first = range(arguments.tokens, arguments.tokens + arguments.more)
        more = write_lines(folder / "more.jsonl", (token_line(number, rng, arguments) for number in first))
        with gate(folder, arguments) as process:
            wait_for_tokens(arguments.tokens)
            print(f"{arguments.tokens} tokens of {arguments.accounts} accounts: {steady_mib(process):.0f} MiB resident", end="")
            print(f", {peak_mib(process):.0f} at most while starting", flush=True)
            run_import(folder, arguments, more)
            wait_for_tokens(arguments.tokens + arguments.more)
            print(f"{arguments.more} more: {steady_mib(process):.0f} MiB resident", end="")
            print(f", {peak_mib(process):.0f} at most while a new index was made beside the old one", flush=True)


if __name__ == "__main__":
    main()
