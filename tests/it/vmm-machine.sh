#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A machine can be freed at any moment of its life, also while its guest runs; a paused guest stands still.
set -u
for cpus in 1 3; do
    said=$(timeout 60 "$HUSK_BUILD/bin/machine_vm" "$HUSK_BUILD/guest/count.elf" $cpus 2>&1)
    rc=$?
    if [ $rc != 0 ] || [ "$said" != ok ]; then
        echo "FAIL: $cpus vCPUs: status $rc: $said"
        exit 1
    fi
done
