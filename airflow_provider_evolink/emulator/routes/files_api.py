"""The file API, which has its own envelope, and the addresses of uploaded files."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any

from starlette.datastructures import UploadFile
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from airflow_provider_evolink.emulator.orders.input_media import InputUnavailable, fetch, in_background, may_fetch
from airflow_provider_evolink.emulator.routes.bodies import ApiError
from airflow_provider_evolink.emulator.routes.request import authenticate, base_url, is_local, query_number, read_json
from airflow_provider_evolink.emulator.state.uploads import UploadRejected

if TYPE_CHECKING:
    from starlette.requests import Request

    from airflow_provider_evolink.emulator.orders.order import Caller
    from airflow_provider_evolink.emulator.state.world import World

_MAX_PAGE_SIZE = 100


class FilesApi:
    """
    Uploads over HTTP.

    :param world: The state.
    """

    def __init__(self, world: World) -> None:
        self._world = world

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/api/v1/files/upload/base64", self.from_base64, methods=["POST"]),
            Route("/api/v1/files/upload/stream", self.from_stream, methods=["POST"]),
            Route("/api/v1/files/upload/url", self.from_url, methods=["POST"]),
            Route("/api/v1/files/quota", self.quota, methods=["GET"]),
            Route("/api/v1/files/list", self.list, methods=["GET"]),
            Route("/api/v1/files/{file_id}", self.delete, methods=["DELETE"]),
            Route("/files/{path:path}", self.serve, methods=["GET"]),
        ]

    async def from_base64(self, request: Request) -> Response:
        """Store a file sent as base64 or as a data URL."""
        caller, body = self._caller(request), await self._json(request)
        try:
            content = base64.b64decode(str(body.get("base64_data") or "").split("base64,")[-1], validate=True)
        except (binascii.Error, ValueError) as error:
            raise file_error(400, 400, "base64_data is not base64") from error
        return self._store(request, caller, content, body)

    async def from_stream(self, request: Request) -> Response:
        """Store a file sent in a multipart form."""
        caller = self._caller(request)
        if not request.headers.get("content-type", "").startswith("multipart/form-data"):
            raise file_error(400, 400, "multipart/form-data is required")
        async with request.form() as form:
            file = form.get("file")
            if not isinstance(file, UploadFile):
                raise file_error(400, 400, "file is required")
            content = await file.read()
            details = {
                "upload_path": form.get("upload_path") or form.get("uploadPath"),
                "file_name": form.get("file_name") or form.get("fileName"),
            }
            return self._store(request, caller, content, details, file.filename or "")

    async def from_url(self, request: Request) -> Response:
        """Store a file from an address on this machine."""
        caller, body = self._caller(request), await self._json(request)
        address = body.get("file_url")
        if not isinstance(address, str) or not address:
            raise file_error(400, 400, "file_url is required")
        if not may_fetch(address, self._world.settings.media_hosts, local=is_local(request)):
            message = "the emulator downloads from its own machine, for callers on it, and from its --media-host only"
            raise file_error(400, 40004, message)
        try:
            path = await in_background(fetch, address, self._world.folder)
        except InputUnavailable as error:
            raise file_error(400, 40004, f"download of the source failed: {error}") from error
        content = await in_background(path.read_bytes)
        path.unlink()
        return self._store(request, caller, content, body)

    def _store(
        self, request: Request, caller: Caller, content: bytes, details: dict[str, Any], original: str = ""
    ) -> Response:
        world = self._world
        name, folder = str(details.get("file_name") or ""), str(details.get("upload_path") or "")
        try:
            upload = world.uploads.add(
                content, caller.account, world.settings, world.now(), name=name, folder=folder, original=original
            )
        except UploadRejected as rejection:
            raise file_error(400, rejection.code, rejection.message) from rejection
        return _success(upload.public(base_url(request, world.settings)))

    async def quota(self, request: Request) -> Response:
        """Show how many files the account has and may have."""
        caller, settings = self._caller(request), self._world.settings
        used = len(self._world.uploads.owned_by(caller.account, self._world.now()))
        return _success(
            {
                "user_group": settings.user_group,
                "used_files": used,
                "max_files": settings.max_files,
                "remain_files": max(0, settings.max_files - used),
                "is_custom": False,
                "quota_reason": "",
            }
        )

    async def list(self, request: Request) -> Response:
        """List the account's files."""
        caller = self._caller(request)
        files = [upload.public("") for upload in self._world.uploads.owned_by(caller.account, self._world.now())]
        page, size = query_number(request, "page", 1, 10**9), query_number(request, "pageSize", 20, _MAX_PAGE_SIZE)
        names = ("file_id", "file_name", "file_size", "upload_time")
        shown = [{name: file[name] for name in names} for file in files[(page - 1) * size : page * size]]
        return _success({"total": len(files), "files": shown})

    async def delete(self, request: Request) -> Response:
        """Delete a file."""
        caller = self._caller(request)
        if not self._world.uploads.remove(request.path_params["file_id"], caller.account):
            raise file_error(404, 404, "file not found")
        return _success({})

    async def serve(self, request: Request) -> Response:
        """Serve an uploaded file to anyone who has its address."""
        upload = self._world.uploads.find(request.path_params["path"], self._world.now())
        if upload is None:
            raise file_error(404, 404, "file not found")
        return FileResponse(upload.path, media_type=upload.mime_type)

    def _caller(self, request: Request) -> Caller:
        try:
            return authenticate(request, self._world.settings, "upload")
        except ApiError as error:
            raise file_error(401, 401, "invalid or expired API key") from error

    async def _json(self, request: Request) -> dict[str, Any]:
        # base64 needs a third more space than the file
        max_bytes = self._world.settings.max_upload_bytes * 4 // 3 + 100_000
        try:
            body = await read_json(request, max_bytes)
        except ApiError as error:
            code = 40001 if error.status == 413 else error.status
            raise file_error(error.status, code, "unusable request body") from error
        if not isinstance(body, dict):
            raise file_error(400, 400, "the request body must be a JSON object")
        return body


def file_error(status: int, code: int, message: str) -> ApiError:
    """
    Return an error in the file API's envelope.

    :param status: HTTP status.
    :param code: ``code`` in the body.
    :param message: ``msg`` in the body.
    """
    return ApiError(status, {"success": False, "code": code, "msg": message, "data": None})


def _success(data: dict[str, Any]) -> Response:
    return JSONResponse({"success": True, "code": 200, "msg": "ok", "data": data})
