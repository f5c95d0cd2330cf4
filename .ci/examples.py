#!/usr/bin/env python3
"""Runs a document's ```console blocks: examples.py DOCUMENT...

All blocks of a document run in one shell in one fresh folder, in order. A line that begins with
`$ ` is a command, `> ` continues it, everything else is the output that must come; `...` in it
stands for anything. A command without printed output must succeed. Blocks of other kinds, such as
```sh, are not run.
"""

import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile

END = "@@example ended with "
SECONDS_LIMIT = 120


def main(documents):
    failures = ran = 0
    for document in documents:
        commands = list(examples(pathlib.Path(document).read_text()))
        failures += run(document, commands)
        ran += len(commands)
    print(f"{ran} examples, {failures} failed")
    sys.exit(1 if failures or not ran else 0)


def examples(text):
    """(line number, command, expected output) for each command."""
    found, inside = None, False
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("```"):
            inside = line == "```console"
        elif inside and line.startswith("$ "):
            if found:
                yield found
            found = (number, line[2:], "")
        elif inside and line.startswith("> "):
            found = (found[0], f"{found[1]}\n{line[2:]}", found[2])
        elif inside:
            found = (found[0], found[1], f"{found[2]}{line}\n")
    if found:
        yield found


def run(document, commands):
    failures = 0
    # What this machine has set up must not decide what a reader sees.
    kept = {name: value for name, value in os.environ.items()
            if not name.startswith("PORTCULLIS_")}
    with tempfile.TemporaryDirectory(prefix="portcullis-examples-") as folder:
        shell = subprocess.Popen(["bash"], cwd=folder, env=kept | {"NO_COLOR": "1"}, text=True,
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                 stderr=subprocess.STDOUT, start_new_session=True)
        signal.signal(signal.SIGALRM, lambda *_: os.killpg(shell.pid, signal.SIGKILL))
        signal.alarm(SECONDS_LIMIT)
        try:
            for number, command, expected in commands:
                output, status = ask(shell, command)
                if not matches(expected, output, status):
                    failures += 1
                    print(f"{document}:{number}: $ {command}\nexit {status}, expected:\n{expected}"
                          f"but it was:\n{output}", file=sys.stderr)
        finally:
            signal.alarm(0)
            os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()
    return failures


def ask(shell, command):
    shell.stdin.write(f"{{ {command}\n}} </dev/null; printf '\\n{END}%d\\n' $?\n")
    shell.stdin.flush()
    output = []
    for line in shell.stdout:
        if line.startswith(END):
            return "".join(output).rstrip("\n") + "\n", int(line[len(END):])
        output.append(line)
    return "".join(output) + "(the shell ended, or took too long)\n", -1


def matches(expected, output, status):
    if not expected:
        return status == 0
    pattern = re.escape(expected.rstrip("\n")).replace(r"\.\.\.", ".*")
    return re.fullmatch(pattern, output.rstrip("\n"), re.DOTALL) is not None


main(sys.argv[1:])
