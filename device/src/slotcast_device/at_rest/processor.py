"""Which cipher this device's processor is quick with."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

from slotcast_device.at_rest.file_format import Cipher

_CPU_INFO: Final = Path("/proc/cpuinfo")
_MULTIPLIES: Final = frozenset({"pclmulqdq", "pmull"})
"""The instruction that makes GCM's tag quick, as x86 and Arm call it."""


@cache
def quickest_cipher(cpu_info: Path = _CPU_INFO) -> Cipher:
    """Give AES where the processor has instructions for it, else ChaCha20.

    AES without such instructions is slower than ChaCha20, and its time can tell of its key.

    Args:
        cpu_info: what Linux says of its processors; of a system that says nothing, none has any.
    """
    try:
        lines = cpu_info.read_text().splitlines()
    except OSError:
        lines = []
    said = [line.partition(":")[2].split() for line in lines if line.startswith(("flags", "Feat"))]
    is_quick = bool(said) and all("aes" in words and _MULTIPLIES & set(words) for words in said)
    return Cipher.AES_256_GCM if is_quick else Cipher.CHACHA20_POLY1305
