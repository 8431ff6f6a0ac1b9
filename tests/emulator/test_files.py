"""The file API and the addresses of uploaded files."""

from __future__ import annotations

import base64
import io
import re

import pytest
from PIL import Image

_BUFFER = io.BytesIO()
Image.new("RGB", (300, 300), "green").save(_BUFFER, "PNG")
PNG = _BUFFER.getvalue()
MP3 = b"ID3" + bytes(100)


def as_base64(client, content=PNG, **details):
    body = {"base64_data": base64.b64encode(content).decode()} | details
    return client.post("/api/v1/files/upload/base64", json=body)


def test_upload_of_base64(client, browser):
    response = as_base64(client, upload_path="frames/one", file_name="door.png")

    assert response.status_code == 200
    body = response.json()
    assert (body["success"], body["code"], body["msg"]) == (True, 200, "ok")
    data = body["data"]
    assert data | {"file_id": 0, "upload_time": 0, "expires_at": 0, "file_url": 0, "download_url": 0} == {
        "file_id": 0,
        "file_name": "door.png",
        "original_name": "door.png",
        "file_size": len(PNG),
        "mime_type": "image/png",
        "upload_path": "frames/one",
        "file_url": 0,
        "download_url": 0,
        "upload_time": 0,
        "expires_at": 0,
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+08:00", data["expires_at"])
    assert data["file_url"].endswith("/files/frames/one/door.png")
    for address in (data["file_url"], data["download_url"]):
        served = browser.get(address)
        assert (served.content, served.headers["content-type"]) == (PNG, "image/png")
    assert browser.get(data["file_url"], headers={"Range": "bytes=0-3"}).content == PNG[:4]


def test_upload_of_a_data_url_and_a_form(client):
    as_url = client.post(
        "/api/v1/files/upload/base64",
        json={"base64_data": "data:image/png;base64," + base64.b64encode(PNG).decode()},
    ).json()["data"]
    form = client.post(
        "/api/v1/files/upload/stream",
        files={"file": ("mine.png", PNG)},
        data={"uploadPath": "p", "fileName": "yours.png"},
    ).json()["data"]

    assert re.fullmatch(r"[0-9a-f]{16}\.png", as_url["file_name"])
    assert (form["file_name"], form["original_name"], form["upload_path"]) == ("yours.png", "mine.png", "p")


def test_upload_by_url_fetches_from_this_machine_only(client, browser):
    source = as_base64(client, file_name="a.png").json()["data"]["file_url"]
    copied = client.post("/api/v1/files/upload/url", json={"file_url": source, "file_name": "b.png"})
    assert browser.get(copied.json()["data"]["file_url"]).content == PNG

    for address in ("http://example.com/a.png", "http://169.254.169.254/x", "file:///etc/passwd", "http://10.0.0.1/"):
        refused = client.post("/api/v1/files/upload/url", json={"file_url": address})
        assert (refused.status_code, refused.json()["code"]) == (400, 40004)
    gone = client.post("/api/v1/files/upload/url", json={"file_url": source + "x"})
    assert (gone.status_code, gone.json()["code"]) == (400, 40004)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("base64", {}),
        ("base64", {"base64_data": "%%%"}),
        ("base64", [1]),
        ("url", {}),
        ("url", {"file_url": 7}),
        ("stream", {"file": "x"}),
    ],
)
def test_invalid_uploads_are_400(client, path, body):
    response = client.post(f"/api/v1/files/upload/{path}", json=body)

    assert response.status_code == 400
    assert response.json()["success"] is False


@pytest.mark.parametrize(
    ("changes", "content", "code"),
    [
        ({}, b"hello", 40002),
        ({}, b"<svg/>", 40002),
        ({"files_images_only": True}, MP3, 40002),
        ({"max_upload_bytes": 50}, PNG, 40001),
        ({"max_files": 0}, PNG, 40003),
    ],
)
def test_limits_have_their_codes(emulator, client, changes, content, code):
    emulator.settings(**changes)
    response = as_base64(client, content)

    assert response.status_code == 400
    assert response.json() | {"msg": ""} == {"success": False, "code": code, "msg": "", "data": None}


def test_audio_is_accepted_as_an_upload(client):
    assert as_base64(client, MP3).json()["data"]["mime_type"] == "audio/mpeg"


def test_an_api_key_is_required(browser):
    for call in (
        lambda: browser.get("/api/v1/files/quota"),
        lambda: browser.get("/api/v1/files/list"),
        lambda: as_base64(browser),
    ):
        response = call()
        assert (response.status_code, response.json()["code"]) == (401, 401)
        assert response.headers["x-request-id"]


def test_quota_list_and_delete(emulator, client, browser):
    emulator.settings(max_files=10)
    first, second, third = (as_base64(client, file_name=f"{n}.png").json()["data"] for n in range(3))
    as_base64(client, file_name="2.png")
    quota = client.get("/api/v1/files/quota").json()["data"]
    assert (quota["used_files"], quota["max_files"], quota["remain_files"]) == (3, 10, 7)

    listed = client.get("/api/v1/files/list", params={"page": 2, "pageSize": 2}).json()["data"]
    assert listed["total"] == 3
    assert listed["files"] == [{name: first[name] for name in ("file_id", "file_name", "file_size", "upload_time")}]
    assert client.delete(f"/api/v1/files/{second['file_id']}").json()["success"] is True
    assert client.delete(f"/api/v1/files/{second['file_id']}").status_code == 404
    assert browser.get(second["file_url"]).status_code == 404
    assert browser.get(third["file_url"]).status_code == 200


def test_files_expire_after_three_days(emulator, client, browser):
    address = as_base64(client).json()["data"]["file_url"]
    emulator.settings(clock_shift=72 * 3600 + 1)

    assert browser.get(address).status_code == 404
    assert client.get("/api/v1/files/quota").json()["data"]["used_files"] == 0


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b.png", "ä ö.png", "x" * 300, "..", "a\x00b.png"])
def test_file_names_are_sanitized(client, browser, name):
    data = as_base64(client, file_name=name, upload_path="../up/./x").json()["data"]

    assert re.fullmatch(r"[A-Za-z0-9._-]{1,120}", data["file_name"])
    assert data["upload_path"] == "up/x"
    assert browser.get(data["file_url"]).content == PNG
