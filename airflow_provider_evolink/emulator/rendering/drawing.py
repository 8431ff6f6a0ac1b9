"""The images of the emulator: a background in colors of its own for every result, with the request written on it."""

from __future__ import annotations

import colorsys
import hashlib
import textwrap
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

if TYPE_CHECKING:
    from pathlib import Path

_WESTERN = ("DejaVuSans.ttf", "Arial.ttf", "LiberationSans-Regular.ttf")
_CJK = (
    "NotoSansCJK-Regular.ttc",
    "NotoSansSC-Regular.otf",
    "wqy-zenhei.ttc",
    "DroidSansFallbackFull.ttf",
    "PingFang.ttc",
    "msyh.ttc",
)
_INK = (255, 255, 255)
_FAINT = (225, 230, 240)
_MAX_LINES = 7


@dataclass(frozen=True)
class Scene:
    """
    What one file shows.

    :param prompt: Text of the request.
    :param model: Name of the model.
    :param job_id: Id of the job.
    :param seed: The given or derived seed.
    :param width: Pixels.
    :param height: Pixels.
    :param seconds: Length; 0 for an image.
    :param fps: Frames per second.
    :param number: Number of the file in its job, from 1.
    :param start: An image for the background.
    :param clip: A video whose frames come first.
    :param edits: Whether the request is written on the frames of the clip.
    """

    prompt: str
    model: str
    job_id: str
    seed: int
    width: int
    height: int
    seconds: float
    fps: int
    number: int = 1
    start: Path | None = None
    clip: Path | None = None
    edits: bool = False

    def digest(self) -> bytes:
        """Return the bytes from which colors and notes are derived."""
        return hashlib.sha256(f"{self.seed}|{self.prompt}|{self.number}".encode()).digest()


def paint(scene: Scene) -> Image.Image:
    """Paint what does not move in a scene."""
    image = _start_picture(scene) or _gradient(scene)
    _write_request(image, scene)
    return image


def caption(scene: Scene) -> Image.Image:
    """Paint a strip with the request, to be drawn on frames of an input video."""
    size = _unit(scene) * 2
    strip = Image.new("RGB", (scene.width - scene.width % 2, size * 2), (18, 20, 28))
    line = textwrap.shorten(_plain(scene.prompt) or "no prompt", 60, placeholder=" …")
    _write(ImageDraw.Draw(strip), (size, size // 2), f"{scene.model}:  {line}", size // 2 + 4, _INK)
    return strip


def ball(scene: Scene) -> Image.Image:
    """Paint the moving ball, with transparency."""
    size = even(min(scene.width, scene.height) * 0.16)
    shape = Image.new("RGBA", (size * 2, size * 2), (255, 255, 255, 0))
    draw = ImageDraw.Draw(shape)
    edge = size * 2
    color = _colors(scene)[2]
    bright = tuple((part + 2 * 255) // 3 for part in color)
    draw.ellipse((edge * 0.14, edge * 0.14, edge * 0.86, edge * 0.86), fill=(*color, 240))
    draw.ellipse((edge * 0.30, edge * 0.24, edge * 0.52, edge * 0.46), fill=(*bright, 240))
    return shape.filter(ImageFilter.GaussianBlur(3)).resize((size, size), Image.Resampling.LANCZOS)


def clock_face(scene: Scene, background: Image.Image, seconds: float, frame: int) -> Image.Image:
    """
    Write a timecode on a piece of the background.

    :param scene: The scene.
    :param background: The piece; it is not changed.
    :param seconds: Time since the start.
    :param frame: Number of the frame.
    """
    piece = background.copy()
    label = f"{seconds:05.2f} s  #{frame:03d}"
    _write(ImageDraw.Draw(piece), (4, 2), label, _unit(scene) + 4, _INK)
    return piece


def clock_size(scene: Scene) -> tuple[int, int]:
    """Return width and height of the timecode."""
    return even(_unit(scene) * 12), even(_unit(scene) * 2)


def even(value: float) -> int:
    """Round down to an even number, as YUV planes require."""
    return int(value) // 2 * 2


def _colors(scene: Scene) -> list[tuple[int, int, int]]:
    digest = scene.digest()
    hue = digest[0] / 255
    tones = ((hue, 0.75, 0.42), (hue + 0.12 + digest[1] / 1500, 0.7, 0.75), (hue + 0.5, 0.55, 1.0))
    return [_rgb(*tone) for tone in tones]


def _rgb(hue: float, saturation: float, value: float) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    return int(red * 255), int(green * 255), int(blue * 255)


def _gradient(scene: Scene) -> Image.Image:
    dark, light, _ = _colors(scene)
    corners = Image.new("RGB", (3, 3), dark)
    for spot in ((2, 0), (1, 1), (0, 2)):
        corners.putpixel(spot, light)
    corners.putpixel((2, 2), tuple(part // 2 for part in dark))
    return corners.resize((scene.width, scene.height), Image.Resampling.BICUBIC)


def _start_picture(scene: Scene) -> Image.Image | None:
    if scene.start is None:
        return None
    try:
        with Image.open(scene.start) as picture:
            whole = ImageOps.exif_transpose(picture).convert("RGB")
    except (OSError, ValueError):
        return None
    return ImageOps.fit(whole, (scene.width, scene.height), Image.Resampling.BICUBIC)


def _write_request(image: Image.Image, scene: Scene) -> None:
    unit = _unit(scene)
    margin, size = unit * 3, unit * 2
    lines = _wrapped(_plain(scene.prompt) or "(no prompt)", int((scene.width - 4 * margin) / (size * 0.58)))
    step = int(size * 1.4)
    height = step * len(lines) + margin
    top = max(int(scene.height * 0.4), scene.height // 2 + unit * 2 - height // 2)
    _shade(image, (margin, top, scene.width - margin, top + height), unit)
    draw = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        _write(draw, (2 * margin, top + margin // 2 + number * step), line, size, _INK)
    _write(draw, (margin, margin // 2), f"EvoLink emulator  ·  {scene.model}", unit + unit // 3, _FAINT)
    foot = f"{scene.job_id}\nseed {scene.seed}  ·  {scene.width}x{scene.height}"
    foot += f"  ·  {scene.seconds:g} s" if scene.seconds else f"  ·  {scene.number}"
    _write(draw, (margin, scene.height - margin - unit), foot, unit, _FAINT)


def _shade(image: Image.Image, box: tuple[int, int, int, int], radius: int) -> None:
    size = (box[2] - box[0], box[3] - box[1])
    mask = Image.new("L", size, 0)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, size[0] - 1, size[1] - 1), radius, fill=120)
    image.paste((12, 14, 22), box[:2], mask)


def _unit(scene: Scene) -> int:
    return max(10, min(scene.width, scene.height) // 40)


def _plain(text: str) -> str:
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text[:1000]).split())


def _wrapped(text: str, letters: int) -> list[str]:
    wide = sum(_is_wide(sign) for sign in text) > len(text) / 3
    room = max(8, letters // 2 if wide else letters)
    return textwrap.wrap(text, room, max_lines=_MAX_LINES, placeholder=" …") or [text[:room]]


def _is_wide(sign: str) -> bool:
    return unicodedata.east_asian_width(sign) in "WF"


def _write(draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, size: int, ink: tuple[int, int, int]) -> None:
    font = _font(size, any(map(_is_wide, text)))
    try:
        draw.text(at, text, font=font, fill=ink)
    except (UnicodeError, OSError):
        draw.text(at, text.encode("ascii", "replace").decode(), font=font, fill=ink)


@lru_cache(maxsize=32)
def _font(size: int, wide: bool) -> Any:
    for name in (*_CJK, *_WESTERN) if wide else _WESTERN:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size)
