"""ETags: an answer that has not changed is not sent again, and nobody overwrites unseen changes."""

from __future__ import annotations

import hashlib
from typing import Any, TypeVar

import msgspec
from litestar import MediaType, Request, Response
from litestar.exceptions import HTTPException

T = TypeVar("T")
AnyRequest = Request[Any, Any, Any]


class Changed(HTTPException):
    """What was to be changed is not what was looked at any more."""

    status_code = 412


def etag_of(value: Any) -> str:
    """Give the ETag of a value: the same for the same fields, on every machine."""
    data = msgspec.json.encode(value, order="sorted")
    return f'"{hashlib.sha256(data).hexdigest()[:32]}"'


def with_etag(request: AnyRequest, value: T, of: Any = None) -> Response[Any]:
    """Answer with a value and its ETag; without the value, where it is what the client has.

    Args:
        request: that is answered.
        value: the answer.
        of: what the ETag is of; the value unless given.
    """
    etag = etag_of(value if of is None else of)
    headers = {"etag": etag, "cache-control": "private, no-cache"}
    if has_match(request, etag):
        return Response(content=None, status_code=304, headers=headers)
    return Response(content=value, media_type=MediaType.JSON, headers=headers)


def has_match(request: AnyRequest, etag: str) -> bool:
    """Say whether what has this ETag is what the client has already.

    Args:
        request: that is answered.
        etag: of the answer.
    """
    return etag in _tags(request.headers.get("if-none-match"))


def check_match(request: AnyRequest, present: Any) -> None:
    """See that a change is asked for by somebody who saw what is there; who names none need not.

    Args:
        request: of the change.
        present: what its ETag is of, as it is now.

    Raises:
        Changed: somebody else changed it meanwhile.
    """
    given = _tags(request.headers.get("if-match"))
    if given and "*" not in given and etag_of(present) not in given:
        raise Changed(detail="somebody else changed it meanwhile: look at it again")


def _tags(header: str | None) -> list[str]:
    return [part.strip().removeprefix("W/") for part in (header or "").split(",") if part.strip()]
