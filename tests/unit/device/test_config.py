"""`device.toml`: what is taken, and what is said about what is not."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec import inspect

from slotcast_device.config import Config, DeviceConfig
from slotcast_schemas.errors import UsageError

GOOD = """
format = 1
device = "cam-1"
models = ["clf"]

[[brokers]]
url = "mqtts://cam:p%40ss%2Fword@broker.example:18883"
ca = "ca.pem"
"""


def config(folder: Path, text: str = GOOD) -> DeviceConfig:
    (folder / "device.toml").write_text(text)
    (folder / "root.json").write_bytes(b"{}")
    return DeviceConfig(folder / "device.toml")


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    found = config(tmp_path)
    assert found.state_dir == tmp_path / "state"
    assert found.model_dir("clf") == tmp_path / "state" / "models" / "clf"
    assert found.resolve("ca.pem") == str(tmp_path / "ca.pem")
    assert found.pinned_root == b"{}"


def test_a_broker_address_is_taken_apart(tmp_path: Path) -> None:
    (broker,) = config(tmp_path).values.brokers
    assert (broker.host, broker.port, broker.is_tls) == ("broker.example", 18883, True)
    assert (broker.username, broker.password) == ("cam", "p@ss/word")
    assert broker.name == "broker.example:18883"


@pytest.mark.parametrize(("scheme", "port"), [("mqtt", 1883), ("mqtts", 8883)])
def test_each_scheme_has_its_port(tmp_path: Path, scheme: str, port: int) -> None:
    text = GOOD.replace("mqtts://cam:p%40ss%2Fword@broker.example:18883", f"{scheme}://b")
    assert config(tmp_path, text).values.brokers[0].port == port


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("format = 1", "format = 2", "format"),
        ('"cam-1"', '"cam/1"', "device"),
        ('["clf"]', "[]", "models"),
        ("[[brokers]]", "colour = 1\n[[brokers]]", "colour"),
        ("mqtts://", "https://", r"device.toml: brokers\[0\].url: expected mqtt://"),
        (":18883", ":port", "url"),
        ("format = 1", "format 1", "is not TOML"),
        ("[[brokers]]", '[formats.onnx]\ncommand = ["x"]\n[[brokers]]', "formats"),
        ("[[brokers]]", "[formats.gguf]\ncommand = []\n[[brokers]]", "command"),
        ("format = 1", 'format = 1\nprefix = "a/#"', "prefix"),
        ("format = 1", 'format = 1\nroot = "nowhere.json"', "provision this device again"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    with pytest.raises(UsageError, match=message):
        config(tmp_path, GOOD.replace(old, new))


def test_a_command_of_a_format_is_found_from_the_file_or_the_path(tmp_path: Path) -> None:
    own = '[formats.gguf]\ncommand = ["./probe", "--ctx", "64"]\n'
    text = GOOD + own + '[formats.opaque_ncnn]\ncommand = ["ncnn-probe"]\n'
    assert config(tmp_path, text).format_commands() == {
        "gguf": (str(tmp_path / "probe"), "--ctx", "64"),
        "opaque_ncnn": ("ncnn-probe",),
    }


def test_a_missing_file_is_a_mistake_of_whoever_typed_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"No such file.*--config FOLDER/device\.toml"):
        DeviceConfig(tmp_path / "device.toml")


def test_a_folder_in_the_place_of_the_file_is_told_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"found a folder.*--config FOLDER/device\.toml"):
        DeviceConfig(tmp_path)


def _keys(kind: type, prefix: str = "") -> list[str]:
    """Give every key of the file as docs/device.md writes it."""
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    found: list[str] = []
    for field in info.fields:
        inner = field.type.type if isinstance(field.type, inspect.Metadata) else field.type
        if isinstance(inner, inspect.UnionType):  # a table that may be missing, or a plain value
            tables = [each for each in inner.types if isinstance(each, inspect.StructType)]
            inner = tables[0] if tables else inner
        if isinstance(inner, inspect.VarTupleType) and isinstance(
            inner.item_type, inspect.StructType
        ):
            found += _keys(inner.item_type.cls, f"{prefix}{field.name}[].")
        elif isinstance(inner, inspect.StructType):
            found += _keys(inner.cls, f"{prefix}{field.name}.")
        else:
            found.append(prefix + field.name)
    return found


@pytest.mark.parametrize("key", _keys(Config))
def test_every_key_is_documented(key: str) -> None:
    table = (Path(__file__).parents[3] / "docs" / "device.md").read_text()
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    table_of, _, name = key.rpartition(".")
    near = [row for row in rows if f"`{table_of}." in row or not table_of]
    wanted = [f"`{key}`", f"`.{name}`", f"`{key}.<key>`"]
    assert any(word in row for row in near for word in wanted), f"{key} is not in docs/device.md"
