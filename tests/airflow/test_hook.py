"""The hook: from an Airflow connection to a client that sends its key to EvoLink and nowhere else."""

from __future__ import annotations

import importlib
import inspect
import json
import socket
import threading
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_evolink.api.errors import EvoLinkAuthError, EvoLinkConfigError
from airflow_provider_evolink.emulator.server import EmulatorServer
from airflow_provider_evolink.get_provider_info import get_provider_info
from airflow_provider_evolink.hooks import EvoLinkHook

KEY = "test-key-0123456789"
Connect = Callable[..., EvoLinkHook]


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Connect:
    """Return a function that sets an Airflow connection and returns its hook."""

    def set_(uri: str | None = None, **fields: Any) -> EvoLinkHook:
        value = uri or json.dumps({"conn_type": "evolink", "password": KEY} | fields)
        monkeypatch.setenv("AIRFLOW_CONN_MINE", value)
        return EvoLinkHook("mine")

    return set_


@pytest.fixture
def stranger() -> Iterator[tuple[str, list[bytes]]]:
    """Listen on this machine and keep what is sent."""
    received: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        over = threading.Event()

        def listen() -> None:
            while not over.is_set():
                try:
                    peer, _ = server.accept()
                except TimeoutError:
                    continue
                with peer:
                    peer.settimeout(0.2)
                    received.append(b"")
                    try:
                        received.append(peer.recv(65536))
                    except TimeoutError:
                        continue

        thread = threading.Thread(target=listen)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}", received
        over.set()
        thread.join()


# --- forms of a connection


@pytest.mark.parametrize(
    ("fields", "address"),
    [
        ({}, "https://api.evolink.ai"),
        ({"host": ""}, "https://api.evolink.ai"),
        ({"host": "api.evolink.ai"}, "https://api.evolink.ai"),
        ({"host": "https://api.evolink.ai/"}, "https://api.evolink.ai"),
        ({"host": " https://api.evolink.ai "}, "https://api.evolink.ai"),
        ({"host": "api.evolink.ai", "port": 443}, "https://api.evolink.ai:443"),
        ({"host": "api.evolink.ai", "schema": "https"}, "https://api.evolink.ai"),
        ({"host": "http://127.0.0.1:8765"}, "http://127.0.0.1:8765"),
        ({"host": "127.0.0.1", "port": 8765}, "http://127.0.0.1:8765"),
        ({"host": "localhost", "port": 8765}, "http://localhost:8765"),
        ({"host": "localhost", "port": 8765, "schema": "https"}, "https://localhost:8765"),
        ({"host": "http://[::1]:8765"}, "http://[::1]:8765"),
    ],
)
def test_the_address_may_be_entered_in_any_form(connect: Connect, fields: dict[str, Any], address: str) -> None:
    settings = connect(**fields).settings
    assert settings.base_url == address
    local = "evolink.ai" not in address
    assert settings.files_url == (address if local else "https://files-api.evolink.ai")


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        (f"evolink://:{KEY}@", "https://api.evolink.ai"),
        (f"evolink://:{KEY}@api.evolink.ai", "https://api.evolink.ai"),
        (f"evolink://:{KEY}@127.0.0.1:8765", "http://127.0.0.1:8765"),
        (f"evolink://:{KEY}@localhost:8765/http", "http://localhost:8765"),
        (f"evolink://:{KEY}@?timeout=20", "https://api.evolink.ai"),
    ],
)
def test_a_connection_may_be_a_uri(connect: Connect, uri: str, address: str) -> None:
    settings = connect(uri).settings
    assert settings.base_url == address
    assert settings.api_key == KEY
    assert settings.read_timeout == (20.0 if "timeout" in uri else 15.0)


def test_extras_are_read_by_name_and_others_ignored(connect: Connect) -> None:
    extra = {"timeout": 20, "submit_timeout": "45", "files_host": "files-api.evolink.ai", "verify": False}
    settings = connect(extra=extra).settings
    assert (settings.read_timeout, settings.submit_timeout) == (20.0, 45.0)
    assert settings.files_url == "https://files-api.evolink.ai"
    empty = connect(extra={"timeout": None, "submit_timeout": "", "files_host": None}).settings
    assert (empty.read_timeout, empty.submit_timeout) == (15.0, 30.0)


@pytest.mark.parametrize(
    "extra",
    [
        {"timeout": 0},
        {"timeout": "soon"},
        {"submit_timeout": 10_000},
        {"submit_timeout": "nan"},
        {"timeout": -5},
        {"timeout": True},
        {"files_host": "https://evil.example"},
        {"files_host": "http://files-api.evolink.ai"},
    ],
    ids=str,
)
def test_an_unusable_extra_is_named(connect: Connect, extra: dict[str, Any]) -> None:
    with pytest.raises(EvoLinkConfigError, match=next(iter(extra))):
        _ = connect(extra=extra).settings


# --- the key


@pytest.mark.parametrize(
    "key",
    [
        "",
        "   ",
        "short",
        "k" * 513,
        f"{KEY}\n",
        f"{KEY}\r\nX-Evil: 1",
        f" {KEY}",
        f"{KEY} x",
        f"{KEY}\x00",
        f"{KEY}ü",
        f"“{KEY}”",
        f'"{KEY}"',
        f"'{KEY}'",
        f"`{KEY}`",
        f' "{KEY}" ',
        f"{KEY}\u2028",
    ],
    ids=lambda key: repr(key)[:40],
)
def test_an_unusable_key_is_refused_and_not_shown(connect: Connect, key: str, emulator: EmulatorServer) -> None:
    hook = connect(host=emulator.url, password=key)
    with pytest.raises(EvoLinkConfigError, match="API key") as raised:
        hook.get_credits()
    assert KEY not in str(raised.value)
    good, text = hook.test_connection()
    assert not good
    assert KEY not in text
    assert emulator.books()["requests"] == {}


def test_a_key_shows_in_no_repr(connect: Connect) -> None:
    hook = connect()
    assert KEY not in repr(hook.settings)
    assert KEY not in repr(vars(hook.get_conn()))


def test_a_missing_connection_is_airflows_own_error() -> None:
    with pytest.raises(Exception, match="nowhere"):
        EvoLinkHook("nowhere").get_conn()


# --- where the key may go


EVIL = [
    "https://evil.example",
    "evil.example",
    "http://api.evolink.ai",
    "https://api.evolink.ai.evil.example",
    "https://evil.example/api.evolink.ai",
    "https://api.evolink.ai@evil.example",
    "https://user:pass@api.evolink.ai",
    "https://api.evolink.ai/v2",
    "https://api.evolink.ai?x=1",
    "https://api.evolink.ai#x",
    "https://api.evolink.ai\\@evil.example",
    "ftp://api.evolink.ai",
    "https://10.0.0.1",
    "http://127.0.0.1.evil.example",
    "https://[::ffff:10.0.0.1]",
    "https://api.evolink.ai:99999",
]


@pytest.mark.parametrize("host", EVIL)
def test_the_key_is_sent_to_no_other_host(connect: Connect, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("somebody looked up or called a host")

    monkeypatch.setattr(socket, "getaddrinfo", never)
    monkeypatch.setattr(socket.socket, "connect", never)
    with pytest.raises(EvoLinkConfigError, match="host"):
        connect(host=host).get_credits()


def test_a_host_that_is_not_allowed_receives_nothing(
    connect: Connect, stranger: tuple[str, list[bytes]], monkeypatch: pytest.MonkeyPatch, hurry: None
) -> None:
    """The stranger stands for any host: loopback, which is always allowed for the emulator, is taken away here."""
    address, received = stranger
    name = f"https://evil.example:{address.rpartition(':')[2]}"
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda *_, **__: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", int(address.rpartition(":")[2])))],
    )
    good, text = connect(host=name).test_connection()
    assert not good
    assert "evil.example is not in [evolink] allowed_hosts" in text
    assert received == []

    monkeypatch.setenv("AIRFLOW__EVOLINK__ALLOWED_HOSTS", "proxy.example, Evil.Example ")
    good, text = connect(host=name).test_connection()
    assert not good, "it does not speak TLS"
    assert received, "the stranger receives something when the deployment allows it, so the test above proves something"


def test_the_deployment_may_allow_hosts_and_a_connection_may_not(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {"host": "https://proxy.example:8443", "extra": {"allowed_hosts": "proxy.example"}}
    with pytest.raises(EvoLinkConfigError, match="allowed_hosts"):
        _ = connect(**fields).settings
    monkeypatch.setenv("AIRFLOW__EVOLINK__ALLOWED_HOSTS", "other.example, PROXY.example")
    assert connect(**fields).settings.base_url == "https://proxy.example:8443"
    with pytest.raises(EvoLinkConfigError, match="only https"):
        _ = connect(host="http://proxy.example").settings


HOSTS = {
    "": frozenset(),
    "emulator": {("emulator", 443)},
    "Emulator.Staging:8765, 10.0.0.7": {("emulator.staging", 8765), ("10.0.0.7", 443)},
    "emulator. [fd00::1]:8443": {("emulator", 443), ("fd00::1", 8443)},
    "[FD00:0:0:0:0:0:0:1]:8443": {("fd00::1", 8443)},
}


@pytest.mark.parametrize("text", HOSTS)
def test_the_deployment_may_list_private_media_hosts(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("AIRFLOW__EVOLINK__PRIVATE_MEDIA_HOSTS", text)
    assert connect(extra={"private_media_hosts": "evil.example"}).settings.private_media_hosts == HOSTS[text]


@pytest.mark.parametrize(
    "text",
    [
        "https://emulator:8765",
        "emulator/media",
        "emulator:0",
        "emulator:x",
        "emulator:99999",
        "*",
        "a@b",
        ":80",
        "*.a.b",
    ],
)
def test_what_is_no_host_is_an_error_of_the_configuration(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("AIRFLOW__EVOLINK__PRIVATE_MEDIA_HOSTS", text)
    with pytest.raises(EvoLinkConfigError, match=r"\[evolink\] private_media_hosts: .* is no host\. What to do"):
        _ = connect().settings


def test_a_redirect_does_not_carry_the_key_away(
    connect: Connect, emulator: EmulatorServer, stranger: tuple[str, list[bytes]], hurry: None
) -> None:
    address, received = stranger
    headers = {"Location": f"http://{address}/v1/credits"}
    emulator.fault("status", status=307, code="moved", headers=headers, on="credits", times=-1)
    good, _ = connect(host=emulator.url).test_connection()
    assert not good
    assert received == []


# --- what the hook does


def test_the_balance(connect: Connect, emulator: EmulatorServer) -> None:
    emulator.settings(balance=77)
    assert connect(host=emulator.url).get_credits().available == 77.0


def test_the_test_button_shows_the_balance(connect: Connect, emulator: EmulatorServer) -> None:
    emulator.settings(balance=77)
    assert connect(host=emulator.url).test_connection() == (True, "EvoLink accepts the key: 77 credits left")
    assert emulator.books()["orders"] == 0


def test_the_test_button_shows_why_not(connect: Connect, emulator: EmulatorServer, hurry: None) -> None:
    good, text = connect(host=emulator.url, password="my-expired-key").test_connection()
    assert not good
    assert "HTTP 401" in text
    assert "check the API key" in text
    assert "my-expired-key" not in text
    with pytest.raises(EvoLinkAuthError):
        connect(host=emulator.url, password="my-expired-key").get_credits()
    good, text = connect(host="http://127.0.0.1:1").test_connection()
    assert not good
    assert "could not be reached" in text
    assert KEY not in text


def test_a_job_is_read_by_its_id(connect: Connect, emulator: EmulatorServer) -> None:
    hook = connect(host=emulator.url)
    with hook.get_conn() as client:
        job = client.submit({"model": "wan2.7-text-to-video", "prompt": "p", "duration": 2})
    assert hook.get_job(job.job_id).job_id == job.job_id


async def test_worker_and_triggerer_read_the_same_settings(connect: Connect) -> None:
    hook = connect(host="127.0.0.1", port=8765, extra={"timeout": 20})
    assert await EvoLinkHook.aget_settings("mine") == hook.settings


# --- what Airflow asks of a provider


def test_the_provider_info_fits_airflows_schema() -> None:
    import airflow
    import jsonschema

    info = get_provider_info()
    folder = Path(inspect.getfile(airflow)).parent
    for name in ("provider_info.schema.json", "provider.yaml.schema.json"):
        schema = json.loads((folder / name).read_text())
        if name.startswith("provider.yaml"):
            connection = schema["properties"]["connection-types"]
            jsonschema.validate(info["connection-types"], connection | {"definitions": schema.get("definitions", {})})
        else:
            jsonschema.validate(info, schema)
    assert json.loads(json.dumps(info)) == info


def test_every_class_and_module_of_the_provider_info_can_be_imported() -> None:
    info = get_provider_info()
    for kind in ("hooks", "operators", "triggers"):
        for entry in info[kind]:
            for name in entry["python-modules"]:
                importlib.import_module(name)
    paths = [row["hook-class-name"] for row in info["connection-types"]] + info["extra-links"]
    for path in paths:
        module, _, name = path.rpartition(".")
        assert getattr(importlib.import_module(module), name)
    assert {row["integration-name"] for kind in ("hooks", "operators", "triggers") for row in info[kind]} == {
        row["integration-name"] for row in info["integrations"]
    }


def test_the_entry_point_is_the_provider_info() -> None:
    points = entry_points(group="apache_airflow_provider")
    (found,) = [point for point in points if point.value.startswith("airflow_provider_evolink.")]
    assert found.load()() == get_provider_info()


def test_airflow_knows_the_connection_form_and_every_field_of_it_is_read(connect: Connect) -> None:
    (row,) = get_provider_info()["connection-types"]
    assert row["connection-type"] == EvoLinkHook.conn_type
    assert set(row["conn-fields"]) == {"files_host", "timeout", "submit_timeout", "honors_idempotency_key"}
    defaults = connect().settings
    assert row["conn-fields"]["timeout"]["schema"]["default"] == defaults.read_timeout
    assert row["conn-fields"]["submit_timeout"]["schema"]["default"] == defaults.submit_timeout
    with pytest.raises(EvoLinkConfigError):
        _ = connect(extra={"timeout": row["conn-fields"]["timeout"]["schema"]["minimum"] - 1}).settings


def test_the_old_form_is_the_new_one() -> None:
    behaviour = EvoLinkHook.get_ui_field_behaviour()
    assert set(behaviour) == {"hidden_fields", "relabeling", "placeholders"}
    assert behaviour["relabeling"]["password"] == "API key"
    assert {"login", "schema"} <= set(behaviour["hidden_fields"])
    assert "password" not in behaviour["hidden_fields"]
    assert behaviour["placeholders"]["host"] == "default: https://api.evolink.ai"


def test_airflows_provider_manager_lists_the_hook(airflow_home: Path) -> None:
    from airflow.providers_manager import ProvidersManager

    manager = ProvidersManager()
    assert "airflow-provider-evolink" in manager.providers
    assert manager.hooks["evolink"].hook_class_name == "airflow_provider_evolink.hooks.evolink.EvoLinkHook"
    links = {
        f"airflow_provider_evolink.links.evolink.EvoLink{name}Link" for name in ("Result", "ArchivedFile", "Manifest")
    }
    assert links <= set(manager.extra_links_class_names)
    options = get_provider_info()["config"]["evolink"]["options"]
    names = {
        "allowed_hosts",
        "ca_bundle",
        "idempotency_namespace",
        "input_roots",
        "ledger_path",
        "private_media_hosts",
        "proxy",
        "spool_folder",
        "ui_roots",
    }
    assert set(options) == names
    assert options["proxy"]["sensitive"], "it may hold a password"
