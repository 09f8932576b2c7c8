"""Commands that say something at once import nothing heavy, and shells complete both commands."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from slotcast_publisher.cli import app, command_table

HEAVY = frozenset(
    [
        "asn1crypto",
        "bsdiff4",
        "cryptography",
        "numpy",
        "onnx",
        "onnxruntime",
        "packaging",
        "paho",
        "pkcs11",
        "rich",
        "securesystemslib",
        "sympy",
        "tomlkit",
        "tuf",
        "urllib3",
        "zstandard",
    ]
)
"""What takes most of the time of a start where it is imported; measured by `make bench`."""
OF_MODELS = frozenset(["bsdiff4", "ml_dtypes", "onnx", "onnxruntime", "zstandard"])
"""What only a command needs that builds or tries something, in the moment when it does."""
COMPUTES_AT_START = frozenset(["audit", "rollout", "tokens", "users"])
"""Commands that import the figures of fleets, which are computed with numpy."""
COMMANDS = Path(sys.executable).parent

DEVICE_TOML = """\
format = 1
device = "camera-7"
models = ["digits"]
state_dir = "state"
[[brokers]]
url = "mqtt://127.0.0.1:1"
"""
ROOT_JSON = '{"signed": {"expires": "2036-01-01T00:00:00Z"}}'


def imported(folder: Path, module: str, *arguments: str) -> frozenset[str]:
    """Give the packages that one run of a command imports."""
    code = (
        f"import sys; sys.argv[1:] = {list(arguments)!r}\n"
        f"from {module} import main\n"
        "try: code = main()\n"
        "except SystemExit as end: code = end.code\n"
        "assert not code, code\n"
        "sys.stderr.write(' '.join(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True
    )
    return frozenset(name.partition(".")[0] for name in done.stderr.split())


@pytest.mark.parametrize(
    "arguments", [("--help",), ("--version",), ("status",), ("status", "--json"), ("files",)]
)
def test_a_device_says_where_it_stands_without_heavy_packages(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    (tmp_path / "device.toml").write_text(DEVICE_TOML)
    (tmp_path / "root.json").write_text(ROOT_JSON)
    found = imported(tmp_path, "slotcast_device.cli", *arguments)
    assert "slotcast_device" in found
    assert not found & HEAVY


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("--show-completion",)])
def test_the_publisher_lists_its_commands_without_heavy_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    named = (*arguments, "bash") if arguments == ("--show-completion",) else arguments
    found = imported(tmp_path, "slotcast_publisher.cli", *named)
    assert "slotcast_publisher" in found
    assert not found & HEAVY


def test_an_agent_starts_without_what_it_never_uses() -> None:
    code = "import sys, slotcast_device.agent; sys.stderr.write(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = frozenset(done.stderr.split())
    assert "paho.mqtt.client" in found
    unused = {"cryptography.x509", "difflib", "dns", "numpy.random", "psutil", "urllib3"}
    unused |= {"email", "http.client", "importlib.metadata", "packaging", "urllib.request"}
    in_children = {"slotcast_schemas.probe.timing", "onnxruntime"}
    assert not found & (unused | in_children | {"cryptography.hazmat.backends.openssl.backend"})


def brought_by(names: list[str], packages: frozenset[str]) -> dict[str, set[str]]:
    """Import these commands one after the other; gives which packages each was first to bring."""
    code = (
        "import sys, json; from slotcast_publisher.cli import command_table as table\n"
        "found = {}\n"
        f"for name in {names!r}:\n"
        "    before = set(sys.modules); table.load(name)\n"
        "    found[name] = sorted(set(sys.modules) - before)\n"
        "print(json.dumps(found))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    return {name: set(modules) & packages for name, modules in found.items()}


@pytest.mark.parametrize(
    "command", ["alarms", "delta", "fleet", "limits", "page", "serve", "simulate"]
)
def test_the_publisher_explains_a_command_without_what_carries_it_out(
    tmp_path: Path, command: str
) -> None:
    found = imported(tmp_path, "slotcast_publisher.cli", command, "--help")
    assert "slotcast_publisher" in found
    assert not found & (HEAVY | {"dns", "litestar", "sqlalchemy", "structlog"})


def test_no_command_of_the_publisher_starts_with_what_reads_models() -> None:
    light = [name for name in command_table.COMMANDS if name not in COMPUTES_AT_START]
    assert brought_by(light, OF_MODELS | {"numpy"}) == {name: set() for name in light}
    others = sorted(COMPUTES_AT_START)
    assert brought_by(others, OF_MODELS) == {name: set() for name in others}


@pytest.mark.parametrize("name", command_table.COMMANDS)
def test_an_entry_says_of_a_command_what_the_command_says_of_itself(name: str) -> None:
    assert command_table.load(name).get_short_help_str(1000) == command_table.COMMANDS[name].summary


def test_every_command_that_a_module_registers_has_an_entry() -> None:
    for module in {entry.module_name for entry in command_table.COMMANDS.values()}:
        names = {name for name, one in command_table.COMMANDS.items() if one.module_name == module}
        registered = typer.Typer()
        __import__(module, fromlist=["register"]).register(registered)
        assert set(typer.main.get_group(registered).commands) == names, module


def test_the_command_itself_is_put_in_the_place_of_its_entry() -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, command_table.LazyCommands)
    context = typer.Context(group, info_name="slotcast")
    name, command, rest = group.resolve_command(context, ["release", "repo"])
    assert (name, rest) == ("release", ["repo"])
    assert "--samples" in {option for one in command.params for option in one.opts}


def completed_by_bash(command: str, function: str, *words: str) -> list[str]:
    """Give what bash offers for the last word, with the script that the command prints."""
    script = (
        f'source <({command} --show-completion bash); COMP_WORDS=("$@")\n'
        f"COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); {function} {command}\n"
        "printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    settings = {
        **os.environ,
        "PATH": f"{COMMANDS}:{os.environ['PATH']}",
        "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1",
    }
    done = subprocess.run(
        [shutil.which("bash") or "bash", "-c", script, "bash", command, *words],
        env=settings,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


def test_bash_completes_the_device_command() -> None:
    def offered(*words: str) -> list[str]:
        return completed_by_bash("slotcast-device", "_slotcast_device", *words)

    assert offered("st") == ["status"]
    assert offered("status", "--ev") == ["--evidence"]
    assert offered("run", "--log", "w") == ["warning"]
    assert offered("run", "--config", "") == []  # so that bash offers files


def test_bash_completes_the_publisher_command() -> None:
    def offered(*words: str) -> list[str]:
        return completed_by_bash("slotcast", "_slotcast_completion", *words)

    assert offered("pub") == ["publish"]
    assert offered("release", "--samp") == ["--samples"]
    assert offered("keys", "rot") == ["rotate"]
