#!/bin/sh
# Runs a program of any language with the current model, and again after each switch.
#
#   follow.sh MODEL_DIR FILE PROGRAM [ARGUMENT...]
#
# MODEL_DIR is STATE_DIR/models/<model>, FILE the model's file in a slot (model.onnx). PROGRAM gets
# the file's path as its last argument. While it runs, this script reports to the agent that it
# serves, so that a program that keeps dying on trial is noticed and rolled back. It counts no
# requests: a release that asks for some (--min-requests) is probed by the agent instead.
# docs/application.md describes what it reads and writes; a program can do the same by itself.
set -eu

model_dir=$1 file=$2
shift 2
app=$model_dir/app
child='' started=0 slot='' has_warned=''
# Differs from one start to the next also in a container, where process ids begin anew.
run=$$-$(cut -c 1-8 /proc/sys/kernel/random/uuid)

instance() { printf '%s-%s' "$run" "$started"; }

warn() { # once: a program serves also where nothing can be reported
    [ -n "$has_warned" ] || echo "follow.sh: $1" >&2
    has_warned=1
}

report() { # report PHASE
    name=report-$(instance)-$slot.json
    read -r uptime_s _ </proc/uptime
    line=$(printf '{"slot": "%s", "phase": "%s", "instance": "%s", "uptime_s": %s, "time": %s}' \
        "$slot" "$1" "$(instance)" "$uptime_s" "$(date +%s)")
    ( # readable: the agent is another user. Renamed: it sees the old report or the new one.
        umask 022
        mkdir -p "$app" && echo "$line" >"$app/.$name.tmp" && mv "$app/.$name.tmp" "$app/$name"
    ) 2>/dev/null || warn "$(id -un) cannot write reports to $app: put it into the folder's group"
}

stop() {
    [ -z "$child" ] || kill "$child" 2>/dev/null || true
    [ -z "$child" ] || wait "$child" 2>/dev/null || true
    child=''
}

leave() {
    stop
    [ -z "$slot" ] || rm -f "$app/report-$(instance)-$slot.json" 2>/dev/null || true
    exit 0
}
trap leave INT TERM

opened=''
while :; do
    [ -x "$model_dir" ] ||
        warn "$model_dir is not there, or closed to $(id -un): put it into the folders' group"
    target=$(readlink "$model_dir/current" || true)
    # The release beside the slot tells a slot's releases apart: a(1), b(2), a(3).
    now=$target:$(ls -i "$model_dir/$target.release" 2>/dev/null || true)
    if [ -n "$target" ] && [ "$now" != "$opened" ]; then
        if [ -n "$slot" ]; then
            stop
            report retired
        fi
        opened=$now slot=${target##*/} started=$((started + 1))
        report loading
        "$@" "$model_dir/$target/$file" &
        child=$!
    elif [ -n "$child" ]; then
        if kill -0 "$child" 2>/dev/null; then
            report serving
        else
            # It died. Its last report stays behind and grows old: the agent counts a restart.
            wait "$child" || true
            child='' opened='' slot=''
        fi
    fi
    sleep "${FOLLOW_SLEEP_S:-1}" &
    wait $! || true
done
