"""Every bound of the wire contract, with its reason.

A bound is checked before what it bounds is allocated, parsed or written.
Numbers that other systems set name their source.
"""

from __future__ import annotations

from typing import Final

KIB: Final = 1024
"""The bytes of a kibibyte."""

MIB: Final = 1024 * KIB
"""The bytes of a mebibyte."""

PACKET_MAX_BYTES: Final = 128_000
"""AWS IoT Core refuses larger messages; brokers elsewhere allow at least this."""

NOTICE_MAX_BYTES: Final = 120_000
"""A notice must fit one packet, with room for topic and properties. A usual one is 5 to 8 KB."""

TARGET_MAX_BYTES: Final = 64 * KIB
"""The most bytes of a release or of an offer inside a notice."""

STATUS_MAX_BYTES: Final = 64 * KIB
"""The most bytes of a status."""

WANT_MAX_BYTES: Final = 32 * KIB
"""The most bytes of a want."""

METRICS_MAX_BYTES: Final = 64 * KIB
"""The most bytes of a message of metrics."""

PRESENCE_MAX_BYTES: Final = 1 * KIB
"""The most bytes of a presence."""

CERTIFICATE_MAX_BYTES: Final = 4 * KIB
"""The most bytes of a certificate, or of a request for one. A usual one has 500."""

RENEWAL_MAX_BYTES: Final = 10 * KIB
"""The most bytes of a renewal of a certificate, and of its answer."""

MAP_PART_MAX_BYTES: Final = 96 * KIB
"""The most bytes of a part of a chunk map: 64 KiB of digests, with room."""

CHUNK_DEFAULT_BYTES: Final = 32 * KIB
"""The size of a chunk, unless the repository's settings give another."""

CHUNK_MIN_BYTES: Final = 1 * KIB
"""The least size of a chunk."""

CHUNK_MAX_BYTES: Final = 127_000
"""`PACKET_MAX_BYTES` less the longest topic, the fixed header and MQTT 5 properties."""

BLOCK_CHUNKS: Final = 8
"""Chunks that share a topic level, so that one SUBSCRIBE asks for a whole block.

Eight filters is what AWS IoT Core takes in one SUBSCRIBE, so a block that is part done
can also be asked for in one packet.
"""

MAP_PART_CHUNKS: Final = 2048
"""The number of digests in one part of a chunk map: 64 KiB, which fits brokers that allow 64 KB and
more."""

MAP_PARTS_MAX: Final = 512
"""The most parts of one chunk map."""

CHUNKS_MAX: Final = MAP_PART_CHUNKS * MAP_PARTS_MAX
"""The most chunks of one payload."""

BLOCKS_MAX: Final = CHUNKS_MAX // BLOCK_CHUNKS
"""The most blocks of chunks of one payload."""

IMAGE_MAX_BYTES: Final = 64 * 1024 * MIB
"""The most bytes of an image: 64 GiB."""

SAFE_INTEGER_MAX: Final = 2**53 - 1
"""The largest integer that a client in JavaScript can hold exactly."""

SEQUENCE_JUMP_MAX: Final = 2**32
"""The most by which a release's sequence may be above the last one. A stolen release key could
otherwise sign the highest there is, and no release after it would ever be accepted; with room for
times in seconds, some millions of releases would have to be committed first."""

FILES_MAX: Final = 64
"""The most files of one release."""

PATH_MAX_CHARS: Final = 200
"""The most characters of a file's path in a release."""

PAYLOADS_MAX: Final = 16
"""The most payloads that one offer names."""

DELTA_WAIT_MAX_S: Final = 3600
"""The most seconds that an offer has a device wait for a delta."""

NO_DELTA_FROM_MAX: Final = 64
"""The most releases that one offer names from which no delta will come."""

GROUPS_MAX: Final = 64
"""The most groups that one offer names."""

GROUP_IDS_MAX: Final = 500
"""The most devices that one group lists by their ids."""

TAGS_MAX: Final = 32
"""The most tags of one device."""

TENSORS_MAX: Final = 512
"""The most inputs, or outputs, of one model: decoders have two for each layer's past."""

TENSOR_NAME_MAX_CHARS: Final = 1024
"""The most characters of the name of an input or output."""

SIZE_NAME_MAX_CHARS: Final = 128
"""The most characters of the name of a free dimension; exporters write whole formulas."""

RANK_MAX: Final = 16
"""The most dimensions of an input or output."""

METADATA_FILES_MAX: Final = 48
"""The most TUF metadata files in one notice: four top-level roles, two delegated, and a chain of
roots."""

REQUIRES_MAX: Final = 32
"""The most features that one message requires."""

MODELS_PER_DEVICE_MAX: Final = 32
"""The most models of one device."""

DETAIL_MAX_CHARS: Final = 500
"""The most characters of a text that says what happened."""

TOPIC_MAX_BYTES: Final = 256
"""The most bytes of a topic: AWS IoT Core's bound, the strictest among the managed brokers looked
at."""
TOPIC_MAX_SLASHES: Final = 7
"""The most slashes of a topic, by AWS IoT Core's bound."""
