#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""table.py NAME DATA LABEL...: medians of columns, and of the first column's ratio to each other one."""
import statistics
import sys


def quartiles(v):
    v = sorted(v)
    if len(v) < 2:
        return v[0], v[0], v[0]
    q = statistics.quantiles(v, n=4, method="inclusive")
    return q[0], statistics.median(v), q[2]


def main():
    name, path, labels = sys.argv[1], sys.argv[2], sys.argv[3:]
    with open(path, encoding="ascii") as f:
        rows = [[int(x) for x in line.split()] for line in f]
    print(f"{name}: {len(rows)} interleaved runs")
    for i, label in enumerate(labels):
        lo, mid, hi = (x / 1e6 for x in quartiles([r[i] for r in rows]))
        line = f"  {label:<14} median {mid:9.1f} ms  ({lo:.1f} .. {hi:.1f})"
        if i:
            rl, rm, rh = quartiles([r[0] / r[i] for r in rows])
            line += f"   {labels[0]} / {label} = {rm:.2f}  ({rl:.2f} .. {rh:.2f})"
        print(line)


main()
