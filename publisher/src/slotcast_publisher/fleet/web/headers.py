"""Headers of every answer, errors included: what a browser may do with it."""

from __future__ import annotations

from typing import Final

from litestar.datastructures import MutableScopeHeaders
from litestar.types import Message, Scope

POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self';"
    " manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""No inline script, no style attribute, nothing of another host, no frame around us."""
HEADERS: Final = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",  # for browsers that do not know frame-ancestors
    "referrer-policy": "no-referrer",  # addresses hold names of devices, and one-time links
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
"""What every answer has."""
_NOT_KEPT: Final = "no-store"
_HTTPS_ONLY: Final = "max-age=31536000"
"""Have browsers ask by HTTPS alone for a year, in seconds (RFC 6797)."""


async def add_headers(message: Message, scope: Scope) -> None:
    """Add the headers, and forbid to keep an answer that does not say itself that it may be.

    Args:
        message: of the answer.
        scope: of the request.
    """
    if message["type"] != "http.response.start":
        return
    headers = MutableScopeHeaders.from_message(message)
    for name, value in HEADERS.items():
        headers[name] = value
    if "cache-control" not in headers:
        headers["cache-control"] = _NOT_KEPT
    if "allow" in headers:
        headers["allow"] = _with_head(headers["allow"])
    if scope["scheme"] == "https":
        headers["strict-transport-security"] = _HTTPS_ONLY


def _with_head(methods: str) -> str:
    """Add what `web.head` answers wherever GET is answered."""
    found = {method.strip() for method in methods.split(",")}
    return ", ".join(sorted(found | ({"HEAD"} if "GET" in found else set())))
