"""The sample tables of a track of MP4 or MOV: what they claim must be in the file, before FFmpeg builds on it."""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from airflow_provider_evolink.api.files.formats.boxes import Box, boxes
from airflow_provider_evolink.api.files.formats.source import Source, big, cut, damaged

_MAX_ENTRIES = 2_000_000  # of a table: 9 hours of a clip with 60 frames a second
_PIECE = 16 * 1024  # entries that are read at once
# Tables of a counted number of entries: bytes before the count, and bytes of an entry.
_ENTRY_SIZES = {
    b"stts": 8,
    b"ctts": 8,
    b"stsc": 12,
    b"stco": 4,
    b"co64": 8,
    b"stss": 4,
    b"stps": 4,
}


@dataclass(frozen=True)
class Samples:
    """
    What a track holds.

    :param count: Number of its samples.
    :param bytes: Their length.
    :param ticks: Their time, in units of the track.
    """

    count: int = 0
    bytes: int = 0
    ticks: int = 0


def read_samples(source: Source, table: Box, data: list[Box]) -> Samples:
    """
    Return what the tables of a track list; all of it is in the file.

    :param source: The file.
    :param table: The box ``stbl``.
    :param data: The boxes with the media data.
    :raises EvoLinkMediaError: the tables claim what the file does not have.
    """
    found = {box.name: box for box in boxes(source, table)}
    for name, size in _ENTRY_SIZES.items():
        if name in found:
            _count_of(source, found[name], size)
    sizes = _Sizes.of(source, found)
    ticks, timed = _times(source, found.get(b"stts"))
    shifted = _times(source, found.get(b"ctts"))[1]
    # FFmpeg makes an entry of each sample that these tables count, whatever the file holds.
    if max(timed, shifted) > 2 * sizes.count + 64:
        raise damaged("its tables claim more samples than it holds")
    if sizes.count:
        _check_chunks(source, found, sizes, data)
    return Samples(sizes.count, sizes.total(0, sizes.count), ticks)


def _count_of(source: Source, box: Box, entry_size: int, position: int = 4) -> int:
    """Return the number of entries of a table, which must be in its box."""
    count = big(source.need(box.start + position, 4))
    if count * entry_size > box.size - position - 4:
        raise damaged("its tables claim more than it holds")
    if count > _MAX_ENTRIES:
        raise damaged("its tables are larger than those of any real file")
    return count


def read_numbers(source: Source, position: int, count: int, code: str = "I") -> array[int]:
    """
    Return numbers of a table.

    :param source: The file.
    :param position: Of the first one.
    :param count: How many.
    :param code: Their type, as in ``array``.
    """
    numbers = array(code)
    numbers.frombytes(source.need(position, count * numbers.itemsize))
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers


def _pieces(count: int) -> Iterator[tuple[int, int]]:
    return ((start, min(_PIECE, count - start)) for start in range(0, count, _PIECE))


def _times(source: Source, box: Box | None) -> tuple[int, int]:
    """Return the ticks and the number of samples of a table of runs."""
    ticks = samples = 0
    if box is not None:
        for start, count in _pieces(_count_of(source, box, 8)):
            runs = read_numbers(source, box.start + 8 + 8 * start, 2 * count)
            samples += sum(runs[::2])
            ticks += sum(run * delta for run, delta in zip(runs[::2], runs[1::2], strict=True))
    return ticks, samples


@dataclass(frozen=True)
class _Sizes:
    """Lengths of the samples: each its own, or one for all."""

    count: int
    each: int = 0
    listed: array[int] | bytes = b""

    @classmethod
    def of(cls, source: Source, found: dict[bytes, Box]) -> _Sizes:
        if (box := found.get(b"stsz")) is not None:
            each, count = big(source.need(box.start + 4, 4)), big(source.need(box.start + 8, 4))
            if each:
                return cls(count, each)
            count = _count_of(source, box, 4, position=8)
            return cls(count, 0, read_numbers(source, box.start + 12, count))
        if (box := found.get(b"stz2")) is not None:
            return cls._packed(source, box, source.need(box.start + 7, 1)[0])
        return cls(0)

    @classmethod
    def _packed(cls, source: Source, box: Box, bits: int) -> _Sizes:
        count = big(source.need(box.start + 8, 4))
        length = (count * bits + 7) // 8
        if bits not in (4, 8, 16) or length > box.size - 12 or count > _MAX_ENTRIES:
            raise damaged("its tables claim more than it holds")
        if bits == 16:
            return cls(count, 0, read_numbers(source, box.start + 12, count, "H"))
        packed = source.need(box.start + 12, length)
        return cls(count, 0, packed if bits == 8 else bytes(n for byte in packed for n in (byte >> 4, byte & 15)))

    def total(self, start: int, count: int) -> int:
        return self.each * count if self.each else sum(self.listed[start : start + count])


def _check_chunks(source: Source, found: dict[bytes, Box], sizes: _Sizes, data: list[Box]) -> None:
    """Refuse a track whose samples do not lie in the media data of the file."""
    if b"stsc" not in found or not (b"stco" in found or b"co64" in found):
        raise damaged("a track has samples, but no table of where they are")
    code, box = ("I", found[b"stco"]) if b"stco" in found else ("Q", found[b"co64"])
    chunk_count = _count_of(source, box, 4 if code == "I" else 8)
    runs = _runs(source, found[b"stsc"])
    starts, sample, run = [place.start for place in data], 0, 0
    for start, count in _pieces(chunk_count):
        offsets = read_numbers(source, box.start + 8 + (4 if code == "I" else 8) * start, count, code)
        for number, offset in enumerate(offsets, start + 1):
            while run + 1 < len(runs) and runs[run + 1][0] <= number:
                run += 1
            many = min(runs[run][1], sizes.count - sample)
            _check_place(offset, sizes.total(sample, many), data, starts)
            sample += many
    if sample < sizes.count:
        raise damaged("its tables do not say where all samples are")


def _check_place(offset: int, length: int, data: list[Box], starts: list[int]) -> None:
    index = bisect_right(starts, offset) - 1
    if length and (index < 0 or offset + length > data[index].end):
        raise cut()


def _runs(source: Source, box: Box) -> list[tuple[int, int]]:
    """Return for runs of chunks the number of the first one, and the samples of each."""
    runs: list[tuple[int, int]] = []
    for start, count in _pieces(_count_of(source, box, 12)):
        numbers = read_numbers(source, box.start + 8 + 12 * start, 3 * count)
        runs += zip(numbers[::3], numbers[1::3], strict=True)
    if not runs:
        raise damaged("a track has samples, but no table of where they are")
    return runs
