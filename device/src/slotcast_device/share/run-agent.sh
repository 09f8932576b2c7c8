#!/bin/sh
# The agent as its user, without a service manager: for another supervisor, or for cron.
#
#   run-agent.sh [USER]          runs it, and ends when it ends: whatever started this starts it again
#   * * * * * root /usr/local/share/slotcast/run-agent.sh 2>&1 | logger -t slotcast-device
#
# The line of cron starts it every minute; where one is alive already, this ends at once and in
# silence. To be started as root. SLOTCAST and CONFIG say where things are if not where
# docs/install.md puts them.
set -eu

user=${1:-slotcast}
program=${SLOTCAST:-/opt/slotcast}/bin/slotcast-device
config=${CONFIG:-/etc/slotcast/device.toml}

# As the unit for systemd: members of the group may read, others nothing.
umask 027
as_user="setpriv --reuid=$user --regid=$user --init-groups --no-new-privs --inh-caps=-all"
if $as_user "$program" ping --config "$config" --timeout 5 --log error >/dev/null 2>&1; then
    exit 0
fi
exec $as_user "$program" run --config "$config"
