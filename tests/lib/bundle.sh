#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Makes an OCI bundle whose root is a busybox tree: bundle.sh DIR [ARG...] (the container's command).
# DIR/rootfs and DIR/config.json are made by our own `husk spec`, then edited.
set -euo pipefail
husk=${HUSK_BUILD:?}/bin/husk
dir=$1
shift
"$(dirname -- "${BASH_SOURCE[0]}")/busybox-root.sh" "$dir/rootfs"
rm -f "$dir/config.json"
"$husk" spec --bundle "$dir"
[ $# -gt 0 ] || set -- sh
args=$(jq -cn '$ARGS.positional' --args -- "$@")
jq --argjson args "$args" '.process.terminal = false | .process.args = $args | .root.readonly = false' \
    "$dir/config.json" >"$dir/config.json.new"
mv "$dir/config.json.new" "$dir/config.json"
