"""One way out: behind a proxy that alone resolves names, and behind a private authority, a paid result arrives."""

from __future__ import annotations

import copy
import importlib.util
import io
import json
import os
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fault_certificates import Authority
from fault_network import Front, Proxy, without_dns
from fault_scene import KEY, Scene
from PIL import Image

from airflow_provider_evolink import __main__ as command
from airflow_provider_evolink.api.errors import EvoLinkError, EvoLinkLinkRefused, EvoLinkMediaError, EvoLinkUnavailable
from airflow_provider_evolink.api.files import hosts
from airflow_provider_evolink.api.files.download import DownloadLimits, download
from airflow_provider_evolink.api.network import NetworkPolicy
from airflow_provider_evolink.hooks import EvoLinkHook
from airflow_provider_evolink.hooks import evolink as hook_module
from airflow_provider_evolink.operators import (
    EvoLinkArchiveOperator,
    EvoLinkDownloadOperator,
    EvoLinkImageToVideoOperator,
    EvoLinkUploadOperator,
)

MEDIA = "media.evolink.ai"
NAMES = ("api.evolink.ai", "files-api.evolink.ai", "files.evolink.ai", MEDIA, "cdn.evolink.ai")
VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "ssl_cert_file", "ssl_cert_dir")


@pytest.fixture
def company(
    scene: Scene, authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[SimpleNamespace]:
    """Return a network without DNS whose proxy reaches EvoLink; nothing is configured yet."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    scene.emulator.settings(allowed_hosts=list(NAMES))
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


@pytest.mark.parametrize("over_tls", [False, True], ids=["http", "https"])
def test_a_proxy_may_want_a_login_and_speak_tls(
    company: Any, over_tls: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, logs: Any
) -> None:
    tls = company.authority.server() if over_tls else None
    strict = Proxy({f"{name}:443": company.front.port for name in NAMES}, tls, login="worker:s3cret")
    by_configuration(company, monkeypatch)
    monkeypatch.setenv("AIRFLOW__EVOLINK__PROXY", strict.url("worker:s3cret"))
    from_order_to_archive(company.scene, company.frame, tmp_path, deferrable=True)
    assert company.proxy.asked == []
    assert "s3cret" not in logs.text
    monkeypatch.setenv("AIRFLOW__EVOLINK__PROXY", strict.url("worker:wrongs3cret"))
    good, text = EvoLinkHook().test_connection()
    assert (good, "s3cret" in text) == (False, False)
    assert "ProxyError" in text
    strict.close()


def test_a_connection_has_no_say_in_the_way_out(company: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    by_environment(company, monkeypatch)
    evil = {"proxy": "http://127.0.0.1:1", "ca_bundle": "/nowhere.pem", "verify": False, "trust_env": False}
    fields = {"conn_type": "evolink", "password": KEY, "extra": evil | {"proxies": {"https": "http://127.0.0.1:1"}}}
    monkeypatch.setenv("AIRFLOW_CONN_EVOLINK_DEFAULT", json.dumps(fields))
    assert EvoLinkHook().settings.network == hook_module.network_policy()
    assert EvoLinkHook().get_credits().available is not None


@pytest.mark.parametrize("how", ["hangs up", "hangs", "garbage", "refuses"])
def test_a_proxy_that_opens_no_tunnel_leaves_no_order_unknown(
    company: Any, how: str, monkeypatch: pytest.MonkeyPatch, patience: Any
) -> None:
    patience(submit_timeout=0.3)
    by_environment(company, monkeypatch)
    answers = {"hangs up": b"", "garbage": b"SSH-2.0-x\r\n\r\n", "refuses": b"HTTP/1.1 403 No\r\n\r\n"}
    serve = company.proxy.serve

    def fail(connection: Any) -> None:
        connection.recv(65536)
        connection.sendall(answers[how]) if how in answers else connection.recv(1)

    company.proxy.serve = fail
    company.scene.fails(EvoLinkUnavailable, "nothing was sent")
    assert (company.scene.state, company.front.asked) == ("refused", [])
    company.proxy.serve = serve
    company.scene.retry().run_to_end()
    assert company.scene.orders == 1


def test_an_order_lost_inside_the_tunnel_is_unknown(company: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    by_environment(company, monkeypatch)
    company.scene.emulator.fault("lost_answer")
    company.scene.outcome_stays_unknown(orders=1)
    assert company.scene.met()


# --- media: judged at every hop

HOPS = [
    "http://media.evolink.ai/x",
    "https://media.evolink.ai:8443/x",
    "https://user:word@media.evolink.ai/x",
    "https://127.0.0.1/x",
    "https://10.0.0.1/x",
    "https://[::1]/x",
    "https://[::ffff:169.254.169.254]/x",
    "https://169.254.169.254/latest/meta-data",
    "https://2130706433/x",
    "https://localhost/x",
    "https://metadata/x",
    "https://metadata.google.internal/x",
    "https://kubernetes.default.svc/x",
    "https://10.0.0.1.nip.io/x",
    "file:///etc/passwd",
]
if "EVOLINK_ALL_HOPS" in os.environ:  # in the tests of chaos: these take minutes
    _spec = importlib.util.spec_from_file_location(
        "hostile_table", Path(__file__).parent.parent / "api" / "hostile_table.py"
    )
    assert _spec
    assert _spec.loader
    sys.modules[_spec.name] = _table = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(_table)
    HOPS = [row.link for row in _table.TABLE if row.by_name and row.link.isascii()]
ROUTES = {
    "through the proxy": (),
    "all exempt": ("*",),
    "the goal exempt": ("127.0.0.0/8", "10.0.0.0/8", "::/0", "169.254.0.0/16", "metadata", "internal", "svc", "nip.io"),
}


@pytest.fixture
def connect_media(company: Any) -> Any:
    """Return a maker of connectors by which ``media.evolink.ai`` is reached only through the proxy."""
    tls = hosts.ssl_context(NetworkPolicy(ca_file=str(company.authority.file)))

    def connect(*no_proxy: str) -> hosts.Connector:
        network = NetworkPolicy(https_proxy=company.proxy.url(), no_proxy=no_proxy)
        return hosts.Connector(network=network, tls=tls, resolver=lambda *_: ["127.0.0.1"])

    return connect


def opened(connector: hosts.Connector, link: str) -> int:
    with connector.open(link, headers={}, timeout=httpx.Timeout(2)) as response:
        return response.status_code


@pytest.mark.parametrize("route", ROUTES)
def test_no_hostile_hop_is_followed(company: Any, connect_media: Any, route: str) -> None:
    """Directly, as a redirect, and as a redirect behind another one."""
    for goal in HOPS:
        company.front.moved = {"/goal": goal, "/first": f"https://{MEDIA}/goal"}
        company.proxy.asked.clear()
        for link in (goal, f"https://{MEDIA}/goal", f"https://{MEDIA}/first"):
            with pytest.raises(EvoLinkLinkRefused):
                opened(connect_media(*ROUTES[route]), link)
        assert set(company.proxy.asked) == (set() if route == "all exempt" else {f"{MEDIA}:443"}), goal


def test_a_good_redirect_is_followed_through_the_proxy(company: Any, connect_media: Any) -> None:
    company.front.moved = {"/goal": "https://cdn.evolink.ai/elsewhere"}
    assert opened(connect_media(), f"https://{MEDIA}/goal") == 404
    assert company.proxy.asked == [f"{MEDIA}:443", "cdn.evolink.ai:443"]
    with pytest.raises(EvoLinkLinkRefused, match=r"127\.0\.0\.1, which is not public"):
        opened(connect_media("cdn.evolink.ai"), f"https://{MEDIA}/goal")
    assert company.looked_up == []


def test_a_proxied_host_must_prove_its_name(company: Any, connect_media: Any) -> None:
    impostor = Front(company.scene.emulator.port, company.authority.server("other.example"))
    company.proxy._table["cdn.evolink.ai:443"] = impostor.port
    with pytest.raises(httpx.ConnectError):
        opened(connect_media(), "https://cdn.evolink.ai/x")
    assert impostor.asked == []
    impostor.close()


def test_a_host_that_the_proxy_does_not_know_is_named(company: Any, tmp_path: Path) -> None:
    network = NetworkPolicy(https_proxy=company.proxy.url())
    limits = DownloadLimits(max_resumes=1, backoff=0.01)
    with pytest.raises(EvoLinkMediaError, match=r"^gave up at byte 0: ProxyError \(https://nowhere\.example/x\)"):  # noqa: SIM117
        with download("https://nowhere.example/x?sig=s3cret", limits=limits, spool_dir=tmp_path, network=network):
            pass


# --- the check of the network


def test_the_test_button_checks_the_network(company: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    by_configuration(company, monkeypatch)
    accepted = "EvoLink accepts the key: 1000 credits left. "
    good, text = EvoLinkHook().test_connection()
    reached = "files-api.evolink.ai, files.evolink.ai, media.evolink.ai, cdn.evolink.ai can be reached"
    assert (good, text) == (True, accepted + reached)
    del company.proxy._table["cdn.evolink.ai:443"]
    good, text = EvoLinkHook().test_connection()
    assert good, "EvoLink documents no media hosts"
    assert "warning: cdn.evolink.ai (media) cannot be reached through the proxy: ProxyError. What to do: " in text
    del company.proxy._table["files-api.evolink.ai:443"]
    good, text = EvoLinkHook().test_connection()
    assert not good
    assert "error: files-api.evolink.ai (files API) cannot be reached through the proxy: ProxyError" in text
    assert text.startswith(accepted)
    company.scene.run_to_end()
    assert company.scene.orders == 1, "a failed check refuses no order"


def test_an_untrusted_certificate_is_told_from_a_host_out_of_reach(
    company: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", company.proxy.url())
    assert command.main(["network"], check_network=command.check_network) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" (")[0] for line in lines] == [
        "error: api.evolink.ai",
        "error: files-api.evolink.ai",
        "warning: files.evolink.ai",
        "warning: media.evolink.ai",
        "warning: cdn.evolink.ai",
    ]
    assert all(line.endswith("cannot be reached through the proxy: its certificate is not trusted") for line in lines)


def test_the_command_uses_the_configuration(company: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    by_configuration(company, monkeypatch)
    company.proxy._table["media.evolink.ai:443"] = 1
    assert command.main(["network", "--json"], check_network=command.check_network) == 0
    found = {row["host"]: row["fault"] is None for row in json.loads(capsys.readouterr().out)}
    assert found == {name: name != MEDIA for name in NAMES}
    monkeypatch.setenv("AIRFLOW__EVOLINK__PROXY", "gopher://s3cret@127.0.0.1:1")
    assert command.main(["network"], check_network=command.check_network) == 2
    said = capsys.readouterr()
    assert ("[evolink] proxy must be" in said.err, "s3cret" in said.err + said.out) == (True, False)


def test_a_media_host_at_an_inner_address_is_a_warning(company: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    by_environment(company, monkeypatch)
    monkeypatch.setenv("NO_PROXY", "cdn.evolink.ai")
    monkeypatch.setattr(hosts, "system_resolver", lambda *_: ["10.0.0.1"])
    good, text = EvoLinkHook().test_connection()
    assert good
    assert "10.0.0.1, which is not public" in text


# --- the key


@pytest.mark.parametrize("copied", [pickle.dumps, lambda hook: repr(vars(copy.deepcopy(hook))).encode()])
def test_a_copy_of_the_hook_holds_no_key(company: Any, copied: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    by_environment(company, monkeypatch)
    hook = EvoLinkHook()
    assert hook.settings.api_key == KEY
    assert KEY.encode() not in copied(hook)
    assert pickle.loads(pickle.dumps(hook)).settings == hook.settings


def test_a_wrong_certificate_file_stops_an_order_before_it_is_sent(
    company: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_environment(company, monkeypatch)
    monkeypatch.setenv("AIRFLOW__EVOLINK__CA_BUNDLE", "/nowhere/company.pem")
    with pytest.raises(Exception, match=r"/nowhere/company\.pem cannot be read.*\[evolink\] ca_bundle") as caught:
        company.scene.run_to_end()
    assert not isinstance(caught.value, EvoLinkError), "no retries are used"
    assert company.front.asked == []
