#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Figures beside peers, interleaved, in one run: run.sh BUILD-DIR [-n PAIRS] [BENCH...]
# Benches: null (a PVH ELF that writes one byte and resets, exec to that byte), linux (kernel and initrd,
# exec to init's first byte), restore (a saved guest to its next byte, beside its boot), run (`husk run` of echo beside crun and runc, to its first byte), exec (one more process in
# a container that runs, beside crun and runc), start (of a container whose guest waits at the gate, to the command's
# end, beside crun and runc), memory (PSS of the VMM beyond guest RAM), create-vm (KVM_CREATE_VM before and after
# joining a cgroup), exits (what one of each kind costs), reasons (exits of a boot, by reason), virtual (`husk run` of true beside crun and runc and the phases
# of a boot: for a lab with --icount; HUSK_LAB="tests/lab/run --icount" makes it one). Prints a table: medians, and medians of the ratios within each pair, with quartiles.
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)

if [ "${1-}" = --inner ]; then
    shift
    exec bash "$here/inner.sh" "$@"
fi
build=$(realpath "${1:?usage: run.sh BUILD-DIR [-n PAIRS] [BENCH...]}")
shift
make -s -C "$here/../.." O="$build" bench-programs guests
export HUSK_BUILD=$build HUSK_KERNEL=${HUSK_KERNEL:-$(dirname "$build")/kernel}
# shellcheck disable=SC2086 # words
VMM=$build/bin/vmm ${HUSK_LAB:-"$here/../lab/auto"} --timeout 3000 -m 6144 --env HUSK_BUILD --env HUSK_KERNEL \
    "$here/run.sh" --inner "$@"
