"""What the emulator needs of its extra, so that it refuses to start rather than fail a request that was paid for."""

from __future__ import annotations

import importlib
import re
from functools import cache
from importlib import metadata
from itertools import takewhile

INSTALL = "pip install 'airflow-provider-evolink[emulator]'"
# module: its distribution, and the oldest version of the extra
PACKAGES = {
    "av": ("av", "14.0.0"),
    "PIL": ("pillow", "10.1.0"),
    "python_multipart": ("python-multipart", "0.0.18"),
    "starlette": ("starlette", "0.40.0"),
    "uvicorn": ("uvicorn", "0.30.0"),
    "cryptography": ("cryptography", "42.0.0"),
    "pydantic": ("pydantic", "2.11.0"),
}
ENCODERS = ("libx264", "aac", "libmp3lame", "libopus", "pcm_s16le")
IMAGE_FEATURES = ("freetype2", "webp")


class MissingPackages(ImportError):
    """The emulator cannot start: a package of its extra is missing, too old, broken, or built without a codec."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__(f"the emulator cannot start: {'; '.join(problems)}. What to do: {INSTALL}")


@cache
def require_packages() -> None:
    """
    Check that every kind of result can be rendered and every upload read.

    :raises MissingPackages: Names each package that prevents it, and the command that installs them.
    """
    problems = [problem for module, needed in PACKAGES.items() if (problem := _problem(module, *needed))]
    problems += [] if problems else _missing_codecs()
    if problems:
        raise MissingPackages(problems)


def _problem(module: str, distribution: str, oldest: str) -> str | None:
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        return f"{distribution} is missing" if error.name == module else f"{distribution} is broken ({error})"
    except Exception as error:  # noqa: BLE001 - a compiled package may raise anything when it is loaded
        return f"{distribution} is broken ({type(error).__name__}: {error})"
    return _too_old(distribution, oldest)


def _too_old(distribution: str, oldest: str) -> str | None:
    try:
        found = metadata.version(distribution)
    except metadata.PackageNotFoundError:  # a fork or another builder's package of the same module
        return None
    return f"{distribution} {found} is older than {oldest}" if _numbers(found) < _numbers(oldest) else None


def _numbers(version: str) -> tuple[int, ...]:
    parts = takewhile(str.isdigit, re.split(r"[.+-]|(?=[a-z])", re.sub(r"(\.0)+$", "", version)))
    return tuple(int(part) for part in parts)


def _missing_codecs() -> list[str]:
    import av
    from PIL import features

    encoders = [name for name in ENCODERS if name not in av.codecs_available]
    images = [name for name in IMAGE_FEATURES if not features.check(name)]
    return [f"av has no {name}" for name in encoders] + [f"pillow has no {name}" for name in images]
