#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The guest's init for benchmarks: says that it runs; ends the machine at once if the kernel's command line
# has the word `end`, which the kernel hands to init, else waits for a line of input.
echo husk-init
[ "$1" = end ] || read -r _
reboot -f
