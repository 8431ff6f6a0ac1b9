"""The limits of the four Wan 2.7 models, on files: what EvoLink would refuse after it was paid is refused before."""

from __future__ import annotations

import functools
import io
import struct
import wave
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import av
import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred
from PIL import Image

from airflow_provider_evolink.emulator.server import EmulatorServer
from airflow_provider_evolink.operators import EvoLinkGenerateOperator

MB = 1024 * 1024
QUARTER_TURN = struct.pack(">9i", 0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)
Files = Callable[[], bytes]


def picture(form: str, width: int = 640, height: int = 360, mode: str = "RGB", **more: Any) -> Files:
    def made() -> bytes:
        buffer = io.BytesIO()
        Image.new(mode, (width, height), 1 if mode in ("P", "L", "I;16") else None).save(buffer, form, **more)
        return buffer.getvalue()

    return made


def turned(width: int, height: int, orientation: int, form: str = "JPEG") -> Files:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return picture(form, width, height, exif=exif)


def padded(file: Files, size: int) -> Files:
    return lambda: file().ljust(size, b"\0")


def cut(file: Files, share: float = 0.6) -> Files:
    return lambda: (whole := file())[: int(len(whole) * share)]


@cache
def track(form: str, codec: str, seconds: float, width: int = 320, height: int = 240, sound: float = 0.0) -> bytes:
    """Return a clip, with a track of sound if that has a length."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=form) as container:
        stream: Any = container.add_stream(codec, rate=4)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        audio: Any = container.add_stream("aac", rate=8000, layout="mono") if sound else None
        for _ in range(round(seconds * 4)):
            container.mux(stream.encode(av.VideoFrame(width, height, "yuv420p")))
        container.mux(stream.encode())
        if sound:
            add_sound(container, audio, sound)
    return buffer.getvalue()


def add_sound(container: Any, stream: Any, seconds: float, size: int = 1024) -> None:
    shape = stream.codec_context.format.name
    for number in range(round(seconds * stream.rate / size)):
        frame = av.AudioFrame(shape, "mono", size)
        frame.sample_rate, frame.pts = stream.rate, size * number
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        container.mux(stream.encode(frame))
    container.mux(stream.encode())


@cache
def sound(form: str, codec: str, seconds: float, rate: int = 44100, bit_rate: int = 64000, size: int = 1152) -> bytes:
    buffer = io.BytesIO()
    options = {"write_xing": "0", "id3v2_version": "0"} if form == "mp3" else {}
    with av.open(buffer, "w", format=form, options=options) as container:
        stream: Any = container.add_stream(codec, rate=rate, layout="mono")
        stream.bit_rate = bit_rate
        add_sound(container, stream, seconds, size)
    return buffer.getvalue()


def mp3(*parts: tuple[float, int]) -> Files:
    """Return an MP3 of parts with their seconds and bit rates, without a table of its frames."""
    return lambda: b"".join(sound("mp3", "libmp3lame", seconds, bit_rate=rate) for seconds, rate in parts)


def tagged(file: Files) -> Files:
    """Put a cover before an MP3."""

    def made() -> bytes:
        content = b"\0image/jpeg\0\3\0" + picture("JPEG", 100, 100)()
        frame = b"APIC" + struct.pack(">I", len(content)) + b"\0\0" + content
        size = bytes(len(frame) >> shift & 127 for shift in (21, 14, 7, 0))
        return b"ID3\3\0\0" + size + frame + file()

    return made


def wav(seconds: float, rate: int = 8000) -> Files:
    def made() -> bytes:
        buffer = io.BytesIO()
        with wave.open(buffer, "wb") as out:
            out.setparams((1, 2, rate, 0, "NONE", ""))
            out.writeframes(bytes(2 * round(seconds * rate)))
        return buffer.getvalue()

    return made


def mp4(seconds: float = 3.0, width: int = 320, height: int = 240, sound: float = 0.0) -> Files:
    return lambda: track("mp4", "libx264", seconds, width, height, sound)


def changed(file: Files, box: bytes, at: int, content: bytes) -> Files:
    """Overwrite a part of the content of a box."""

    def made() -> bytes:
        whole = file()
        start = whole.index(box) + 4 + at
        return whole[:start] + content + whole[start + len(content) :]

    return made


def renamed(file: Files, *names: tuple[bytes, bytes]) -> Files:
    def made() -> bytes:
        whole = file()
        for old, new in names:
            assert old in whole
            whole = whole.replace(old, new, 1)
        return whole

    return made


START = ("wan2.7-image-to-video", "image_start", {})
END = ("wan2.7-image-to-video", "image_end", {"image_start": "https://example.com/a.png"})
REFERENCE = ("wan2.7-reference-video", "image_urls[0]", {"prompt": "p"})
FIRST = ("wan2.7-reference-video", "image_start", {"prompt": "p", "image_urls": ["https://example.com/a.png"]})
EDITED = ("wan2.7-video-edit", "image_urls[0]", {"prompt": "p", "video_urls": ["https://example.com/a.mp4"]})
PICTURES = (START, END, REFERENCE, FIRST, EDITED)
CONTINUED = ("wan2.7-image-to-video", "video_urls[0]", {"duration": 15})
DEFAULT = ("wan2.7-image-to-video", "video_urls[0]", {})
SHOWN = ("wan2.7-reference-video", "video_urls[0]", {"prompt": "p"})
EDIT = ("wan2.7-video-edit", "video_urls[0]", {"prompt": "p"})
CLIPS = (CONTINUED, SHOWN, EDIT)
SPEECH = ("wan2.7-text-to-video", "audio_urls[0]", {"prompt": "p"})
SONG = ("wan2.7-image-to-video", "audio_urls[0]", {"image_start": "https://example.com/a.png"})
VOICE = ("wan2.7-reference-video", "audio_urls[0]", {"prompt": "p", "image_urls": ["https://example.com/a.png"]})
BINDING = ("wan2.7-reference-video", "model_params.voice_bindings.image1", VOICE[2])
DRIVING, VOICES = (SPEECH, SONG), (VOICE, BINDING)

TYPES = "must be jpeg or jpg or png or bmp or webp, got "
ALPHA = "must have no transparency .no alpha channel., got image/png"
CUT = "the media file is "


def heic(brand: bytes) -> bytes:
    """Return the beginning of a photo of a phone."""
    return b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1heic" + b"\0\0\0\x0cmeta\0\0\0\0"


GOOD: dict[str, tuple[Files, tuple[Any, ...]]] = {
    "JPEG": (picture("JPEG"), PICTURES),
    "progressive JPEG": (picture("JPEG", progressive=True), PICTURES[:1]),
    "gray JPEG": (picture("JPEG", mode="L"), PICTURES[:1]),
    "PNG": (picture("PNG"), PICTURES),
    "PNG with a palette": (picture("PNG", mode="P"), PICTURES[:1]),
    "gray PNG": (picture("PNG", mode="L"), PICTURES[:1]),
    "PNG of 16 bits": (picture("PNG", mode="I;16"), PICTURES[:1]),
    "WebP": (picture("WEBP"), PICTURES),
    "lossless WebP": (picture("WEBP", lossless=True), PICTURES[:1]),
    "WebP with an alpha channel, of which EvoLink says nothing": (picture("WEBP", mode="RGBA"), PICTURES[:1]),
    "the smallest picture": (picture("PNG", 240, 240), PICTURES[:1]),
    "the largest ratio": (picture("PNG", 240, 1920), PICTURES[:1]),
    "the longest side": (picture("PNG", 8000, 1000), PICTURES[:1]),
    "20 MB": (padded(picture("PNG"), 20 * MB), PICTURES[:1]),
    "a turned JPEG": (turned(640, 360, 6), PICTURES[:1]),
    "MP4": (mp4(), CLIPS),
    "MOV": (lambda: track("mov", "libx264", 3.0), CLIPS),
    "a clip with sound": (mp4(3.0, sound=2.0), CLIPS[:1]),
    "a clip whose sound is too long, the pictures are not": (mp4(3.0, sound=12.0), CLIPS[:1]),
    "the shortest clip to continue": (mp4(2.0), CLIPS[:1]),
    "the longest clip to continue": (mp4(10.0), CLIPS[:1]),
    "the shortest clip to show": (mp4(1.0), CLIPS[1:2]),
    "the longest clip to show": (mp4(30.0), CLIPS[1:2]),
    "a turned clip": (changed(mp4(), b"tkhd", 40, QUARTER_TURN), CLIPS[:1]),
    "MP3": (mp3((3, 64000)), DRIVING + VOICES),
    "MP3 with a cover": (tagged(mp3((3, 64000))), DRIVING[:1]),
    "25 s of MP3 that look like 99 s": (mp3((6, 32000), (19, 320000)), DRIVING),
    "29 s of MP3 that look like 200 s": (mp3((2, 32000), (27, 256000)), DRIVING[:1]),
    "9 s of MP3 that look like 60 s": (mp3((1, 32000), (8, 256000)), VOICES),
    "WAV": (wav(3), DRIVING + VOICES),
    "the longest WAV": (wav(30), DRIVING[:1]),
    "the shortest voice": (wav(1), VOICES),
}
BAD: dict[str, tuple[Files, tuple[Any, ...], str]] = {
    # types
    "GIF": (picture("GIF", mode="P"), PICTURES, TYPES + "image/gif"),
    "TIFF": (picture("TIFF"), PICTURES[:1], "not in a known media format"),
    "AVIF": (picture("AVIF"), PICTURES[:1], TYPES + "image/avif"),
    **{
        f"HEIC of the brand {brand!r}": (functools.partial(heic, brand), PICTURES[:1], "image/heic")
        for brand in (b"heic", b"hevc", b"msf1", b"heim", b"heis")
    },
    "SVG": (lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>", PICTURES[:1], "not in a known media format"),
    "a clip as a picture": (mp4(), PICTURES[:1], TYPES + "video/mp4"),
    "a sound as a picture": (wav(3), PICTURES[:1], TYPES + "audio/wav"),
    "WebM": (lambda: track("webm", "libvpx", 1.0), CLIPS[:1], "must be mp4 or mov, got video/webm"),
    "Matroska": (lambda: track("matroska", "libx264", 1.0), CLIPS[:1], "got video/x-matroska"),
    "AVI": (lambda: track("avi", "mpeg4", 1.0), CLIPS[:1], "got video/x-msvideo"),
    "M4A as a clip": (lambda: sound("ipod", "aac", 3, size=1024), CLIPS, "must be mp4 or mov, got audio/mp4"),
    "sound alone in an MP4 as a clip": (lambda: sound("mp4", "aac", 3, size=1024), CLIPS, "got audio/mp4"),
    "sound alone in a MOV as a clip": (lambda: sound("mov", "aac", 3, size=1024), CLIPS, "got audio/"),
    "MP3 as a clip": (mp3((3, 64000)), CLIPS[:1], "must be mp4 or mov, got audio/mpeg"),
    "a picture as a clip": (picture("JPEG"), CLIPS, "must be mp4 or mov, got image/jpeg"),
    "M4A as a sound": (
        lambda: sound("ipod", "aac", 3, size=1024),
        DRIVING + VOICES,
        "must be wav or mp3, got audio/mp4",
    ),
    "a clip as a sound": (mp4(3.0, sound=3.0), VOICES[:1], "must be wav or mp3, got video/mp4"),
    "AAC": (lambda: sound("adts", "aac", 3, size=1024), DRIVING[:1], "must be wav or mp3, got audio/aac"),
    "FLAC": (lambda: sound("flac", "flac", 3), DRIVING[:1], "must be wav or mp3, got audio/flac"),
    "Ogg": (lambda: sound("ogg", "libopus", 3, rate=48000, size=960), DRIVING[:1], "must be wav or mp3, got audio/ogg"),
    # transparency
    "PNG with an alpha channel": (picture("PNG", mode="RGBA"), PICTURES, ALPHA),
    "gray PNG with an alpha channel": (picture("PNG", mode="LA"), PICTURES[:1], ALPHA),
    "PNG with a transparent color": (picture("PNG", transparency=(1, 2, 3)), PICTURES[:1], ALPHA),
    "PNG with a transparent entry": (picture("PNG", mode="P", transparency=0), PICTURES[:1], ALPHA),
    # size
    "a picture of more than 20 MB": (
        padded(picture("PNG"), 20 * MB + 1),
        PICTURES,
        "must be at most 20 MB, got 20.0 MB",
    ),
    "a sound of more than 15 MB": (wav(29, 280000), DRIVING + VOICES, "must be at most 15 MB, got 15.5 MB"),
    "a clip of more than 100 MB": (padded(mp4(), 100 * MB + 1), CLIPS[:1], "must not exceed 100 MB"),
    # sides
    "a side too short": (picture("PNG", 239, 400), PICTURES, "sides of at least 240 pixels, got 239x400"),
    "the other side too short": (picture("JPEG", 400, 239), PICTURES[:1], "sides of at least 240 pixels, got 400x239"),
    "a side too long": (picture("PNG", 8001, 1200), PICTURES, "sides of at most 8000 pixels, got 8001x1200"),
    "too wide": (picture("WEBP", 1930, 240), PICTURES, "a ratio of at most 8:1, got 1930x240"),
    "too high": (picture("BMP", 240, 1930), PICTURES[:1], "a ratio of at most 8:1, got 240x1930"),
    "a turned JPEG, too high": (turned(2000, 245, 6), PICTURES[:1], "a ratio of at most 8:1, got 245x2000"),
    "a JPEG turned the other way": (turned(2000, 245, 8), PICTURES[:1], "got 245x2000"),
    "a mirrored JPEG": (turned(2000, 245, 5), PICTURES[:1], "got 245x2000"),
    "a JPEG upside down": (turned(2000, 245, 3), PICTURES[:1], "got 2000x245"),
    "a turned PNG": (turned(2000, 245, 6, "PNG"), PICTURES[:1], "got 245x2000"),
    "a turned WebP": (turned(2000, 245, 6, "WEBP"), PICTURES[:1], "got 245x2000"),
    "a clip too low": (mp4(3.0, 400, 238), CLIPS[:2], "sides of at least 240 pixels, got 400x238"),
    "a clip too wide": (mp4(2.0, 4098, 600), CLIPS[:1], "sides of at most 4096 pixels, got 4098x600"),
    "a ratio of a clip": (mp4(3.0, 2000, 240), CLIPS[:1], "a ratio of at most 8:1, got 2000x240"),
    "a turned clip, too high": (changed(mp4(3.0, 2000, 240), b"tkhd", 40, QUARTER_TURN), CLIPS, "got 240x2000"),
    # length
    "a clip too short to continue": (mp4(1.5), CLIPS[::2], "must be at least 2 s long, got 1.5 s"),
    "a clip too long to continue": (mp4(11.0), CLIPS[::2], "must be at most 10 s long, got 11.0 s"),
    "pictures too long, sound not": (mp4(11.0, sound=3.0), CLIPS[:1], "must be at most 10 s long, got 11.0 s"),
    "pictures too short, sound not": (mp4(1.5, sound=5.0), CLIPS[:1], "must be at least 2 s long, got 1.5 s"),
    "a clip too short to show": (mp4(0.5), CLIPS[1:2], "must be at least 1 s long, got 0.5 s"),
    "a clip too long to show": (mp4(31.0), CLIPS[1:2], "must be at most 30 s long, got 31.0 s"),
    "a clip longer than the order": (
        mp4(7.0),
        (("wan2.7-image-to-video", "video_urls[0]", {}),),
        "duration, which is 5 s",
    ),
    "68 s of MP3 that look like 14 s": (mp3((8, 320000), (60, 32000)), DRIVING + VOICES, "long, got 68."),
    "32 s of MP3 that look like 4 s": (mp3((1, 320000), (31, 32000)), DRIVING[:1], "at most 30 s long, got 32."),
    "1 s of MP3 that looks like 10 s": (mp3((0.1, 32000), (0.9, 320000)), DRIVING[:1], "at least 2 s long, got 1.0 s"),
    "MP3 with a cover, too long": (tagged(mp3((31, 32000))), DRIVING[:1], "must be at most 30 s long, got 31"),
    "WAV too long": (wav(30.5), DRIVING, "must be at most 30 s long, got 30.5 s"),
    "WAV too short": (wav(1.5), DRIVING, "must be at least 2 s long, got 1.5 s"),
    "a voice too long": (wav(10.5), VOICES, "must be at most 10 s long, got 10.5 s"),
    "a voice too short": (wav(0.5), VOICES, "must be at least 1 s long, got 0.5 s"),
    # whole
    "a cut JPEG": (cut(picture("JPEG")), PICTURES, CUT),
    "a cut PNG": (cut(picture("PNG")), PICTURES[:1], CUT),
    "a cut WebP": (cut(picture("WEBP")), PICTURES[:1], CUT),
    "a cut BMP": (cut(picture("BMP")), PICTURES[:1], CUT),
    "a cut MP4": (cut(mp4(), 0.9), CLIPS, CUT),
    "a cut MOV": (cut(lambda: track("mov", "libx264", 3.0), 0.5), CLIPS[:1], CUT),
    "a cut WAV": (cut(wav(3)), DRIVING, CUT),
    "a cut MP3": (lambda: mp3((3, 64000))()[:-100], DRIVING, CUT),
    "an MP4 that claims 80 million samples": (
        changed(mp4(), b"stsz", 8, struct.pack(">I", 80_000_000)),
        CLIPS[:1],
        CUT,
    ),
    "an MP4 without its data": (renamed(mp4(), (b"mdat", b"free")), CLIPS[:1], CUT),
    "an MP4 without its index": (renamed(mp4(), (b"moov", b"free")), CLIPS[:1], CUT),
    "ten bytes of ID3": (lambda: b"ID3\3\0\0\0\0\0\0", DRIVING[:1], CUT),
    "a text behind a mark": (lambda: b"\xff\xd8\xff\xe0" + b"These are no pictures. " * 99, PICTURES[:1], CUT),
    "an HTML page": (lambda: b"<!doctype html><title>Not found</title>", PICTURES[:1], "not in a known media format"),
    "an error of a store": (lambda: b"<?xml version='1.0'?><Error/>", PICTURES[:1], "not in a known media format"),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Files], Path]:
    """Return a maker of files, each made once."""
    folder = tmp_path_factory.mktemp("inputs")
    made: dict[str, Path] = {}

    def file(name: str, content: Files) -> Path:
        if name not in made:
            made[name] = folder / f"{len(made)}.bin"  # no extension counts
            made[name].write_bytes(content())
        return made[name]

    return file


def order(make: Any, field: tuple[str, str, dict[str, Any]], path: Path) -> Callable[[], Any]:
    model, name, others = field
    value: Any = {"voice_bindings": {"image1": str(path)}} if "." in name else str(path)
    given = {name.partition("[")[0].partition(".")[0]: [value] if name.endswith("]") else value}
    return make(EvoLinkGenerateOperator, model=model, parameters={**others, **given})  # type: ignore[no-any-return]


@pytest.mark.parametrize("case", GOOD)
def test_what_evolink_takes_is_ordered(stage: Any, make: Any, slow: EmulatorServer, files: Any, case: str) -> None:
    content, fields = GOOD[case]
    for number, field in enumerate(fields):
        one = type(stage)()
        one.ti.run_id = str(number)
        with pytest.raises(TaskDeferred):
            order(make, field, files(case, content))().execute(one.context())
        assert slow.books()["orders"] == number + 1, field


@pytest.mark.parametrize("case", BAD)
def test_what_evolink_refuses_is_refused_before_it_is_paid(
    stage: Any, make: Any, emulator: EmulatorServer, files: Any, case: str
) -> None:
    content, fields, rule = BAD[case]
    for field in fields:
        with pytest.raises(AirflowFailException, match=rule) as told:
            stage.run(order(make, field, files(case, content)))
        assert f" {field[1]}: " in str(told.value)
    assert emulator.books()["requests"] == {}


def test_a_bmp_breaks_no_limit(stage: Any, make: Any, emulator: EmulatorServer, files: Any) -> None:
    """The model takes it; the files API, which promises other pictures only, may refuse it, which costs nothing."""
    for field in PICTURES:
        with pytest.raises(AirflowFailException, match="does not accept this type of file; give a link"):
            stage.run(order(make, field, files("BMP", picture("BMP"))))
    assert "submit" not in emulator.books()["requests"]
