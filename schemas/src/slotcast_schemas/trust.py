"""How roles and targets of The Update Framework are named, for both sides (docs/trust.md).

| role | key | says |
|---|---|---|
| root, targets | offline | which keys count; who may sign for which model |
| `release-<model>` | offline or KMS | *what*: the release |
| `offers`, snapshot, timestamp | online | *to whom and how*; freshness |
"""

from __future__ import annotations

from typing import Final

OFFERS_ROLE: Final = "offers"
"""The role that signs offers, with the online key (docs/trust.md)."""

OFFERS_PATHS: Final = ("offers/*",)
"""The targets that the offers role may sign."""

METADATA_URL: Final = "slotcast:///metadata/"
"""What a TUF client is told as base address; a notice's `metadata` keys are the names below it."""
TARGETS_URL: Final = "slotcast:///targets/"
"""What a TUF client is told as base address of targets; a notice's `targets` keys are the names
below it."""

HASH_PREFIXED_TARGETS: Final = False
"""Targets lie in the notice under their plain TUF path, not under `<sha256>.<name>`."""


def release_role(model: str) -> str:
    """Name the delegated role that signs a model's releases."""
    return f"release-{model}"


def release_paths(model: str) -> tuple[str, ...]:
    """Give the target paths that this role may sign."""
    return (f"models/{model}/*",)


def release_target(model: str, version: str) -> str:
    """Name the target file of a release."""
    return f"models/{model}/{version}.release"


def offer_target(model: str) -> str:
    """Name the target file of a model's offer."""
    return f"offers/{model}.offer"
