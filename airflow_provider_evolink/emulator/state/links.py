"""Signed result links, in the manner of object stores."""

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
BAD_LINK = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n'
    b"<Error><Code>SignatureDoesNotMatch</Code><Message>The signature does not match</Message></Error>"
)


@dataclass(frozen=True)
class Links:
    """
    Signs result links and checks them.

    :param secret: Key of the signatures; never leaves the process.
    """

    secret: bytes

    def sign(self, job: Job, base: str, expires: int) -> list[str]:
        """
        Make the links of a completed job.

        :param job: The job.
        :param base: Scheme, host and port.
        :param expires: Unix seconds at which they die.
        """
        return [f"{base}/media/{job.id}/{name}?{self._query(job, name, expires)}" for name in job.output.names()]

    def refusal(self, job: Job, name: str, expires: str, signature: str, now: float) -> bytes | None:
        """
        Say why a link is refused: the XML body, or None if it is good.

        :param job: The job in the path.
        :param name: The file in the path.
        :param expires: As in the query.
        :param signature: As in the query.
        :param now: Unix seconds.
        """
        if not expires.isascii() or not expires.isdigit() or not signature.isascii():
            return BAD_LINK
        matching = [
            epoch
            for epoch in range(job.link_epoch + 1)
            if hmac.compare_digest(signature, self._signature(job.id, name, expires, epoch))
        ]
        if not matching:
            return BAD_LINK
        alive = matching[-1] == job.link_epoch and int(expires) > now
        return None if alive else EXPIRED_LINK

    def _query(self, job: Job, name: str, expires: int) -> str:
        signature = self._signature(job.id, name, str(expires), job.link_epoch)
        return urlencode({"expires": expires, "signature": signature})

    def _signature(self, job_id: str, name: str, expires: str, epoch: int) -> str:
        content = f"{job_id}/{name}?{expires}#{epoch}"
        return hmac.new(self.secret, content.encode(), hashlib.sha256).hexdigest()
