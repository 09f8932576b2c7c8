"""Walks docs/install.md: its own commands, on a machine with systemd, to a running application.

The machine is one in namespaces (tests/support/machine.py). Broker and publisher run outside, as
they do for a device. What the page cannot know is changed in one place: the broker's address.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slotcast_schemas.states import State
from tests.support import machine as machines
from tests.support import models
from tests.support.installing import MODEL, PAGE, Stand
from tests.support.machine import Done, Machine
from tests.support.ports import free_ports
from tests.support.walkthrough import commands

pytestmark = [
    pytest.mark.broker,
    pytest.mark.timeout(900),
    pytest.mark.skipif(bool(machines.missing()), reason=machines.missing()),
]

STATE = "/var/lib/slotcast"
MODEL_DIR = f"{STATE}/models/{MODEL}"
CONFIG = "--config /etc/slotcast/device.toml"
LONG_S = 120.0


@pytest.fixture(scope="module")
def device(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Sections 2 to 4: a device whose agent runs."""
    carried = tmp_path_factory.mktemp("carried")
    shutil.copy(archive, carried)
    with contextlib.ExitStack() as stack:
        folder = tmp_path_factory.mktemp("machine")
        try:
            machine = stack.enter_context(machines.machine(folder, {"carried": carried}))
        except machines.NoMachine as why:
            pytest.skip(str(why))
        said = {
            heading: machine.run(script, cwd="/mnt/carried").out
            for heading, script in commands(PAGE, "device").items()
            if not heading.startswith("5.")
        }
        assert [heading[:2] for heading in said] == ["2.", "3.", "4."]
        yield machine


@pytest.fixture(scope="module")
def application(device: Machine, stand: Stand) -> int:
    """Section 5: an application of another user that answers; gives its port."""
    with stand.observer() as observer:
        observer.wait_for_state(MODEL, State.COMMITTED, "1.0")
    (port,) = free_ports(1)
    unit = "/usr/local/share/slotcast/slotcast-application.service"
    device.run(f"sed -i 's/--port 8080/--port {port}/' {unit}")
    (script,) = (s for h, s in commands(PAGE, "device").items() if h.startswith("5."))
    device.run(script)
    assert ask(port)["version"] == "1.0"
    return port


def ask(port: int) -> dict[str, Any]:
    """Have the application answer a request, once it is there."""
    body = json.dumps({"x": models.inputs(1).tolist()}).encode()
    deadline_s = time.monotonic() + LONG_S
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", body) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except urllib.error.URLError:
            if time.monotonic() > deadline_s:
                raise


def ended_well(device: Machine) -> bool:
    """Whether the agent never ended against its will, and nothing was denied to it."""
    journal = device.run("journalctl --no-pager -u slotcast-device").out
    return "Traceback" not in journal and "not permitted" not in journal


def as_nobody(device: Machine, group: str, program: str) -> Done:
    """Run a Python program as a user that has nothing to do with Slotcast, in one group."""
    user = f"setpriv --reuid=nobody --regid={group} --clear-groups"
    return device.run(f'{user} /opt/slotcast/bin/python -c "{program}"', check=False)


def status(device: Machine) -> dict[str, Any]:
    done = device.run(f"slotcast-device status {CONFIG} --json")
    (model,) = json.loads(done.out)["models"]
    found: dict[str, Any] = model
    return found


def modes(device: Machine, *paths: str) -> list[str]:
    return device.run(f"stat -c '%U %G %a' {' '.join(paths)}").out.splitlines()


def test_the_agent_runs_as_its_user_and_takes_the_first_release(
    device: Machine, stand: Stand
) -> None:
    with stand.observer() as observer:
        observer.wait_for_state(MODEL, State.COMMITTED, "1.0")
    shown = device.run("systemctl show -p ActiveState,User,NRestarts slotcast-device").out
    assert set(shown.split()) == {"ActiveState=active", "User=slotcast", "NRestarts=0"}
    assert modes(device, STATE, f"{MODEL_DIR}/slots/a", f"{MODEL_DIR}/app") == [
        "slotcast slotcast 2750",
        "slotcast slotcast 2750",
        "slotcast slotcast 3770",
    ]
    assert status(device)["active"]["files"][0]["path"] == "digits.onnx"
    everything = device.run(f"find {STATE} ! -user slotcast -o ! -group slotcast").out
    assert everything == ""


def test_the_check_finds_all_well_and_then_what_a_person_did(device: Machine, stand: Stand) -> None:
    check = f"slotcast-device check {CONFIG} --json --log error"
    findings = json.loads(device.run(check).out)
    assert all(finding["passed"] for finding in findings), findings

    def found_after(damage: str, repair: str) -> str:
        device.run(damage)
        done = device.run(check, check=False)
        failed = [f["detail"] for f in json.loads(done.out) if not f["passed"]]
        assert done.code == 1, damage
        (line,) = (str(detail) for detail in failed if repair in detail)
        device.run(repair)
        assert device.run(check, check=False).code == 0, repair
        return line

    said = found_after(
        "chown root /etc/slotcast/device.key", "chown slotcast /etc/slotcast/device.key"
    )
    assert "cannot be read by slotcast (uid" in said
    found_after("chmod 0444 /etc/slotcast/device.key", "chmod o-rwx /etc/slotcast/device.key")
    found_after(f"touch {MODEL_DIR}/state.json.damaged", f"chown -R slotcast: {STATE}")
    found_after(f"chmod 2700 {MODEL_DIR}", f"chgrp slotcast {MODEL_DIR} && chmod g+rx {MODEL_DIR}")
    found_after(f"chmod g-w {MODEL_DIR}/app", f"chmod 3770 {MODEL_DIR}/app")
    found_after(f"chown root {MODEL_DIR}/app", f"chown slotcast {MODEL_DIR}/app")


def test_root_at_the_command_line_leaves_nothing_that_the_agent_cannot_use(
    device: Machine, stand: Stand
) -> None:
    device.run(f"slotcast-device unbench {CONFIG}")
    device.run("systemctl stop slotcast-device")
    device.run(f"slotcast-device unbench {CONFIG}")
    assert device.run(f"find {STATE} ! -user slotcast").out == ""
    silent = device.run(f"slotcast-device ping {CONFIG} --timeout 2", check=False)
    assert (silent.code, "no agent" in silent.err) == (1, True)
    device.run("systemctl start slotcast-device")
    assert "alive" in device.run(f"slotcast-device ping {CONFIG}").out


def test_an_application_of_another_user_follows_and_its_figures_decide(
    device: Machine, stand: Stand, application: int
) -> None:
    owners = device.wait_for(f"stat -c '%U %a' {MODEL_DIR}/app/report-*.json").out.split("\n")
    assert owners[0].endswith(" 644")
    assert not owners[0].startswith(("slotcast ", "root "))
    with stand.observer() as observer:
        stand.release("2.0", models.classifier(2), min_requests=3)
        observer.wait_for_state(MODEL, State.TRIAL, "2.0")
        while ask(application)["version"] != "2.0":
            continue
        for _ in range(3):
            ask(application)
        observer.wait_for_state(MODEL, State.COMMITTED, "2.0")
        observer.wait_for_figures(
            lambda found: sum(s.requests for s in found if s.version == "2.0" and s.on_trial) >= 3
        )


def test_the_probes_limits_hold_in_the_units_sandbox(device: Machine, stand: Stand) -> None:
    with stand.observer() as observer:
        stand.release("3.0", models.memory_hungry())
        failed = observer.wait_for_state(MODEL, State.FAILED, "3.0")
    assert failed.reason == "too_much_memory"
    assert "past the memory limit" in failed.detail
    assert ended_well(device)


def test_who_is_not_in_the_group_reads_no_model_and_is_told(device: Machine) -> None:
    program = (
        f"from slotcast_device import HotModel; HotModel('{MODEL_DIR}/current', start_timeout_s=1)"
    )
    done = as_nobody(device, "nogroup", program)
    assert done.code == 1
    assert "may not be read by nobody (uid" in done.err.splitlines()[-1]
    assert device.run("! runuser -u nobody -- cat /etc/slotcast/device.key").code == 0


def test_who_may_read_and_not_report_says_so_once_and_serves(device: Machine) -> None:
    program = (
        "import logging, time; logging.basicConfig(); from slotcast_device import HotModel;"
        f" model = HotModel('{MODEL_DIR}/current', report_s=0.05, poll_s=0.01);"
        " print(model.get_inputs()[0].name); time.sleep(1)"
    )
    device.run(f"mount --bind {MODEL_DIR}/app {MODEL_DIR}/app")
    device.run(f"mount -o remount,ro,bind {MODEL_DIR}/app")
    try:
        done = as_nobody(device, "slotcast", program)
    finally:
        device.run(f"umount {MODEL_DIR}/app")
    assert done.out == "x\n"
    assert done.err.count("nobody (uid") == 1, done.err


def test_a_new_version_beside_the_old_one_is_switched_to_while_the_agent_runs(
    device: Machine, stand: Stand
) -> None:
    pid = device.run("systemctl show -p MainPID --value slotcast-device").out.strip()
    device.run("cp -r /opt/slotcast-0.1.0 /opt/slotcast-0.2.0")
    device.run("sed -i 's/slotcast-0.1.0/slotcast-0.2.0/' /opt/slotcast-0.2.0/bin/slotcast-device")
    device.run("ln -s slotcast-0.2.0 /opt/slotcast.new && mv -T /opt/slotcast.new /opt/slotcast")
    command = device.run(f"tr '\\0' ' ' </proc/{pid}/cmdline").out
    assert command.startswith("/opt/slotcast-0.1.0/bin/python")
    device.run("systemctl restart slotcast-device")
    pid = device.run("systemctl show -p MainPID --value slotcast-device").out.strip()
    assert device.run(f"tr '\\0' ' ' </proc/{pid}/cmdline").out.startswith("/opt/slotcast-0.2.0")
    device.run(f"slotcast-device ping {CONFIG}")


def test_the_unit_says_nothing_that_systemd_does_not_know(device: Machine) -> None:
    done = device.run("systemd-analyze verify slotcast-device.service slotcast-application.service")
    assert done.err == ""


def test_an_agent_that_hangs_is_started_again_by_the_watchdog(device: Machine) -> None:
    drop_in = "/run/systemd/system/slotcast-device.service.d"
    device.run(f"""
        mkdir -p {drop_in} && printf '[Service]\\nWatchdogSec=10\\n' >{drop_in}/soon.conf
        systemctl daemon-reload
        systemctl restart slotcast-device
        kill -STOP $(systemctl show -p MainPID --value slotcast-device)
    """)
    device.wait_for("test $(systemctl show -p NRestarts --value slotcast-device) -ge 1")
    device.wait_for(f"slotcast-device ping {CONFIG}")
    assert "watchdog" in device.run("journalctl --no-pager -u slotcast-device").out
    device.run(f"rm -r {drop_in} && systemctl daemon-reload && systemctl restart slotcast-device")


def test_without_systemd_a_script_runs_the_agent_as_its_user(device: Machine) -> None:
    device.run("systemctl stop slotcast-device")
    script = "/usr/local/share/slotcast/run-agent.sh"
    # As cron would: without a terminal, in a session of its own.
    device.run(f"setsid {script} </dev/null >/run/agent.log 2>&1 & echo $! >/run/agent.pid")
    try:
        device.wait_for(f"slotcast-device ping {CONFIG}")
        status = device.run("cat /proc/$(cat /run/agent.pid)/status").out
        uid, gid = device.run("id -u slotcast; id -g slotcast").out.split()
        assert f"Uid:\t{uid}\t{uid}\t{uid}\t{uid}\n" in status
        assert f"Groups:\t{gid} \n" in status
        assert "NoNewPrivs:\t1\n" in status
        assert "CapEff:\t0000000000000000\n" in status
        assert "Umask:\t0027\n" in status
        second = device.run(script)
        assert (second.out, second.err) == ("", ""), "one is alive: the next is silent"
    finally:
        device.run("kill $(cat /run/agent.pid)", check=False)
    device.wait_for("! kill -0 $(cat /run/agent.pid)")
    assert device.run(f"find {STATE} ! -user slotcast ! -path '*/app/*'").out == ""
    device.run("systemctl start slotcast-device")


def test_a_program_of_any_language_runs_though_it_may_not_report(device: Machine) -> None:
    program = "sh -c 'echo opened $(head -c 4 \"$0\" | wc -c); sleep 3; exit 1'"
    follow = f"/usr/local/share/slotcast/follow.sh {MODEL_DIR} digits.onnx {program}"
    device.run(f"chmod g-w {MODEL_DIR}/app")
    try:
        user = "setpriv --reuid=nobody --regid=slotcast --clear-groups"
        done = device.run(f"timeout 5 {user} {follow}", check=False)
    finally:
        device.run(f"chmod 3770 {MODEL_DIR}/app")
    assert done.out.splitlines()[0] == "opened 4"
    assert done.err.count("nobody cannot write reports") == 1
    stranger = device.run(f"timeout 3 setpriv --reuid=nobody --clear-groups {follow}", check=False)
    assert "closed to nobody" in stranger.err
    assert stranger.out == ""


@pytest.mark.usefixtures("application")
def test_the_state_may_be_on_another_mount_with_a_space_in_its_name(device: Machine) -> None:
    device.run("""
        systemctl stop slotcast-application slotcast-device
        mkdir '/data disk' && mount -t tmpfs -o mode=0755 tmpfs '/data disk'
        install -d -o slotcast -g slotcast -m 2750 '/data disk/slotcast'
        sed -i "s#/var/lib/slotcast#/data disk/slotcast#" /etc/slotcast/device.toml
        systemctl start slotcast-device
    """)
    refused = device.wait_for("journalctl --no-pager -u slotcast-device | grep 'ReadWritePaths='")
    assert "Read-only file system" in refused.out
    device.run("""
        mkdir -p /etc/systemd/system/slotcast-device.service.d
        printf '[Unit]\nRequiresMountsFor="/data disk/slotcast"\n[Service]\n%s\n' \
            'ReadWritePaths="/data disk/slotcast"' \
            >/etc/systemd/system/slotcast-device.service.d/override.conf
        systemctl daemon-reload
        systemctl restart slotcast-device
    """)
    device.wait_for(f"test -d '/data disk/slotcast/models/{MODEL}/app'")
    device.wait_for(f"slotcast-device check {CONFIG}")
    assert modes(device, f"'/data disk/slotcast/models/{MODEL}/app'") == ["slotcast slotcast 3770"]
    device.run("""
        systemctl stop slotcast-device
        rm -r /etc/systemd/system/slotcast-device.service.d
        sed -i "s#/data disk/slotcast#/var/lib/slotcast#" /etc/slotcast/device.toml
        umount '/data disk'
        systemctl daemon-reload
        systemctl start slotcast-device slotcast-application
    """)


def test_only_the_state_directory_is_written_with_a_read_only_root(device: Machine) -> None:
    device.run("""
        systemctl stop slotcast-device
        mount --bind /var/lib/slotcast /var/lib/slotcast
        journalctl --relinquish-var
        mount -o remount,ro,bind /
    """)
    try:
        device.run("! touch /etc/x && ! touch /opt/x && systemctl start slotcast-device")
        device.run(f"slotcast-device ping {CONFIG}")
        device.run(f"slotcast-device check {CONFIG}")
    finally:
        device.run(
            "mount -o remount,rw /; systemctl stop slotcast-device; umount /var/lib/slotcast"
        )
        device.run("systemctl start slotcast-device")


@pytest.mark.usefixtures("application")
def test_a_device_with_the_dynamic_user_of_before_goes_on(device: Machine) -> None:
    before = status(device)["active"]["version"]
    device.run("""
        systemctl stop slotcast-application slotcast-device
        mkdir -p /var/lib/private && chmod 0700 /var/lib/private
        rm -rf /var/lib/private/slotcast
        mv /var/lib/slotcast /var/lib/private/slotcast
        chown -R 61234:61234 /var/lib/private/slotcast
        chmod -R u+rwX,g-ws,o+rX /var/lib/private/slotcast
        chmod -f 600 /var/lib/private/slotcast/*.key || true  # as any agent keeps keys
        rm -r /var/lib/private/slotcast/models/*/app
        ln -s private/slotcast /var/lib/slotcast
        systemctl start slotcast-device
    """)
    device.wait_for(f"slotcast-device check {CONFIG}")
    assert modes(device, STATE, f"{MODEL_DIR}/app") == [
        "slotcast slotcast 2750",
        "slotcast slotcast 1770",  # below folders that were made without the bit
    ]
    assert status(device)["active"]["version"] == before
    device.run("systemctl start slotcast-application")
