"""A broker's address and its TLS files: read once, here, for device and publisher alike.

An address may hold a password. So nothing here repeats an address that could not be read, not even
in part: where it is cut wrongly, its host or its port may be a piece of the password.
"""

from __future__ import annotations

import ipaddress
import os
import re
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import unquote

import msgspec

from slotcast_schemas.errors import BrokerRefused, LinkDown, UsageError
from slotcast_schemas.plain_files import check_regular

if TYPE_CHECKING:
    import socket
    import ssl
    from pathlib import Path

FORM: Final = "mqtt://[USER:PASSWORD@]HOST[:PORT] or mqtts://[USER:PASSWORD@]HOST[:PORT]"
"""The form of a broker's address, as messages and help show it."""

DEFAULT_PORTS: Final = {"mqtt": 1883, "mqtts": 8883}
"""The port of each scheme where an address gives none (registered with IANA: mqtt, secure-mqtt)."""

PORT_MAX: Final = 65535
"""The largest port number of TCP."""

_ADDRESS: Final = re.compile(
    r"(?P<scheme>mqtts?)://"
    r"(?:(?P<user>[^/?#\s\x00-\x1f:]*)(?::(?P<password>[^/?#\s\x00-\x1f]*))?@)?"
    r"(?:\[(?P<ipv6>[0-9a-f:.]+(?:%[^\]/?#@\s]+)?)\]|(?P<host>[^\[\]:/?#@\s\x00-\x1f]+))"
    r"(?::(?P<port>[0-9]{0,5}))?/?",
    re.IGNORECASE,
)
_HOST_MAX_CHARS: Final = 253
"""The most characters that a host's name has as text (RFC 1035, 2.3.4); that each part of it has 1
to 63 is left to Python's IDNA."""


class HungUp(LinkDown):
    """The broker, or what stands before it, ended the connection before it answered CONNECT."""


class BrokerAddress(msgspec.Struct, frozen=True, kw_only=True):
    """Where a broker is, and as whom to connect to it.

    Attributes:
        host: name or address; an IPv6 address without brackets.
        is_tls: whether the connection is encrypted (`mqtts`).
    """

    host: str
    port: int
    is_tls: bool
    username: str | None = None
    password: str | None = None

    @classmethod
    def parse(cls, url: str, where: str = "broker URL") -> Self:
        """Read `mqtt://` or `mqtts://` with a host; user and password are percent-decoded.

        Args:
            url: the address as somebody wrote it.
            where: what the message begins with, such as the key of a file.

        Raises:
            UsageError: it is none; the message says what is wrong and repeats nothing of it.
        """
        found = _ADDRESS.fullmatch(url)
        problem = _problem(url) if found is None else _host_problem(found)
        if found is None or problem:
            raise UsageError(
                f"{where}: expected {FORM}; {problem} (it is not repeated here, since it may hold"
                " a password)"
            )
        scheme = found["scheme"].lower()
        return cls(
            host=(found["ipv6"] or found["host"]).lower(),
            port=int(found["port"] or DEFAULT_PORTS[scheme]),
            is_tls=scheme == "mqtts",
            username=unquote(found["user"]) if found["user"] else None,
            password=unquote(found["password"]) if found["password"] else None,
        )

    @property
    def name(self) -> str:
        """`host:port`, for logs, messages and journals: without user and password."""
        return f"{self.host}:{self.port}"

    @property
    def shows_password(self) -> bool:
        """Whether whoever is on the way to the broker can read the password."""
        return self.password is not None and not self.is_tls and not _is_this_machine(self.host)

    def without_credentials(self) -> str:
        """Give the address as a URL that has neither user nor password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'mqtts' if self.is_tls else 'mqtt'}://{host}:{self.port}"

    def __repr__(self) -> str:
        return f"BrokerAddress({self.without_credentials()!r})"


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _problem(url: str) -> str:
    """Say what keeps a text from being an address, in words that repeat nothing of it."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.lower() not in DEFAULT_PORTS:
        return "this begins with neither mqtt:// nor mqtts://"
    if re.search(r"[\s\x00-\x1f]", rest):
        return "this has a space or a control character; percent-encode it (a space is %20)"
    unfit = re.search(r"[/?#]", rest.rstrip("/"))
    if unfit:
        code = f"%{ord(unfit[0]):02X}"
        return (
            f"this has {unfit[0]!r}, which would end the host; percent-encode it as {code} if it"
            " belongs to the user name or the password"
        )
    after = rest.rpartition("@")[2]
    if after.startswith(":") or not after.strip("/"):
        return "this has no host"
    return f"its port is not a number from 1 to {PORT_MAX}, or its host is none"


def _host_problem(found: re.Match[str]) -> str:
    """Say what is wrong with an address of the right form; empty if nothing is."""
    try:
        is_host = len((found["host"] or "").encode("idna")) <= _HOST_MAX_CHARS
    except UnicodeError:
        is_host = False
    if not is_host:
        return "its host is not a host name: parts of 1 to 63 characters with dots between"
    if found["port"] and not 1 <= int(found["port"]) <= PORT_MAX:
        return f"its port is not a number from 1 to {PORT_MAX}"
    return ""


def is_hang_up(exc: OSError) -> bool:
    """Say whether the other side just ended the connection, and gave no reason.

    An end within the handshake is one kind of error in some versions of Python (3.11.2), another
    one in later ones.
    """
    import ssl

    ended_within_tls = ssl.SSLEOFError | ssl.SSLZeroReturnError
    return isinstance(exc, ConnectionResetError | BrokenPipeError | ended_within_tls)


def describe_hang_up(*, is_tls: bool) -> str:
    """Say what it may mean that a connection was closed before MQTT's answer, and who must act.

    A port for TLS and one without hang up on each other in most brokers, and a broker may hang up
    on a certificate before it says why.
    """
    if is_tls:
        causes: tuple[str, ...] = (
            "this port has no TLS (mqtt://)",
            "the certificate that it was shown is not taken, or it was shown none",
        )
    else:
        causes = ("this port expects TLS (mqtts://)",)
    return (
        "closed the connection before it answered. Usual causes: the broker still starts;"
        f" {'; '.join(causes)}; a proxy stands there without a broker behind it. Try again soon;"
        " if it stays so, check the address, and have whoever runs the broker look into its log"
    )


def explain_unopened(name: str, exc: OSError, *, is_tls: bool) -> LinkDown | BrokerRefused:
    """Say why there is no connection: it was refused, ended without a word, or never made.

    Args:
        name: the broker, as messages name it.
        exc: what came of connecting.
        is_tls: whether the connection was to be encrypted.
    """
    import ssl

    if is_hang_up(exc):
        return HungUp(f"{name}: {describe_hang_up(is_tls=is_tls)}")
    if isinstance(exc, ssl.SSLError):
        return BrokerRefused(f"{name}: TLS failed: {exc}")
    return LinkDown(f"{name}: cannot connect: {exc.strerror or exc}")


def tls_context(ca: Path | None, certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    """Make the TLS context of a client: TLS 1.2 at least, host names checked.

    Args:
        ca: certificates to trust instead of the system's.
        certificate: the client's own, in PEM, with its chain.
        key: its private key, unencrypted; None where it is in the certificate's file.

    Raises:
        UsageError: a file is missing or is not what it should be; the message names it.
    """
    import ssl  # 10 ms of a command's start, where it connects to nothing

    try:
        if ca is not None:
            check_regular(ca)
        context = ssl.create_default_context(cafile=None if ca is None else str(ca))
    except OSError as exc:  # ssl.SSLError is one
        raise UsageError(f"ca {ca} cannot be used: {exc}") from exc
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificate is not None:
        try:
            for path in {certificate, key or certificate}:
                check_regular(path)
            # Without a function for the passphrase OpenSSL would ask on the terminal, and wait.
            context.load_cert_chain(certificate, key, password=lambda: "")
        except PermissionError as exc:
            raise UsageError(
                f"certificate {certificate} or key {key or certificate} may not be read by uid"
                f" {os.geteuid()}, as whom this runs: make that user their owner"
            ) from exc
        except OSError as exc:
            raise UsageError(
                f"certificate {certificate} with key {key or certificate} cannot be used: {exc};"
                " expected PEM files that belong together, the key unencrypted"
            ) from exc
    return context


def start_tls(
    context: ssl.SSLContext | None, plain: socket.socket, host: str, timeout_s: float
) -> ssl.SSLSocket:
    """Shake hands on an open connection; where that fails, the connection is closed.

    paho would leave it to Python's garbage collector: a device that tries again and again would
    gather open connections meanwhile.

    Args:
        context: of a client (`tls_context`).
        plain: the connection; it is the result's from here on.
        host: whose certificate is expected.
        timeout_s: how long to wait for each answer.

    Raises:
        OSError: the other side hung up, or said nothing; `ssl.SSLError` where TLS failed.
        ValueError: there is no context.
    """
    if context is None:
        raise ValueError("expected a TLS context, got none")
    wrapped = context.wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)
    try:
        wrapped.settimeout(timeout_s)
        wrapped.do_handshake()
    except BaseException:
        wrapped.close()
        raise
    return wrapped
