"""Sides of a picture, read from its head."""

from __future__ import annotations

import io

import pytest
from PIL import Image, features

from airflow_provider_evolink.api.files.containers import recognize
from airflow_provider_evolink.api.files.image_size import image_size


def picture(form, mode="RGB", **options):
    buffer = io.BytesIO()
    Image.new(mode, (621, 347), 1).save(buffer, form, **options)
    return buffer.getvalue()


PICTURES = {
    "png": picture("PNG"),
    "gif": picture("GIF", "P"),
    "animated gif": picture("GIF", "P", save_all=True, append_images=[Image.new("P", (621, 347), 2)]),
    "jpeg": picture("JPEG"),
    "progressive jpeg": picture("JPEG", progressive=True),
    "jpeg of a camera": picture("JPEG", exif=b"Exif\0\0" + bytes(60_000), icc_profile=bytes(300_000)),
    "lossy webp": picture("WEBP"),
    "lossless webp": picture("WEBP", lossless=True),
    "webp with notes": picture("WEBP", exif=b"Exif\0\0" + bytes(100)),
}
if features.check("avif"):
    PICTURES["avif"] = picture("AVIF")
# No library here writes HEIC: its sides stand as in AVIF, those of a tile before those of the picture.
TILES = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic\0\0\0\x30meta" + b"".join(
    b"\0\0\0\x14ispe\0\0\0\0" + wide.to_bytes(4, "big") + high.to_bytes(4, "big")
    for wide, high in ((512, 512), (6210, 347))
)


@pytest.mark.parametrize("name", PICTURES)
def test_the_size_is_that_of_the_image(name):
    content = PICTURES[name]
    assert image_size(io.BytesIO(content), recognize(content).content_type) == (621, 347)


def test_a_tile_is_not_the_picture():
    assert image_size(io.BytesIO(TILES), recognize(TILES).content_type) == (6210, 347)


@pytest.mark.parametrize("name", PICTURES)
def test_what_is_cut_is_not_known(name):
    content = PICTURES[name]
    assert image_size(io.BytesIO(content[:23]), recognize(content).content_type) is None
    if "webp" in name:
        assert image_size(io.BytesIO(content[:29]), recognize(content).content_type) is None


def test_a_jpeg_of_markers_without_end_is_given_up():
    content = b"\xff\xd8" + b"\xff\xe0\0\x02" * 5000 + b"\xff\xc0\0\x11\x08\0\x01\0\x01"
    assert image_size(io.BytesIO(content), "image/jpeg") is None
