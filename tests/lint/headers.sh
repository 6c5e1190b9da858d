#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every header compiles alone. Usage: headers.sh CC CPPFLAGS...
set -u
cd "$(dirname "$0")/../.." || exit 2
bad=0
for h in base/*.h virtio/*.h vmm/*.h mux/*.h runtime/*.h agent/*.h tests/lib/*.h; do
    [ -f "$h" ] || continue
    "$@" -std=gnu11 -Wall -Wextra -Werror -fsyntax-only -x c "$h" || bad=1
done
exit $bad
