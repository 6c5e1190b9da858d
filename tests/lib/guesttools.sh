# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Programs of this machine for a guest without any: guest_tools DIR PROGRAM... puts them and the libraries that they need
# into DIR, a share with the tag "tools"; by the words of guest_tools_init the guest has them. Sourced.
guest_tools() {
    local dir=$1 name program file
    shift
    for name in "$@"; do
        program=$(command -v "$name") || return 1
        install -D "$program" "$dir/usr/bin/$name" || return 1
        # Found under the name that each is asked for, whatever links lead there.
        for file in $(ldd "$program" | grep -o '/[^ ]*'); do
            install -D "$file" "$dir$file" || return 1
        done
    done
}
guest_tools_init() {
    # shellcheck disable=SC2016 # the guest's
    echo 'mkdir -p /tools; mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose tools /tools; ' \
        'for i in lib lib64 usr; do [ ! -e /tools/$i ] || ln -s /tools/$i /$i; done; export PATH=$PATH:/usr/bin HOME=/tmp'
}
