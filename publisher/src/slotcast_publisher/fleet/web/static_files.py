"""Style, script and pictures of the page: kept by browsers for good, by addresses that say which.

A page names each file by the digest of what is in it, `/static/DIGEST/NAME`; another version of
Slotcast has another address, so nothing that is kept is ever out of date. By its name alone a file
has an ETag, and is asked for anew each time.
"""

from __future__ import annotations

import functools
import hashlib
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from litestar import Request, Response, get
from litestar.params import FromPath

from slotcast_publisher.errors import NotFound
from slotcast_publisher.fleet.web.etags import has_match
from slotcast_publisher.fleet.web.guards import PUBLIC

FOLDER: Final = Path(__file__).parent / "static"
"""What everybody may load: styles, the script, icons, and a dashboard for Grafana."""
PATH: Final = "/static"
FOR_GOOD: Final = "public, max-age=31536000, immutable"
"""Of what can never change at this address."""
ASK_ANEW: Final = "public, no-cache"
"""Of what may: kept, and asked for anew with its ETag."""
_DIGEST_CHARS: Final = 16
"""The characters of a file's digest in its address."""

AnyRequest = Request[Any, Any, Any]


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file that everybody may load."""

    name: str
    body: bytes
    media_type: str
    digest: str

    @property
    def etag(self) -> str:
        """The same for the same bytes."""
        return f'"{self.digest}"'


@functools.cache
def static_files() -> Mapping[str, StaticFile]:
    """Give all files, by their names; they are read once."""
    return {path.name: _read(path) for path in FOLDER.iterdir() if path.is_file()}


def _read(path: Path) -> StaticFile:
    body = path.read_bytes()
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    text = "; charset=utf-8" if kind.startswith("text/") else ""
    digest = hashlib.sha256(body).hexdigest()[:_DIGEST_CHARS]
    return StaticFile(path.name, body, kind + text, digest)


def static_address(name: str) -> str:
    """Give the address at which a file never changes.

    Raises:
        KeyError: there is no such file.
    """
    return f"{PATH}/{static_files()[name].digest}/{name}"


def _answer(request: AnyRequest, name: str, digest: str) -> Response[bytes]:
    found = static_files().get(name)
    if found is None:
        raise NotFound(f"no file {name!r:.80}")
    # A page of another version asks for its own: it gets ours, and does not keep it.
    headers = {
        "etag": found.etag,
        "cache-control": FOR_GOOD if digest == found.digest else ASK_ANEW,
    }
    if has_match(request, found.etag):
        return Response(b"", status_code=304, headers=headers)
    return Response(found.body, media_type=found.media_type, headers=headers)


@get(f"{PATH}/{{name:str}}", opt=PUBLIC, sync_to_thread=False)
def _give_file(request: AnyRequest, name: FromPath[str]) -> Response[bytes]:
    """Give a file as it is now."""
    return _answer(request, name, "")


@get(f"{PATH}/{{digest:str}}/{{name:str}}", opt=PUBLIC, sync_to_thread=False)
def _give_file_for_good(
    request: AnyRequest, digest: FromPath[str], name: FromPath[str]
) -> Response[bytes]:
    """Give a file by its digest."""
    return _answer(request, name, digest)


ROUTES: Final = [_give_file, _give_file_for_good]
"""What this module answers."""
