"""HTTPS: with a certificate of one's own, or with one that the emulator makes and keeps."""

from __future__ import annotations

import datetime as dt
import ssl
import stat

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from airflow_provider_evolink.emulator import certificate
from airflow_provider_evolink.emulator.__main__ import main
from airflow_provider_evolink.emulator.certificate import CertificateError, self_signed

PEM, PLAIN = serialization.Encoding.PEM, serialization.NoEncryption()
KEY = {"Authorization": "Bearer sk-evo-test"}
T2V = {"model": "wan2.7-text-to-video", "prompt": "a paper boat", "duration": 2}


def name(text):
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def issue(issuer, issuer_key, subject, public, *extensions):
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(
        issuer, subject, public, x509.random_serial_number(), now - dt.timedelta(1), now + dt.timedelta(9)
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
    return builder.sign(issuer_key, hashes.SHA256())


@pytest.fixture(scope="module")
def company(tmp_path_factory):
    """An authority of the company, a certificate that it issued, and its key: ca.pem, server.pem, server.key."""
    folder = tmp_path_factory.mktemp("company")
    root, server = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca = issue(name("Company"), root, name("Company"), root.public_key(), x509.BasicConstraints(ca=True, path_length=0))
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    leaf = issue(name("Company"), root, name("emulator"), server.public_key(), names)
    (folder / "ca.pem").write_bytes(ca.public_bytes(PEM))
    (folder / "server.pem").write_bytes(leaf.public_bytes(PEM))
    secret = serialization.PrivateFormat.PKCS8
    (folder / "server.key").write_bytes(server.private_bytes(PEM, secret, PLAIN))
    (folder / "other.key").write_bytes(root.private_bytes(PEM, secret, PLAIN))
    locked = serialization.BestAvailableEncryption(b"password")
    (folder / "locked.key").write_bytes(server.private_bytes(PEM, secret, locked))
    return folder


@pytest.fixture(scope="module")
def own(start, company):
    """An emulator with the certificate of the company."""
    return start(
        *("--port", "0", "--polls", "1", "--fps", "2"),
        *("--tls-cert", str(company / "server.pem"), "--tls-key", str(company / "server.key")),
    )


@pytest.fixture
def secure(own, company):
    trusted = ssl.create_default_context(cafile=company / "ca.pem")
    with httpx.Client(base_url=f"https://localhost:{own.port}", headers=KEY, verify=trusted, trust_env=False) as client:
        client.post("/_emulator/reset", json={})
        yield client


def test_a_job_runs_over_https_and_so_do_its_links(secure, own):
    job_id = secure.post("/v1/videos/generations", json=T2V).json()["id"]
    (link,) = secure.get(f"/v1/tasks/{job_id}").json()["results"]
    uploaded = secure.post("/api/v1/files/upload/base64", json={"base64_data": "iVBORw0KGgo="}).json()["data"]

    assert link.startswith(f"https://localhost:{own.port}/media/")
    assert uploaded["file_url"].startswith(f"https://localhost:{own.port}/files/")
    assert b"ftyp" in secure.get(link).content[:12]
    assert secure.get(uploaded["file_url"]).status_code == 200


FAULTS = {
    "lost_answer": (httpx.RemoteProtocolError, {}),
    "cut_before": (httpx.RemoteProtocolError, {"on": "submit"}),
    "cut_body": (httpx.RemoteProtocolError, {"on": "submit", "bytes": 5}),
    "lost_answer with a reset": ((httpx.ReadError, httpx.RemoteProtocolError), {"reset": True}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_faults_of_connections_work_over_https(secure, fault):
    expected, details = FAULTS[fault]
    assert secure.post("/_emulator/faults", json={"kind": fault.split()[0], **details}).status_code == 200
    with pytest.raises(expected):
        secure.post("/v1/videos/generations", json=T2V)

    assert secure.get("/_emulator/faults").json()["faults"][0]["done"]
    paid = secure.get("/_emulator/books").json()["orders"]
    assert paid == (0 if fault == "cut_before" else 1)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_neither_plain_http_nor_a_client_without_trust_is_served(own, scheme):
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{scheme}://localhost:{own.port}/_emulator/health", trust_env=False)


def test_a_certificate_of_its_own_outlives_a_restart(start, tmp_path):
    file = tmp_path / "emulator.pem"
    command = ["--port", "0", "--tls-self-signed", str(file), "--allow-host", "emulator.staging"]
    found = []
    for _ in range(2):
        emulator = start(*command)
        found.append(file.read_bytes())
        for host in ("localhost", "127.0.0.1"):
            trusted = ssl.create_default_context(cafile=file)
            trusted.verify_flags |= ssl.VERIFY_X509_STRICT  # as Python 3.13 does
            url = f"https://{host}:{emulator.port}/_emulator/health"
            assert httpx.get(url, verify=trusted, trust_env=False).status_code == 200
        sent = {"headers": {"Host": "emulator.staging"}, "extensions": {"sni_hostname": "emulator.staging"}}
        with httpx.Client(verify=trusted, trust_env=False) as client:
            assert client.get(f"https://127.0.0.1:{emulator.port}/_emulator/health", **sent).status_code == 200
        assert "BEGIN" not in emulator.stop()

    assert found[0] == found[1]
    assert b"PRIVATE" not in found[0]
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert stat.S_IMODE((tmp_path / "emulator.pem.key").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("public", "is_kept"), [(["--public-url", "https://emulator.staging:8765"], True), ([], False)]
)
def test_another_pod_keeps_it_where_the_emulator_has_a_name_for_others(start, tmp_path, public, is_kept):
    """A pod that replaces another one has a new name, and its clients have the certificate of the old one."""
    file, found = tmp_path / "emulator.pem", []
    for pod in ("emulator-5f7c-x2x", "emulator-5f7c-9kq"):
        code = f"import socket; socket.gethostname = lambda: {pod!r}"
        (tmp_path / "sitecustomize.py").write_text(code)
        start("--port", "0", "--tls-self-signed", str(file), *public, PYTHONPATH=str(tmp_path)).stop()
        found.append(file.read_bytes())
    assert (found[0] == found[1]) is is_kept


def damage(key):
    key.write_bytes(key.read_bytes()[:40])


RENEWED = {
    "a name is new": (lambda _: None, ["a", "b"], 825),
    "it expires within a month": (lambda _: None, ["a"], 29),
    "the key is gone": (lambda key: key.unlink(), ["a"], 825),
    "the key is of another certificate, after a crash": (damage, ["a"], 825),
}


@pytest.mark.parametrize("case", RENEWED)
def test_a_certificate_is_made_again_when_it_no_longer_serves(tmp_path, monkeypatch, case):
    change, names, days = RENEWED[case]
    file = tmp_path / "emulator.pem"
    monkeypatch.setattr(certificate, "_LIFETIME", dt.timedelta(days))
    change(self_signed(file, ["a"]))
    before = file.read_bytes()
    monkeypatch.undo()

    key = self_signed(file, names)

    assert file.read_bytes() != before
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(file, key)


def test_fewer_names_keep_it(tmp_path):
    file = tmp_path / "emulator.pem"
    self_signed(file, ["a", "b", "10.0.0.1"])
    before = file.read_bytes()
    self_signed(file, ["b", "10.0.0.1"])
    assert file.read_bytes() == before


@pytest.mark.parametrize("content", ["", "# bundle of the company\n", "CA", "CA CA"])
def test_a_file_of_somebody_else_is_never_overwritten(tmp_path, company, content):
    file = tmp_path / "bundle.pem"
    file.write_text(content.replace("CA", (company / "ca.pem").read_text()))
    before = file.read_bytes()
    with pytest.raises(CertificateError, match="name a new file"):
        self_signed(file, ["a"])
    assert [path.name for path in tmp_path.iterdir()] == ["bundle.pem"]
    assert file.read_bytes() == before


UNUSABLE = {
    "no file": ("nothing.pem", "server.key", "cannot read"),
    "no key": ("server.pem", "nothing.key", "cannot read"),
    "no PEM": ("server.key", "server.key", "cannot be used"),
    "another key": ("server.pem", "other.key", "cannot be used"),
    "a key with a password": ("server.pem", "locked.key", "cannot be used"),
    "a folder": (".", "server.key", "cannot read"),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_an_unusable_pair_is_one_line_and_status_2(company, capfd, case):
    pem, key, message = UNUSABLE[case]
    assert main(["--port", "0", "--tls-cert", str(company / pem), "--tls-key", str(company / key)]) == 2
    out, err = capfd.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert message in err


def test_a_folder_that_cannot_be_written_is_one_line_and_status_2(tmp_path, capfd):
    assert main(["--port", "0", "--tls-self-signed", str(tmp_path / "none" / "emulator.pem")]) == 2
    out, err = capfd.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert "cannot write" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--tls-cert", "a"],
        ["--tls-key", "a"],
        ["--tls-self-signed", "a", "--tls-cert", "b", "--tls-key", "c"],
    ],
)
def test_options_that_do_not_belong_together_are_refused(capsys, arguments):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "--tls-" in capsys.readouterr().err
