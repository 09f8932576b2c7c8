"""A broker's address: taken apart as written, and never repeated where it may hold a password."""

from __future__ import annotations

import shlex
import socket
import ssl
import string
import subprocess
import sys
import threading
import traceback
from pathlib import Path
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from hypothesis import given
from hypothesis import strategies as st

from slotcast_device.config import BrokerConfig
from slotcast_publisher.settings import Broker
from slotcast_schemas.broker import FORM, BrokerAddress, start_tls, tls_context
from slotcast_schemas.errors import UsageError
from slotcast_schemas.redact import hide_passwords
from tests.support.certificates import Authority
from tests.support.waiting import WAIT_S

SECRET = ("Blue", "Harbor9")


@pytest.mark.parametrize(
    ("url", "host", "port", "is_tls"),
    [
        ("mqtt://broker", "broker", 1883, False),
        ("mqtts://broker", "broker", 8883, True),
        ("MQTT://Broker.Example:18830/", "broker.example", 18830, False),
        ("mqtt://192.0.2.7:1", "192.0.2.7", 1, False),
        ("mqtts://[2001:db8::1]:65535", "2001:db8::1", 65535, True),
        ("mqtt://[::1]", "::1", 1883, False),
    ],
)
def test_host_port_and_tls_are_as_written(url: str, host: str, port: int, is_tls: bool) -> None:
    found = BrokerAddress.parse(url)
    assert (found.host, found.port, found.is_tls) == (host, port, is_tls)
    assert (found.username, found.password) == (None, None)


_TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(_TEXT, _TEXT)
def test_any_user_and_password_survive_percent_encoding(user: str, password: str) -> None:
    found = BrokerAddress.parse(f"mqtts://{quote(user, safe='')}:{quote(password, safe='')}@h:1")
    assert (found.username, found.password) == (user, password)
    assert found.without_credentials() == "mqtts://h:1"


@pytest.mark.parametrize("character", [*string.punctuation, " ", "\t", "\n", "\x00", "é", "%zz"])
@pytest.mark.parametrize(
    "form", ["mqtt://cam:{}@host:1883", "mqtt://{}@host", "mqtt://cam:{}/@host"]
)
def test_no_character_of_a_password_gets_it_into_a_message(character: str, form: str) -> None:
    url = form.format(character.join(SECRET))
    try:
        found = BrokerAddress.parse(url)
    except UsageError as exc:
        said = "".join(traceback.format_exception(exc))
    else:
        said = f"{found!r} {found.name} {found.without_credentials()}"
        assert found.host == "host"  # and not a piece of the password
    said += f"{BrokerConfig(url=url)!r} {Broker(url=url)!r}" if "@host" in url else ""
    assert not [part for part in SECRET if part.lower() in said.lower()], said


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("mqtt://cam:Blue#Harbor9@h", "percent-encode it as %23"),
        ("mqtt://cam:Blue/Harbor9@h", "percent-encode it as %2F"),
        ("mqtt://cam:Blue?Harbor9@h", "percent-encode it as %3F"),
        ("mqtt://cam:Blue Harbor9@h", "a space is %20"),
        ("http://h", "begins with neither mqtt:// nor mqtts://"),
        ("h:1883", "begins with neither mqtt:// nor mqtts://"),
        ("", "begins with neither"),
        ("mqtt://", "no host"),
        ("mqtt://cam:Blue@", "no host"),
        ("mqtt://:1883", "no host"),
        ("mqtt://h:port", "port is not a number"),
        ("mqtt://h:0", "port is not a number from 1 to 65535"),
        ("mqtt://h:65536", "port is not a number from 1 to 65535"),
        ("mqtt://a..b", "not a host name"),
        (f"mqtt://{'a' * 64}", "not a host name"),
        ("mqtt://h/path", "percent-encode it as %2F"),
    ],
)
def test_a_wrong_address_is_told_what_is_wrong(url: str, why: str) -> None:
    with pytest.raises(UsageError, match="expected mqtt://") as refused:
        BrokerAddress.parse(url, "brokers[3].url")
    assert why in str(refused.value)
    assert str(refused.value).startswith("brokers[3].url: ")


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("got mqtt://cam:Blue#Harbor9@host:1 here", "got mqtt://***@host:1 here"),
        ("mqtts://a:b c@d@e and f", "mqtts://***@e and f"),
        ("could not read mqtt:/cam:Blue@host", "could not read mqtt:/***@host"),
        ("MQTT://x@y\nmqtt://h", "MQTT://***@y\nmqtt://h"),
        ("nobody@example.org", "nobody@example.org"),
        ("mqtt://host:1883", "mqtt://host:1883"),
        ("tcp://cam:Blue#9@host, see https://x.example/@a", "tcp://***@host, see https://***@a"),
        ("key hsm:2?pin-value=4711&x=1", "key hsm:2?pin-value=***&x=1"),
        (f"expected {FORM}; got", f"expected {FORM}; got"),
        (f"expected {FORM}, got mqtt://a:b@h", f"expected {FORM}, got mqtt://***@h"),
    ],
)
def test_texts_of_others_lose_their_passwords(text: str, hidden: str) -> None:
    assert hide_passwords(text) == hidden


def test_tls_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ca")
    one, other = authority.issue_client("cam-1"), authority.issue_client("cam-2")
    assert tls_context(authority.certificate, one.certificate, one.key).check_hostname
    with pytest.raises(UsageError, match=r"ca \S*nowhere.pem cannot be used: .*No such file"):
        tls_context(tmp_path / "nowhere.pem", None, None)
    with pytest.raises(UsageError, match=r"cam-1.crt with key \S*cam-2.key cannot be used"):
        tls_context(None, one.certificate, other.key)


def test_an_encrypted_key_is_refused_without_asking_on_the_terminal(tmp_path: Path) -> None:
    """OpenSSL itself would ask, and a device's agent would wait for ever."""
    made = Authority(tmp_path, "ca").issue_client("cam-1")
    key = load_pem_private_key(made.key.read_bytes(), None)
    encryption = BestAvailableEncryption(b"Harbor9")
    made.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    program = (
        "from pathlib import Path; from slotcast_schemas.broker import tls_context;"
        f"tls_context(None, Path({str(made.certificate)!r}), Path({str(made.key)!r}))"
    )
    command = f"{shlex.quote(sys.executable)} -c {shlex.quote(program)}"
    done = subprocess.run(  # `script` gives it a terminal, on which it could ask
        ["script", "-qec", command, "/dev/null"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_S,
    )
    assert "the key unencrypted" in done.stdout
    assert "pass phrase" not in done.stdout


def test_a_connection_that_ends_before_tls_is_closed() -> None:
    """Else it stays open until the garbage is collected: pytest makes a failure of that."""

    def hang_up() -> None:
        made, _ = listener.accept()
        with made:
            made.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=hang_up)
        thread.start()
        plain = socket.create_connection(listener.getsockname())
        with pytest.raises(OSError, match=r"reset|EOF"):
            start_tls(ssl.create_default_context(), plain, "localhost", WAIT_S)
        thread.join(WAIT_S)
