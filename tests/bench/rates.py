#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""rates.py FILE OURS PEER...: lines of round, subject, job, operations, ms, and hundredths of CPU seconds in user
mode and in the kernel. Medians: operations a second and a CPU second, how much of that was in user mode, and the ratio of
ours to each peer's per CPU second within each round, with quartiles."""
import statistics
import sys


def quartiles(v):
    v = sorted(v)
    if len(v) < 2:
        return v[0], v[0], v[0]
    q = statistics.quantiles(v, n=4, method="inclusive")
    return q[0], statistics.median(v), q[2]


def main():
    path, *who = sys.argv[1:]
    seen, jobs = {}, []
    with open(path, encoding="utf-8") as f:
        for line in f:
            turn, subject, job, ops, ms, user, system = line.rstrip("\n").split("\t")
            if job not in jobs:
                jobs.append(job)
            ticks = max(int(user) + int(system), 1)
            seen[turn, subject, job] = (
                int(ops) * 1000 / max(int(ms), 1),
                int(ops) * 100 / ticks,
                int(user) * 100 / ticks,
            )
    turns = sorted({key[0] for key in seen})
    print(f"{len(turns)} rounds; MiB (1M) or requests, a second and a CPU second of the VMM without its guest's")
    head = "".join(f"{w + ', /s':>12}{'/CPU s':>10}{'user':>6}" for w in who)
    print(f"{'':<26}{head}" + "".join(f"   {who[0] + ' / ' + w:<22}" for w in who[1:]))
    for job in jobs:
        rounds = [[seen.get((t, w, job)) for w in who] for t in turns]
        rounds = [r for r in rounds if all(r)]
        text = f"{job:<26}"
        for i in range(len(who)):
            rate, per_cpu, user = (statistics.median(r[i][k] for r in rounds) for k in range(3))
            text += f"{rate:>12.0f}{per_cpu:>10.0f}{user:>5.0f}%"
        for i in range(1, len(who)):
            lo, mid, hi = quartiles([r[0][1] / r[i][1] for r in rounds])
            text += f"   {f'{mid:.2f} ({lo:.2f} .. {hi:.2f})':<22}"
        print(text.rstrip())


main()
