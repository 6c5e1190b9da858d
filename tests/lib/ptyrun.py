#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Drives a program on a pseudo terminal of its own, as a person would.

Usage: ptyrun.py SCRIPT COMMAND...
SCRIPT has one step a line:
  expect REGEX     waits until the output has it, behind what earlier steps matched
  send TEXT        types TEXT; \\n, \\x01 and the like are understood
  size COLS ROWS   resizes the terminal
  kill SIGNAL      sends the signal, by name, to the program
  cooked           the program has ended, and its terminal must be as it was
Ends with the program's status (128 + signal when one ended it), 125 when a step fails, after PTYRUN_LIMIT (60) s each.
What the program wrote goes to stdout.
"""
import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time

LIMIT = int(os.environ.get("PTYRUN_LIMIT", "60"))
out = b""
seen = 0


def resize(fd, cols, rows):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))


def fail(why):
    print("\nptyrun: %s; not matched yet: %r" % (why, out[seen:][-600:]), file=sys.stderr)
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    sys.exit(125)


def more(fd, until):
    """Reads a part; False at the end of the output."""
    global out
    if not select.select([fd], [], [], max(0, until - time.monotonic()))[0]:
        fail("no end of the wait for %s" % step)
    try:
        part = os.read(fd, 65536)
    except OSError:
        part = b""
    out += part
    sys.stdout.buffer.write(part)
    sys.stdout.buffer.flush()
    return bool(part)


steps = open(sys.argv[1]).read().splitlines()
main, sub = pty.openpty()
resize(main, 90, 30)
before = termios.tcgetattr(sub)
pid = os.fork()
if pid == 0:
    os.setsid()
    fcntl.ioctl(sub, termios.TIOCSCTTY, 0)
    for fd in 0, 1, 2:
        os.dup2(sub, fd)
    os.closerange(3, 100)
    os.execvp(sys.argv[2], sys.argv[2:])
status = None
for step in steps:
    word, _, arg = step.partition(" ")
    until = time.monotonic() + LIMIT
    if word == "expect":
        while True:
            m = re.compile(arg.encode()).search(out, seen)
            if m:
                seen = m.end()
                break
            if not more(main, until):
                fail("the program ended before: " + arg)
    elif word == "send":
        os.write(main, arg.encode().decode("unicode_escape").encode("latin1"))
    elif word == "size":
        resize(main, *map(int, arg.split()))
    elif word == "kill":
        os.kill(pid, getattr(signal, "SIG" + arg))
    elif word == "cooked":
        # The terminal stays open here, so there is no end of file: the process tells.
        while status is None:
            done, st = os.waitpid(pid, os.WNOHANG)
            if done:
                status = st
            elif select.select([main], [], [], 0.05)[0]:
                more(main, until)
            elif time.monotonic() > until:
                fail("the program does not end")
        if termios.tcgetattr(sub) != before:
            fail("the terminal was left changed")
    elif word:
        fail("unknown step " + word)
while select.select([main], [], [], 0)[0] and more(main, time.monotonic() + 1):
    pass
if status is None:
    fail("the script ended before the program")
sys.exit(128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))
