#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Checks of the kernel configuration.
#
#   check.sh --lint      every option in the fragments has a reason, none is asked for twice
#   check.sh --options   prints the fragments' options, merged, reasons removed: the input of make allnoconfig
#   check.sh CONFIG      the finished .config has every option with the value asked for; names each difference
#
# kconfig drops what it cannot grant without a word: a dependency that a new kernel version adds would cost a feature
# silently. That is what the last form is for.

set -u
LC_ALL=C
cd_dir=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd) || exit 1

lint() {
	awk '
	/^#/ || /^[ \t]*$/ { next }
	{
		if ($0 !~ /^CONFIG_[A-Za-z0-9_]+=("[^"]*"|[A-Za-z0-9_-]+)[ \t]+# [^ ]/) {
			printf "%s:%d: not OPTION=value, blank, \"# \" and the reason: %s\n", FILENAME, FNR, $0
			bad = 1
			next
		}
		option = substr($0, 1, index($0, "=") - 1)
		if (option in where) {
			printf "%s:%d: %s is asked for in %s already\n", FILENAME, FNR, option, where[option]
			bad = 1
		}
		where[option] = FILENAME ":" FNR
	}
	END { exit bad }' "$cd_dir"/*.config
}

options() {
	sed -n 's/^\(CONFIG_[A-Za-z0-9_]*=\("[^"]*"\|[^ \t]*\)\).*$/\1/p' "$cd_dir"/*.config
}

compare() {
	options | awk -v config="$1" '
	BEGIN {
		while ((status = (getline line < config)) > 0)
			if (line ~ /^CONFIG_/) {
				at = index(line, "=")
				got[substr(line, 1, at - 1)] = substr(line, at + 1)
			}
		if (status < 0) {
			printf "kernel configuration \"%s\": cannot be read\n", config
			exit bad = 1
		}
	}
	{
		at = index($0, "=")
		option = substr($0, 1, at - 1)
		want = substr($0, at + 1)
		have = option in got ? got[option] : "n"
		if (have != want) {
			printf "%s: asked for %s, got %s\n", option, want, have
			bad = 1
		}
	}
	END { exit bad }'
}

case "${1-}" in
--lint) lint >&2 ;;
--options) options ;;
"" | -*)
	echo "usage: check.sh --lint | --options | CONFIG" >&2
	exit 2
	;;
*) compare "$1" >&2 ;;
esac
