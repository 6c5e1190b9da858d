#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Makes an image archive as `docker save` does, for `ctr images import` and `podman load`:
# busybox-image.sh ROOT NAME OUT (a root file system, NAME:TAG, the archive).
set -euo pipefail
root=${1:?usage: busybox-image.sh ROOT NAME OUT} name=$2 out=$(realpath -m -- "$3")
dir=$(mktemp -d "${TMPDIR:-/tmp}/image.XXXXXX")
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/layer"
tar -C "$root" --sort=name -cf "$dir/layer/layer.tar" .
read -r sum _ < <(sha256sum "$dir/layer/layer.tar")
jq -n --arg sum "sha256:$sum" '{architecture: "amd64", os: "linux", rootfs: {type: "layers", diff_ids: [$sum]},
    config: {Cmd: ["sh"], Env: ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]}}' >"$dir/config.json"
jq -n --arg name "$name" '[{Config: "config.json", RepoTags: [$name], Layers: ["layer/layer.tar"]}]' >"$dir/manifest.json"
tar -C "$dir" -cf "$out" manifest.json config.json layer/layer.tar
