"""Fragmented MP4: what each fragment claims must be in the media data behind it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from airflow_provider_evolink.api.files.formats.boxes import Box, boxes
from airflow_provider_evolink.api.files.formats.sample_tables import Samples, read_numbers
from airflow_provider_evolink.api.files.formats.source import Source, big, cut, damaged

_MAX_LISTED = 250_000  # samples of a fragment
_MIN_SHARE = 0.9  # of the length that the header announces


@dataclass(frozen=True)
class Defaults:
    """
    What applies to the samples of a track unless they state something else.

    :param ticks: Time of a sample.
    :param size: Length of a sample.
    """

    ticks: int = 0
    size: int = 0


@dataclass
class Fragments:
    """
    What the fragments of a file hold, summed up by track.

    :param defaults: By track.
    """

    defaults: dict[int, Defaults] = field(default_factory=dict)
    samples: dict[int, Samples] = field(default_factory=lambda: defaultdict(Samples))

    def add(self, source: Source, moof: Box, room: int) -> None:
        """
        Count the samples of a fragment.

        :param source: The file.
        :param moof: The fragment.
        :param room: Bytes of media data up to the next one.
        :raises EvoLinkMediaError: it claims more than the file holds.
        """
        used = 0
        for traf in boxes(source, moof):
            if traf.name == b"traf":
                track, found = self._run_of(source, traf)
                used += found.bytes
                known = self.samples[track]
                self.samples[track] = Samples(
                    known.count + found.count, known.bytes + found.bytes, known.ticks + found.ticks
                )
        if used > room:
            raise cut()

    def _run_of(self, source: Source, traf: Box) -> tuple[int, Samples]:
        track, defaults, count, total, ticks = 0, Defaults(), 0, 0, 0
        for box in boxes(source, traf):
            if box.name == b"tfhd":
                track, defaults = self._head_of(source, box)
            elif box.name == b"trun":
                found = _read_run(source, box, defaults)
                count, total, ticks = count + found.count, total + found.bytes, ticks + found.ticks
        return track, Samples(count, total, ticks)

    def _head_of(self, source: Source, box: Box) -> tuple[int, Defaults]:
        flags, track = big(source.need(box.start + 1, 3)), big(source.need(box.start + 4, 4))
        known, position = self.defaults.get(track, Defaults()), box.start + 8
        position += 8 * bool(flags & 1) + 4 * bool(flags & 2)
        ticks = big(source.need(position, 4)) if flags & 8 else known.ticks
        position += 4 * bool(flags & 8)
        size = big(source.need(position, 4)) if flags & 0x10 else known.size
        return track, Defaults(ticks, size)


def _read_run(source: Source, box: Box, defaults: Defaults) -> Samples:
    flags, count = big(source.need(box.start + 1, 3)), big(source.need(box.start + 4, 4))
    fields = [bit for bit in (0x100, 0x200, 0x400, 0x800) if flags & bit]
    position = box.start + 8 + 4 * bool(flags & 1) + 4 * bool(flags & 4)
    if position + 4 * len(fields) * count > box.end or count > (_MAX_LISTED if fields else source.size):
        raise damaged("its tables claim more than it holds")
    numbers = read_numbers(source, position, len(fields) * count)
    ticks = sum(numbers[fields.index(0x100) :: len(fields)]) if 0x100 in fields else defaults.ticks * count
    total = sum(numbers[fields.index(0x200) :: len(fields)]) if 0x200 in fields else defaults.size * count
    return Samples(count, total, ticks)


def check_length(announced: int, found: int) -> None:
    """
    Refuse a file with fewer fragments than its header announces.

    :param announced: Ticks, by the header; 0: not stated.
    :param found: Ticks, by the fragments.
    :raises EvoLinkMediaError: fragments are missing.
    """
    if found < _MIN_SHARE * announced:
        raise cut()


def check_index(source: Source, sidx: Box) -> None:
    """
    Refuse a file that is shorter than its index of segments.

    :param source: The file.
    :param sidx: The index.
    :raises EvoLinkMediaError: segments are missing.
    """
    is_long = source.need(sidx.start, 1)[0] > 0
    position, width = sidx.start + (20 if is_long else 16), 8 if is_long else 4
    skipped = big(source.need(position, width))
    position += width
    count = big(source.need(position + 2, 2))
    if 12 * count > sidx.end - position - 4:
        raise damaged("its tables claim more than it holds")
    numbers = read_numbers(source, position + 4, 3 * count)
    if sidx.end + skipped + sum(number & 0x7FFF_FFFF for number in numbers[::3]) > source.size:
        raise cut()
