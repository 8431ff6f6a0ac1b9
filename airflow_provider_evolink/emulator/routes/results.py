"""Serves results under signed links, with ranges and ETag; refuses Python's default User-Agent, as a CDN may."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.requests import Request

    from airflow_provider_evolink.emulator.rendering.gallery import Gallery
    from airflow_provider_evolink.emulator.state.world import World

_MEDIA_TYPES = {
    "mp4": "video/mp4",
    "mov": "video/quicktime",
    "png": "image/png",
    "jpg": "image/jpeg",
    "webp": "image/webp",
    "mp3": "audio/mpeg",
    "wav": "audio/wav",
    "ogg": "audio/ogg",
    "pcm": "audio/pcm",
}
_NOT_FOUND = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n'
    b"<Error><Code>NoSuchKey</Code><Message>The specified key does not exist</Message></Error>"
)


class ResultsApi:
    """
    Results over HTTP.

    :param world: The state.
    :param gallery: Renders the files.
    """

    def __init__(self, world: World, gallery: Gallery) -> None:
        self._world = world
        self._gallery = gallery

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [Route("/media/{job_id}/{name}", self.serve, methods=["GET"])]

    async def serve(self, request: Request) -> Response:
        """Serve one result file."""
        if request.headers.get("user-agent", "").startswith("Python-urllib"):
            return PlainTextResponse("error code: 1010", 403)
        job = self._world.jobs.get(request.path_params["job_id"])
        if job is None or not job.is_completed:
            return _xml(404, _NOT_FOUND)
        name, query = request.path_params["name"], request.query_params
        rejection = self._world.links.rejection(
            job, name, query.get("expires", ""), query.get("signature", ""), self._world.now()
        )
        if rejection is not None:
            return _xml(403, rejection)
        number, _, extension = name.partition(".")
        path = await self._gallery.file(job, int(number))
        return _file(path, f"{job.id}/{name}", _MEDIA_TYPES[extension])


def _file(path: Path, identity: str, media_type: str) -> Response:
    # results never change, so their ETag depends on neither size nor time
    etag = hashlib.sha256(identity.encode()).hexdigest()[:32]
    return FileResponse(path, media_type=media_type, headers={"etag": f'"{etag}"'})


def _xml(status: int, body: bytes) -> Response:
    return Response(body, status, media_type="application/xml")
