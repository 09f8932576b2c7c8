"""Every bound of the wire contract, with its reason.

A bound is checked before what it bounds is allocated, parsed or written.
Numbers that other systems set name their source.
"""

from __future__ import annotations

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

PACKET_MAX_BYTES: Final = 128_000
"""AWS IoT Core refuses larger messages; brokers elsewhere allow at least this."""

NOTICE_MAX_BYTES: Final = 120_000
"""A notice must fit one packet, with room for topic and properties. A usual one is 5 to 8 KB."""

TARGET_MAX_BYTES: Final = 64 * KIB
"""A release or an offer inside a notice."""

STATUS_MAX_BYTES: Final = 64 * KIB
WANT_MAX_BYTES: Final = 32 * KIB
METRICS_MAX_BYTES: Final = 64 * KIB
PRESENCE_MAX_BYTES: Final = 1 * KIB
MAP_PART_MAX_BYTES: Final = 96 * KIB

CHUNK_DEFAULT_BYTES: Final = 32 * KIB
CHUNK_MIN_BYTES: Final = 1 * KIB
CHUNK_MAX_BYTES: Final = 127_000
"""`PACKET_MAX_BYTES` less the longest topic, the fixed header and MQTT 5 properties."""

BLOCK_CHUNKS: Final = 8
"""Chunks that share a topic level, so that one SUBSCRIBE asks for a whole block.

Eight filters is what AWS IoT Core takes in one SUBSCRIBE, so a block that is part done
can also be asked for in one packet.
"""

MAP_PART_CHUNKS: Final = 2048
"""Digests in one part of a chunk map: 64 KiB, which fits brokers that allow 64 KB and more."""

MAP_PARTS_MAX: Final = 512
CHUNKS_MAX: Final = MAP_PART_CHUNKS * MAP_PARTS_MAX
BLOCKS_MAX: Final = CHUNKS_MAX // BLOCK_CHUNKS

IMAGE_MAX_BYTES: Final = 64 * 1024 * MIB
SAFE_INTEGER_MAX: Final = 2**53 - 1
"""The largest integer that a client in JavaScript can hold exactly."""

FILES_MAX: Final = 64
PATH_MAX_CHARS: Final = 200
PAYLOADS_MAX: Final = 16
GROUPS_MAX: Final = 64
GROUP_IDS_MAX: Final = 500
TAGS_MAX: Final = 32
TENSORS_MAX: Final = 128
RANK_MAX: Final = 16
METADATA_FILES_MAX: Final = 48
"""TUF metadata files in one notice: four top-level roles, two delegated, and a chain of roots."""

REQUIRES_MAX: Final = 32
MODELS_PER_DEVICE_MAX: Final = 32
DETAIL_MAX_CHARS: Final = 500
TOPIC_MAX_BYTES: Final = 256
"""AWS IoT Core's bound; the strictest among the managed brokers looked at."""
TOPIC_MAX_SLASHES: Final = 7
