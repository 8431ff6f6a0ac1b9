"""How a picture must be turned to be shown."""

from __future__ import annotations

_ORIENTATION = 0x0112
_MAX_TAGS = 200


def is_on_its_side(exif: bytes) -> bool:
    """
    Return whether the orientation of a picture swaps its width and height.

    :param exif: The TIFF structure of its EXIF data, with or without the prefix ``Exif``.
    """
    tiff = exif[6:] if exif.startswith(b"Exif\0") else exif
    order = {b"II": "little", b"MM": "big"}.get(tiff[:2])
    return order is not None and _orientation(tiff, order) in (5, 6, 7, 8)


def turned(width: int, height: int, exif: bytes) -> tuple[int, int]:
    """
    Return the sides of a picture as it is shown.

    :param width: As it is stored.
    :param height: As it is stored.
    :param exif: Its EXIF data; empty if it has none.
    """
    return (height, width) if is_on_its_side(exif) else (width, height)


def _orientation(tiff: bytes, order: str) -> int | None:
    def number(position: int, count: int) -> int:
        return int.from_bytes(tiff[position : position + count], "little" if order == "little" else "big")

    folder = number(4, 4)
    for index in range(min(number(folder, 2), _MAX_TAGS)):
        entry = folder + 2 + 12 * index
        if number(entry, 2) == _ORIENTATION:
            return number(entry + 8, 2)
    return None
