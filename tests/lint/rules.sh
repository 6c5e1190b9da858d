#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every test that docs/security.md names exists, in the program that it names.
set -u
grep -o 'test_[a-z0-9_]*: [a-z0-9_, ]*' docs/security.md | awk -F': ' '{
    n = split($2, t, /, */)
    for (i = 1; i <= n; i++) { gsub(/ /, "", t[i]); if (t[i] != "") print $1, t[i] }
}' | {
    bad=0
    while read -r program name; do
        grep -Eq "^(Parameterized)?Test\([^)]*, ${name}[,)]" "tests/unit/$program.c" && continue
        echo "docs/security.md: there is no test '$name' in tests/unit/$program.c"
        bad=1
    done
    exit $bad
}
