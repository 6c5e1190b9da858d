#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A container in a microVM, shown: demo.sh BUILD-DIR. Goes to the lab where KVM is not whole.
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)

if [ "${1-}" = --inner ]; then
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    "$here/lib/bundle.sh" "$work/bundle" sh -c \
        'echo "--- uname -a"; uname -a; echo "--- cat /proc/1/comm"; cat /proc/1/comm; echo "--- mount"; mount'
    echo "host kernel: $(uname -r)"
    echo '$ husk run --boot-report demo'
    "$HUSK_BUILD/bin/husk" run --boot-report --bundle "$work/bundle" demo
    exit
fi

build=$(realpath "$1")
export HUSK_BUILD=$build
if VMM=$build/bin/vmm "$here/lab/whole-kvm" && [ "$(id -u)" = 0 ]; then
    echo 'This machine runs guests: the demonstration runs right here.'
else
    echo "This machine's KVM cannot run a guest, or we are not root: the demonstration runs in the lab,"
    echo 'an emulated machine in which KVM is whole. Times there are many times those of hardware.'
fi
VMM=$build/bin/vmm "$here/lab/auto" --timeout 300 --env HUSK_BUILD "$here/demo.sh" --inner
