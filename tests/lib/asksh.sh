# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Containers whose process is a shell that is asked things: ask_start NAME COMMAND..., ask NAME COMMAND, ask_end
# NAME. Output of the last question is in REPLY, its status is ask's. Uses $TMP; stderr goes to $TMP/NAME.err.
declare -A ASK_IN ASK_OUT ASK_PID

ask_start() {
    local in out name=$1
    shift
    rm -f "$TMP/$name.in" "$TMP/$name.out"
    mkfifo "$TMP/$name.in" "$TMP/$name.out"
    exec {in}<>"$TMP/$name.in" {out}<>"$TMP/$name.out"
    ("$@" <"$TMP/$name.in" >"$TMP/$name.out" 2>"$TMP/$name.err" {in}>&- {out}>&-) &
    ASK_PID[$name]=$!
    ASK_IN[$name]=$in ASK_OUT[$name]=$out
}

ask() {
    local line
    REPLY=
    printf '{ %s\n} 2>&1; echo "ask-end $?"\n' "$2" >&"${ASK_IN[$1]}"
    while IFS= read -r -t "${ASK_TIMEOUT:-150}" -u "${ASK_OUT[$1]}" line; do
        case $line in
        'ask-end '*) return "${line#ask-end }" ;;
        *) REPLY+=$line$'\n' ;;
        esac
    done
    REPLY+="(no answer; $(cat "$TMP/$1.err"))"
    return 255
}

# The shell sees the end of its input; waits for the command. Returns its status.
ask_end() {
    local in=${ASK_IN[$1]} out=${ASK_OUT[$1]}
    echo exit >&"$in"
    exec {in}>&- {out}<&-
    wait "${ASK_PID[$1]}"
}
