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
mkdir -p "$app"
child='' started=0 slot=''

instance() { printf '%s-%s' "$$" "$started"; }

report() { # report PHASE
    name=report-$(instance)-$slot.json
    read -r uptime_s _ </proc/uptime
    printf '{"slot": "%s", "phase": "%s", "instance": "%s", "uptime_s": %s, "time": %s}\n' \
        "$slot" "$1" "$(instance)" "$uptime_s" "$(date +%s)" >"$app/.$name.tmp"
    mv "$app/.$name.tmp" "$app/$name" # atomic: the agent sees the old report or the new one
}

stop() {
    [ -z "$child" ] || kill "$child" 2>/dev/null || true
    [ -z "$child" ] || wait "$child" 2>/dev/null || true
    child=''
}

leave() {
    stop
    [ -z "$slot" ] || rm -f "$app/report-$(instance)-$slot.json"
    exit 0
}
trap leave INT TERM

opened=''
while :; do
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
