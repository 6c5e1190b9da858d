#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What an engine does to a runtime, for one process: a sub-reaper that starts the command, waits for
the end of its pipes, reads the pid file, and reaps the process that it names.

Usage: engine.py [OPTION]... COMMAND...   with @PID in COMMAND for the name of the pid file, @PIDFD for
that of a socket where a pidfd of the process has to come
  --in FILE         the process's stdin (default: /dev/null)
  --console SCRIPT  a terminal: @SOCK in COMMAND is the console socket; the command's own output is
                    captured; SCRIPT has the steps of ptyrun.py (expect, send, size), and hangup
  --kill SIGNAL     sent to the pid once the process has said a line
Prints what the process wrote, then one line of JSON: cli (its status), cli_out (with a terminal),
pid, parent (ours?), status (the process's), ms (of the command). Fails with 125 when something that
engines rely on is not so; everything has 60 s.
"""
import ctypes
import fcntl
import json
import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time

LIMIT = 60


def fail(why):
    print("engine: " + why, file=sys.stderr)
    sys.exit(125)


def timed_out(_sig, _frame):
    fail("no end within %d s" % LIMIT)


signal.signal(signal.SIGALRM, timed_out)
signal.alarm(LIMIT)
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER

args = sys.argv[1:]
stdin, script, sig = "/dev/null", None, None
while args and args[0].startswith("--"):
    option = args.pop(0)
    if option == "--in":
        stdin = args.pop(0)
    elif option == "--console":
        script = args.pop(0)
    elif option == "--kill":
        sig = getattr(signal, "SIG" + args.pop(0))
    else:
        fail("unknown option " + option)
work = tempfile.mkdtemp()
pid_file = os.path.join(work, "pid")
sock_path = os.path.join(work, "console.sock")
pidfd_path = os.path.join(work, "pidfd.sock")
pidfds = None
if "@PIDFD" in args:
    pidfds = socket.socket(socket.AF_UNIX)
    pidfds.bind(pidfd_path)
    pidfds.listen()
args = [a.replace("@PIDFD", pidfd_path).replace("@PID", pid_file).replace("@SOCK", sock_path) for a in args]

listener = None
if script:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(sock_path)
    listener.listen()
captured, writer = os.pipe()
began = time.monotonic()
cli = subprocess.Popen(args, stdin=subprocess.DEVNULL if script else open(stdin, "rb"),
                       stdout=writer, stderr=writer)
os.close(writer)


def receive_master():
    conn, _ = listener.accept()
    data, fds, _, _ = socket.recv_fds(conn, 4096, 4)
    if not data or len(fds) != 1 or not os.isatty(fds[0]):
        fail("console socket: %r with %d descriptors" % (data, len(fds)))
    if conn.recv(1):
        fail("console socket: more than one message")
    return fds[0]


def alive(pid):
    with open("/proc/%d/stat" % pid) as f:
        rest = f.read().rpartition(")")[2].split()
    return rest[0] not in "ZX", int(rest[1])


def read_pid():
    with open(pid_file, "rb") as f:
        text = f.read()
    if not re.fullmatch(rb"[0-9]+", text):
        fail("pid file: %r is not digits alone" % text)
    pid = int(text)
    if pidfds:
        conn, _ = pidfds.accept()
        data, fds, _, _ = socket.recv_fds(conn, 4096, 4)
        if not data or len(fds) != 1:
            fail("pidfd socket: %r with %d descriptors" % (data, len(fds)))
        with open("/proc/self/fdinfo/%d" % fds[0]) as f:
            if "Pid:\t%d\n" % pid not in f.read():
                fail("pidfd socket: not of the process %d" % pid)
    # Already over, it is a zombie of ours; a parent that is not us will never be.
    _, parent = alive(pid)
    return pid, parent == os.getpid()


last = b""  # byte of the output


def copy_out(data):
    global last
    last = data[-1:] or last
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


report = {}
if not script:
    # Without a terminal the process's output comes through the command's own descriptors: the end
    # of it only with the end of the process.
    report["cli"] = cli.wait()
    report["ms"] = round((time.monotonic() - began) * 1000)
    pid = None
    if report["cli"] == 0:
        pid, report["parent"] = read_pid()
    while True:
        part = os.read(captured, 65536)
        if not part:
            break
        copy_out(part)
        if sig and pid:
            os.kill(pid, sig)
            sig = None
else:
    master = None
    text = b""
    ready, _, _ = select.select([listener, captured], [], [])
    if listener in ready:
        master = receive_master()
    while True:  # a daemon that holds it would hold us
        part = os.read(captured, 65536)
        if not part:
            break
        text += part
    report["cli"] = cli.wait()
    report["ms"] = round((time.monotonic() - began) * 1000)
    report["cli_out"] = text.decode()
    pid = None
    if report["cli"] == 0:
        pid, report["parent"] = read_pid()
        if master is None:
            fail("no terminal came")
    out, seen = b"", 0

    def more():
        global out
        try:
            part = os.read(master, 65536)
        except OSError:
            part = b""
        out += part
        copy_out(part)
        return bool(part)

    for step in open(script).read().splitlines() if pid else []:
        word, _, arg = step.partition(" ")
        if word == "expect":
            while True:
                m = re.compile(arg.encode()).search(out, seen)
                if m:
                    seen = m.end()
                    break
                if not more():
                    fail("the terminal hung up before: %s; not matched yet: %r" % (arg, out[seen:]))
        elif word == "send":
            os.write(master, arg.encode().decode("unicode_escape").encode("latin1"))
        elif word == "size":
            cols, rows = map(int, arg.split())
            fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))
        elif word == "onlcr":  # as conmon does with what it gets
            t = termios.tcgetattr(master)
            t[1] |= termios.ONLCR
            termios.tcsetattr(master, termios.TCSANOW, t)
        elif word == "hangup":
            os.close(master)
            master = None
            break
        else:
            fail("unknown step " + word)
    while pid and master is not None and more():
        pass
if pid:
    report["pid"] = pid
    _, status = os.waitpid(pid, 0)
    report["status"] = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
subprocess.call(["rm", "-rf", work])
# On a line of its own: a shell's last prompt has no end of line.
print(("" if last in b"\n" else "\n") + json.dumps(report))
