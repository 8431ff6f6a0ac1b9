"""Signed result links, in the style of object stores."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode

if TYPE_CHECKING:
    from airflow_provider_evolink.emulator.orders.jobs import Job

EXPIRED_LINK = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n'
    b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"
)
INVALID_LINK = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n'
    b"<Error><Code>SignatureDoesNotMatch</Code><Message>The signature does not match</Message></Error>"
)


@dataclass(frozen=True)
class LinkSigner:
    """
    Signs result links and checks them.

    :param secret: Key of the signatures; never leaves the process.
    """

    secret: bytes

    def sign(self, job: Job, base: str, expires: int) -> list[str]:
        """
        Return the links of a completed job.

        :param job: The job.
        :param base: Scheme, host and port.
        :param expires: When they expire, in Unix seconds.
        """
        names = job.plan.output.file_names()
        return [f"{base}/media/{job.id}/{name}?{self._query(job, name, expires)}" for name in names]

    def rejection(self, job: Job, name: str, expires: str, signature: str, now: float) -> bytes | None:
        """
        Check a link; return None if it is valid, or the XML body of the error.

        :param job: The job in the path.
        :param name: The file in the path.
        :param expires: From the query.
        :param signature: From the query.
        :param now: Unix seconds.
        """
        if not expires.isascii() or not expires.isdigit() or not signature.isascii():
            return INVALID_LINK
        matching = [
            version
            for version in range(job.state.link_version + 1)
            if hmac.compare_digest(signature, self._signature(job.id, name, expires, version))
        ]
        if not matching:
            return INVALID_LINK
        is_current = matching[-1] == job.state.link_version and int(expires) > now
        return None if is_current else EXPIRED_LINK

    def _query(self, job: Job, name: str, expires: int) -> str:
        signature = self._signature(job.id, name, str(expires), job.state.link_version)
        return urlencode({"expires": expires, "signature": signature})

    def _signature(self, job_id: str, name: str, expires: str, version: int) -> str:
        content = f"{job_id}/{name}?{expires}#{version}"
        return hmac.new(self.secret, content.encode(), hashlib.sha256).hexdigest()
