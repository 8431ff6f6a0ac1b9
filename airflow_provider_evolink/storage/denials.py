"""
What object stores say when a role may not do something: every library has its own words for it.

Google's raises a plain ``OSError`` for HTTP 403, and an error of its own with a ``code`` for 401. Azure's raises errors
with a ``status_code``, which its file system wraps. S3's are translated in ``s3.py``.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

_DENIED = frozenset({"401", "403"})
_NO_LOGIN = frozenset({"DefaultCredentialsError", "ClientAuthenticationError"})
_FORBIDDEN = re.compile(r"Forbidden: ")
_LATER = re.compile(r"(?i)rate.?limit|quota|too many requests|retry later")  # Google sends them with HTTP 403, too
_MAX_CAUSES = 5


def is_denied(error: BaseException | None) -> bool:
    """
    Return whether a store refused an operation for good: the role lacks a right, or there is no valid login.

    :param error: What a library raised; its causes count as well.
    """
    for _ in range(_MAX_CAUSES):
        if error is None:
            return False
        if _is_denial(error):
            return not _LATER.search(str(error))
        error = error.__cause__ or error.__context__
    return False


def _is_denial(error: BaseException) -> bool:
    if isinstance(error, PermissionError) or type(error).__name__ in _NO_LOGIN:
        return True
    if isinstance(error, OSError):
        return error.errno is None and bool(_FORBIDDEN.match(str(error)))
    return any(str(getattr(error, name, None)) in _DENIED for name in ("status_code", "code"))


@contextmanager
def one_word_for_denials() -> Iterator[None]:
    """
    Raise ``PermissionError`` for what a store denies, whatever its library raises.

    :raises PermissionError: the store denied it.
    """
    try:
        yield
    except (PermissionError, FileNotFoundError):
        raise
    except Exception as error:
        if is_denied(error):
            raise PermissionError(errno.EACCES, f"the store denies access ({type(error).__name__})") from error
        raise
