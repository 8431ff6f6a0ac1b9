"""One way out: behind a proxy that alone resolves names, and behind a private authority, a paid result arrives."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fault_certificates import Authority
from fault_network import Front, Proxy, without_dns
from fault_scene import KEY, Scene
from PIL import Image

from airflow_provider_evolink.operators import (
    EvoLinkArchiveOperator,
    EvoLinkDownloadOperator,
    EvoLinkImageToVideoOperator,
    EvoLinkUploadOperator,
)

MEDIA = "media.evolink.ai"
NAMES = ("api.evolink.ai", "files-api.evolink.ai", MEDIA, "cdn.evolink.ai")
VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "ssl_cert_file", "ssl_cert_dir")


@pytest.fixture
def company(
    scene: Scene, authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[SimpleNamespace]:
    """Return a network without DNS whose proxy reaches EvoLink; nothing is configured yet."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    front = Front(scene.emulator.port, authority.server(*NAMES), links_host=MEDIA)
    proxy = Proxy({f"{name}:443": front.port for name in NAMES})
    scene.connect("https://api.evolink.ai")
    frame = tmp_path / "frame.png"
    buffer = io.BytesIO()
    Image.new("RGB", (640, 360), "green").save(buffer, "PNG")
    frame.write_bytes(buffer.getvalue())
    yield SimpleNamespace(
        front=front, proxy=proxy, frame=frame, looked_up=without_dns(monkeypatch), authority=authority, scene=scene
    )
    proxy.close()
    front.close()


def by_environment(company: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", company.proxy.url())
    monkeypatch.setenv("SSL_CERT_FILE", str(company.authority.file))


def by_configuration(company: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere.pem")
    monkeypatch.setenv("AIRFLOW__EVOLINK__PROXY", company.proxy.url())
    monkeypatch.setenv("AIRFLOW__EVOLINK__CA_BUNDLE", str(company.authority.file))


def from_order_to_archive(scene: Scene, frame: Path, folder: Path, *, deferrable: bool) -> dict[str, Any]:
    """Upload, order with a local file, wait, download and archive, as a DAG does; return the archived file."""
    context = scene.stage.context()
    uploaded = EvoLinkUploadOperator(task_id="upload", path=str(frame)).execute(context)
    assert uploaded["url"].startswith("https://")
    make = scene._make(
        EvoLinkImageToVideoOperator, image_start=str(frame), prompt="a boat", duration=2, deferrable=deferrable
    )
    job = scene.stage.run(make)
    assert (scene.orders, bool(scene.stage.deferrals)) == (1, deferrable)
    download = EvoLinkDownloadOperator(task_id="download", job=job, destination=f"file://{folder}/staging")
    files = download.execute(context)
    archive = EvoLinkArchiveOperator(task_id="archive", files=files, archive_path=f"file://{folder}/archive")
    (row,) = archive.execute(context)
    content = Path(row["uri"].removeprefix("file://")).read_bytes()
    assert len(content) == files[0]["size"] > 1000
    return row


@pytest.mark.parametrize("deferrable", [True, False], ids=["deferred", "blocking"])
@pytest.mark.parametrize("configure", [by_environment, by_configuration])
def test_behind_a_proxy_without_dns(
    company: Any, configure: Any, deferrable: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    configure(company, monkeypatch)
    from_order_to_archive(company.scene, company.frame, tmp_path, deferrable=deferrable)
    assert set(company.proxy.asked) == {"api.evolink.ai:443", "files-api.evolink.ai:443", f"{MEDIA}:443"}
    assert company.looked_up == []
    assert KEY.encode() not in company.proxy.uphill


@pytest.mark.parametrize("deferrable", [True, False], ids=["deferred", "blocking"])
@pytest.mark.parametrize("how", ["SSL_CERT_FILE", "AIRFLOW__EVOLINK__CA_BUNDLE"])
def test_behind_a_private_authority(
    company: Any, how: str, deferrable: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    front = Front(company.scene.emulator.port, company.authority.server())
    monkeypatch.setenv(how, str(company.authority.file))
    company.scene.connect(f"https://127.0.0.1:{front.port}")
    from_order_to_archive(company.scene, company.frame, tmp_path, deferrable=deferrable)
    assert company.proxy.asked == []
    front.close()
