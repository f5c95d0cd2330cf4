"""What the scripts beside it share: a process that serves, what it says of itself, and tokens."""

import contextlib
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zlib

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
PAGE = os.sysconf("SC_PAGE_SIZE")


@contextlib.contextmanager
def serving(command, admin, **how):
    """A process until the end of the block, from when its admin listener on that port says that it is ready."""
    how = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **how}
    process = subprocess.Popen([str(word) for word in command], **how)
    try:
        deadline = time.monotonic() + 120
        while not is_ready(admin):
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"did not start: {' '.join(map(str, command))}")
            time.sleep(0.02)
        yield process
    finally:
        process.terminate()
        process.wait()


def is_ready(admin):
    with contextlib.suppress(OSError, urllib.error.URLError):
        return urllib.request.urlopen(f"http://127.0.0.1:{admin}/readyz", timeout=1).status == 200
    return False


def scraped(admin, name):
    """The sum of a metric over its labels."""
    text = urllib.request.urlopen(f"http://127.0.0.1:{admin}/metrics", timeout=10).read().decode()
    found = [line.rsplit(" ", 1) for line in text.splitlines() if re.match(rf"{name}[ {{]", line)]
    return sum(float(value) for _, value in found)


def resident_mib(process):
    with open(f"/proc/{process.pid}/statm") as statm:
        return int(statm.read().split()[1]) * PAGE / 2**20


def status(connection, token):
    """What a gate answers to a token; 502 where it is let in and there is nothing behind the gate."""
    connection.request("GET", "/me/", headers={"Authorization": f"Bearer {token}"})
    answer = connection.getresponse()
    answer.read()
    return answer.status


def make_token(rng):
    body = "pts_" + base62(rng.getrandbits(256), 43)
    return body + base62(zlib.crc32(body.encode()), 6)


def base62(number, length):
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))
