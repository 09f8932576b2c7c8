"""The notice: announces what a model's devices should run. All that it carries is signed.

It holds the signed metadata of The Update Framework (TUF) and the two small signed target files,
the release and the offer. The envelope itself is not signed and so says nothing that counts:
a device believes only what the metadata vouches for.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from slotcast_schemas import limits
from slotcast_schemas.fields import Format, ModelName, Requires
from slotcast_schemas.wire import Message

MetadataName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9%._-]*\.json\Z", max_length=128)]
TargetName = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._!+/-]*\Z", max_length=limits.PATH_MAX_CHARS)
]
Blob = Annotated[bytes, Meta(min_length=1, max_length=limits.TARGET_MAX_BYTES)]


class Notice(Message, frozen=True, kw_only=True, tag_field="kind", tag="notice"):
    """Signed metadata and small signed targets of one model, whole: nothing else is fetched.

    Attributes:
        model: which model this is about; must agree with the topic and with the signed release.
        metadata: TUF metadata by file name as a TUF client asks for it (`timestamp.json`,
            `7.snapshot.json`, `2.root.json`, ...), each exactly the bytes that were signed.
        targets: target files by TUF target path (`models/<model>/<version>.release`,
            `offers/<model>.offer`).
    """

    KIND = "notice"
    MAX_BYTES = limits.NOTICE_MAX_BYTES

    format: Format = 1
    requires: Requires = ()
    model: ModelName
    metadata: Annotated[
        dict[MetadataName, Blob], Meta(min_length=1, max_length=limits.METADATA_FILES_MAX)
    ]
    targets: Annotated[dict[TargetName, Blob], Meta(min_length=1, max_length=8)]
