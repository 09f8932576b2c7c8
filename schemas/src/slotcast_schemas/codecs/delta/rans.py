"""The decoder of interleaved rANS: symbols from 16-bit words, many lanes in step.

Range asymmetric numeral systems (J. Duda, arXiv:1311.2540) with 32-bit states; symbol i of a run is
coded by lane i modulo the number of lanes, so that numpy decodes one symbol of every lane at once.
The encoder is the publisher's; the order of words is in docs/delta-format.md, section 8.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from slotcast_schemas.codecs.delta.model import FrequencyModel
from slotcast_schemas.errors import PayloadCorrupt

STATE_START: Final = 1 << 16
"""The least value of a state; below it, a state takes in 16 bits more."""


class Lanes:
    """The states of interleaved coders, each fed from the same words.

    Args:
        count: how many there are.
        words: their first values (all high halves, then all low ones), and what follows.
        kind: the type of their array, as wide as what is reckoned with them needs.
    """

    def __init__(self, count: int, words: WordReader, kind: type[np.uint32 | np.int64]) -> None:
        self._words = words
        high, low = words.take(count), words.take(count)
        if len(low) < count:
            raise PayloadCorrupt(f"expected the states of {count} lanes, got too few words")
        self.states: NDArray[Any] = high.astype(kind)
        self.states <<= 16
        self.states |= low

    def feed(self, states: NDArray[Any], words: NDArray[np.uint16], used: int) -> int:
        """Give a word to each state that fell below its least; gives how many are used now.

        Args:
            states: of the lanes that had a turn; changed in place.
            words: those of the run.
            used: how many of them were used before.

        Raises:
            PayloadCorrupt: the words ended too early.
        """
        hungry = (states < STATE_START).nonzero()[0]
        fed = used + len(hungry)
        if fed > len(words):
            raise PayloadCorrupt(f"expected at least {fed} more words of symbols, got {len(words)}")
        states[hungry] = (states[hungry] << 16) | words[used:fed]
        return fed

    def finish(self) -> None:
        """Check that every lane ended where the encoder began.

        Raises:
            PayloadCorrupt: a lane did not, or words are left over.
        """
        if self._words.left or np.any(self.states != STATE_START):
            raise PayloadCorrupt("expected every lane to end in its first state, got another")


class RansDecoder:
    """Decodes one section's symbols.

    Words are taken for a run of symbols at a time, as many as it can use at most, and what it did
    not use is given back; so memory is bounded by a run instead of by the section.

    Args:
        model: the frequencies, as they were when coding began.
        lanes: how many states take turns, one symbol each.
        words: the states' first values (all high halves, then all low ones), and what follows.
    """

    def __init__(self, model: FrequencyModel, lanes: int, words: WordReader) -> None:
        self._model = model
        self._words = words
        self._lanes = Lanes(lanes, words, np.uint32)
        self._lookup = model.lookup()

    def decode(self, contexts: NDArray[np.intp]) -> NDArray[np.intp]:
        """Decode symbols for elements of these contexts' indices; both of shape (n,).

        Returns:
            Each symbol's place in the tables: the context's index times the number of symbols,
            plus the symbol's index.

        Raises:
            PayloadCorrupt: the words ended too early.
        """
        places = contexts * self._model.symbols
        # Indices are as wide as numpy's own: narrower ones it would widen at every use.
        slots = contexts << self._model.precision_bits
        done = 0
        while done < len(places):
            run = slice(done, done + self._model.until_update)
            self._run(slots[run], places[run])
            done = run.stop
        return places

    def _run(self, slots: NDArray[np.intp], places: NDArray[np.intp]) -> None:
        """Decode up to the model's next update, at most 65,536 symbols.

        Args:
            slots: where each context's slots begin; becomes the slots that were looked up.
            places: the place of each context's first symbol; becomes the places of the symbols.
        """
        words = self._words.take(len(places))
        used = 0
        lanes = len(self._lanes.states)
        for start in range(0, len(places), lanes):
            step = slice(start, start + lanes)
            used = self._step(slots[step], places[step], words, used)
        self._words.give_back(len(words) - used)
        if self._model.note(places):
            self._lookup = self._model.lookup()

    def _step(
        self,
        slots: NDArray[np.intp],
        places: NDArray[np.intp],
        words: NDArray[np.uint16],
        used: int,
    ) -> int:
        """One symbol of each lane; returns how many of the words are used now."""
        model = self._model
        bits = np.uint32(model.precision_bits)
        states = self._lanes.states[: len(places)]
        slot = states & np.uint32((1 << model.precision_bits) - 1)
        slots += slot
        places += self._lookup.take(slots, mode="clip")
        states >>= bits
        states *= model.frequency.take(places, mode="clip")
        states += slot
        states -= model.start.take(places, mode="clip")
        return self._lanes.feed(states, words, used)

    def finish(self) -> None:
        """Check that every lane ended where the encoder began; raises as `Lanes.finish`."""
        self._lanes.finish()


class WordReader:
    """16-bit words of one region of the payload, read in pieces.

    Args:
        read_at: gives bytes of the payload, by offset and size in bytes.
        offset: where the region begins in it.
        size_bytes: the region's size.
    """

    def __init__(self, read_at: Callable[[int, int], bytes], offset: int, size_bytes: int) -> None:
        self._read_at = read_at
        self._offset = offset
        self.left = size_bytes // 2

    def take(self, count: int) -> NDArray[np.uint16]:
        """Read the next `count` words, fewer at the end of the region; uint16, shape (count,)."""
        count = min(count, self.left)
        data = self._read_at(self._offset, 2 * count)
        self._offset += 2 * count
        self.left -= count
        return np.frombuffer(data, dtype="<u2")

    def give_back(self, count: int) -> None:
        """Make the last `count` words that were taken the next ones again."""
        self._offset -= 2 * count
        self.left += count


class BitReader:
    """Plain bits of one region of the payload: 32-bit words, the lowest bit first.

    Args:
        read_at: gives bytes of the payload, by offset and size in bytes.
        offset: where the region begins in it.
        size_bytes: the region's size.
    """

    def __init__(self, read_at: Callable[[int, int], bytes], offset: int, size_bytes: int) -> None:
        self._read_at = read_at
        self._offset = offset
        self._size_bytes = size_bytes
        self._position_bits = 0

    def take(self, widths: NDArray[np.int64]) -> NDArray[np.uint32] | None:
        """Read numbers of so many bits each, at most 31, shape (n,); None if none has any.

        Raises:
            PayloadCorrupt: the region ended too early.
        """
        ends = np.cumsum(widths)
        total = int(ends[-1]) if len(ends) else 0
        if total == 0:
            return None
        first, offset = self._position_bits >> 5, self._position_bits & 31
        starts = np.subtract(ends, widths, out=ends)
        starts += offset
        pairs = self._pairs(first, (self._position_bits + total + 31) >> 5)
        self._position_bits += total
        values = pairs.take(starts >> 5)
        starts &= 31
        values >>= starts.view(np.uint64)
        plain = values.astype(np.uint32)
        plain &= _MASKS.take(widths)
        return plain

    def _pairs(self, first: int, end: int) -> NDArray[np.uint64]:
        """Each word from `first` to before `end`, with the next word above it."""
        if 4 * end > self._size_bytes:
            raise PayloadCorrupt(f"expected {4 * end} bytes of plain bits, got {self._size_bytes}")
        data = self._read_at(self._offset + 4 * first, 4 * (end - first))
        words = np.frombuffer(data, dtype="<u4")
        # One more, zero: where the last numbers have no bits, they begin just past the words.
        pairs = np.zeros(len(words) + 1, dtype=np.uint64)
        pairs[:-1] = words
        pairs[:-2] |= words[1:].astype(np.uint64) << np.uint64(32)
        return pairs

    def finish(self) -> None:
        """Check that the region was used up to its last word.

        Raises:
            PayloadCorrupt: words are left over.
        """
        used = 4 * ((self._position_bits + 31) >> 5)
        if used != self._size_bytes:
            raise PayloadCorrupt(f"expected {used} bytes of plain bits, got {self._size_bytes}")


_MASKS: Final = np.array([(1 << width) - 1 for width in range(32)], dtype=np.uint32)
"""The lowest bits of a word, by their number; uint32, shape (32,)."""
