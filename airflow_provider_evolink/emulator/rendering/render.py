"""Renders the files behind result links, in the format of their extension."""

from __future__ import annotations

import array
import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av

from airflow_provider_evolink.emulator.rendering.drawing import (
    Scene,
    ball,
    caption,
    clock_face,
    clock_size,
    even,
    paint,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from PIL import Image

_SAMPLE_RATE = 48000
_CHUNK = 1024
_VIDEO_OPTIONS = {"preset": "ultrafast", "crf": "24", "threads": "1"}
VIDEOS = ("mp4", "mov")
IMAGES = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP"}
_AUDIO_CODECS = {
    "mp3": ("mp3", "libmp3lame"),
    "wav": ("wav", "pcm_s16le"),
    "ogg": ("ogg", "libopus"),
    "pcm": ("s16le", "pcm_s16le"),
}
_NOTES = (220, 247, 262, 294, 330, 392, 440)


def render_video(scene: Scene, path: Path, extension: str = "mp4") -> None:
    """
    Render an MP4 or MOV with H.264 video and AAC audio, ready for streaming.

    :param scene: What it shows.
    :param path: Where to write it.
    :param extension: ``mp4`` or ``mov``.
    """
    with av.open(str(path), "w", format=extension, options={"movflags": "+faststart"}) as container:
        video: Any = container.add_stream("libx264", rate=scene.fps, options=dict(_VIDEO_OPTIONS))
        video.width, video.height, video.pix_fmt = scene.width, scene.height, "yuv420p"
        audio: Any = container.add_stream("aac", rate=_SAMPLE_RATE, layout="mono")
        for number, frame in enumerate(_frames(scene)):
            frame.pts, frame.time_base = number, Fraction(1, scene.fps)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        # whole chunks only: a padded last one would make the audio longer than the video
        samples = int(scene.seconds * _SAMPLE_RATE - _CHUNK) // _CHUNK * _CHUNK
        _add_tone(container, audio, scene, samples)


def render_image(scene: Scene, path: Path, extension: str = "png") -> None:
    """
    Render an image.

    :param scene: What it shows.
    :param path: Where to write it.
    :param extension: One of ``IMAGES``.
    """
    paint(scene).save(path, IMAGES[extension], compress_level=1)


def render_audio(scene: Scene, path: Path, extension: str) -> None:
    """
    Render a soft tone.

    :param scene: Its digest determines the notes.
    :param path: Where to write it.
    :param extension: ``mp3``, ``wav``, ``ogg`` (Opus) or ``pcm`` (bare samples).
    """
    form, codec = _AUDIO_CODECS[extension]
    with av.open(str(path), "w", format=form) as container:
        audio: Any = container.add_stream(codec, rate=_SAMPLE_RATE, layout="mono")
        _add_tone(container, audio, scene, int(scene.seconds * _SAMPLE_RATE))


class Canvas:
    """
    An image as YUV planes, so that a frame costs a copy and two small patches instead of a full conversion.

    :param frame: The image, in yuv420p.
    """

    def __init__(self, frame: av.VideoFrame) -> None:
        self._size = frame.width, frame.height
        self._strides = [plane.line_size for plane in frame.planes]
        self._planes = [bytearray(bytes(plane)) for plane in frame.planes]

    def put(self, image: Image.Image, x: int, y: int) -> None:
        """
        Draw a small image on the canvas.

        :param image: Of even width and height.
        :param x: Even column of its left edge.
        :param y: Even row of its upper edge.
        """
        patch = _to_yuv(image)
        for index, plane in enumerate(patch.planes):
            half = 1 if index == 0 else 2
            source, width = bytes(plane), image.width // half
            target, stride = self._planes[index], self._strides[index]
            for row in range(image.height // half):
                start = (y // half + row) * stride + x // half
                target[start : start + width] = source[row * plane.line_size : row * plane.line_size + width]

    def frame(self) -> av.VideoFrame:
        """Return the image as a new frame."""
        frame = av.VideoFrame(*self._size, "yuv420p")
        for plane, stride, content in zip(frame.planes, self._strides, self._planes, strict=True):
            if plane.line_size == stride:
                plane.update(bytes(content))
            else:
                plane.update(_with_stride(content, stride, plane.line_size, plane.height))
        return frame


def _with_stride(content: bytearray, old: int, new: int, rows: int) -> bytes:
    keep = min(old, new)
    return b"".join(content[row * old : row * old + keep].ljust(new, b"\0") for row in range(rows))


def _to_yuv(image: Image.Image) -> av.VideoFrame:
    frame: av.VideoFrame = av.VideoFrame.from_image(image)  # type: ignore[no-untyped-call]
    return frame.reformat(format="yuv420p")


def _frames(scene: Scene) -> Iterator[av.VideoFrame]:
    count = round(scene.seconds * scene.fps)
    shown = 0
    if scene.clip is not None:
        strip = caption(scene) if scene.edits else None
        for frame in _clip_frames(scene, scene.clip, count):
            yield _with_caption(frame, strip, scene) if strip else frame
            shown += 1
    if shown < count:
        yield from _painted_frames(scene, shown, count)


def _painted_frames(scene: Scene, first: int, count: int) -> Iterator[av.VideoFrame]:
    background = paint(scene)
    canvas, shape = Canvas(_to_yuv(background)), ball(scene)
    face = clock_size(scene)
    band = (even(scene.width - face[0] - face[1]), even(scene.height - 2 * face[1]))
    clean = background.crop((*band, band[0] + face[0], band[1] + face[1]))
    last: tuple[int, int] | None = None
    for number in range(first, count):
        if last:
            canvas.put(_piece(background, last, shape), *last)
        last = _ball_position(scene, shape.width, number)
        piece = _piece(background, last, shape)
        piece.paste(shape, (0, 0), shape)
        canvas.put(piece, *last)
        canvas.put(clock_face(scene, clean, number / scene.fps, number), *band)
        yield canvas.frame()


def _piece(background: Image.Image, at: tuple[int, int], shape: Image.Image) -> Image.Image:
    return background.crop((*at, at[0] + shape.width, at[1] + shape.height))


def _ball_position(scene: Scene, size: int, number: int) -> tuple[int, int]:
    turn = number / scene.fps / 4 + scene.digest()[2] / 255
    across = 0.5 - 0.5 * math.cos(turn * math.tau)
    height = 0.5 + 0.5 * math.sin(turn * math.tau * 2)
    return even((scene.width - size) * across), even(scene.height * 0.1 + scene.height * 0.12 * height)


def _clip_frames(scene: Scene, clip: Path, limit: int) -> Iterator[av.VideoFrame]:
    shown = 0
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        rate = float(stream.average_rate or scene.fps)
        for number, frame in enumerate(container.decode(stream)):
            if shown >= limit:
                return
            until = round((number + 1) / rate * scene.fps)
            if until > shown:
                held = Canvas(frame.reformat(width=scene.width, height=scene.height, format="yuv420p"))
                for _ in range(min(until, limit) - shown):
                    yield held.frame()
                shown = min(until, limit)


def _with_caption(frame: av.VideoFrame, strip: Image.Image, scene: Scene) -> av.VideoFrame:
    canvas = Canvas(frame)
    canvas.put(strip, 0, even(scene.height - strip.height))
    return canvas.frame()


def _add_tone(container: Any, stream: Any, scene: Scene, samples: int) -> None:
    form = stream.codec_context.format.name
    loop = _one_second(scene, integer=form.startswith("s16"))
    width = loop.itemsize
    endless = loop.tobytes() * 2
    size = stream.codec_context.frame_size or _CHUNK
    for start in range(0, samples, size):
        length = min(size, samples - start)
        frame = av.AudioFrame(form, "mono", length)
        at = start % _SAMPLE_RATE * width
        frame.planes[0].update(endless[at : at + length * width].ljust(frame.planes[0].buffer_size, b"\0"))
        frame.sample_rate, frame.pts, frame.time_base = _SAMPLE_RATE, start, Fraction(1, _SAMPLE_RATE)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def _one_second(scene: Scene, *, integer: bool) -> array.array[Any]:
    digest = scene.digest()
    low, high = _NOTES[digest[3] % len(_NOTES)], _NOTES[digest[4] % len(_NOTES)]
    # an integer number of waves per second, so that the second can be repeated without a click
    waves = [
        0.09 * math.sin(math.tau * low * at / _SAMPLE_RATE)
        + 0.05 * math.sin(math.tau * high * 1.5 // 1 * at / _SAMPLE_RATE)
        for at in range(_SAMPLE_RATE)
    ]
    return array.array("h", (int(wave * 32767) for wave in waves)) if integer else array.array("f", waves)
