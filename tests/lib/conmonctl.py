#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Starts conmon as podman and CRI-O do, and talks to what it opens.

Usage:
  conmonctl.py sync [--lines N] CONMON-ARG...
      Starts conmon with a sync pipe and a start pipe, lets it go on, and prints the N (1) JSON records
      it answers with, one a line. Fails when they do not come.
  conmonctl.py attach SOCKET TEXT REGEX
      Types TEXT (\\n and the like are understood) into the attach socket and reads until REGEX has
      matched; prints what matched.
"""
import json
import os
import re
import socket
import subprocess
import sys
import time

LIMIT = 120


def sync(args):
    lines = 1
    if args[0] == "--lines":
        lines, args = int(args[1]), args[2:]
    answer, theirs = os.pipe()
    start, go = os.pipe()
    env = dict(os.environ, _OCI_SYNCPIPE=str(theirs), _OCI_STARTPIPE=str(start))
    child = subprocess.Popen(["/usr/bin/conmon"] + args, env=env, pass_fds=(theirs, start))
    os.close(theirs)
    os.close(start)
    os.write(go, b"\0")
    os.close(go)
    text = b""
    while text.count(b"\n") < lines:
        part = os.read(answer, 65536)
        if not part:
            break
        text += part
    for line in text.splitlines():
        print(json.dumps(json.loads(line), sort_keys=True))
    child.wait()
    return 0 if text.count(b"\n") == lines else 1


def attach(path, text, regex):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.settimeout(LIMIT)
    os.chdir(os.path.dirname(path))  # socket paths are short
    s.connect(os.path.basename(path))
    s.send(text.encode().decode("unicode_escape").encode())
    seen = b""
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        part = s.recv(65536)
        if not part:
            break
        seen += part[1:]  # the first byte says which stream
        m = re.search(regex.encode(), seen)
        if m:
            print(m.group().decode().replace("\r", ""))
            return 0
    print("no match in %r" % seen, file=sys.stderr)
    return 1


if sys.argv[1] == "sync":
    sys.exit(sync(sys.argv[2:]))
sys.exit(attach(*sys.argv[2:]))
