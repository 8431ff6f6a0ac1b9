"""Certificates made for a test: an authority of our own and what it or nobody vouches for."""

from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Authority:
    """
    Vouches for servers.

    :param folder: Where its files are; ``authority.pem`` is what a client must trust.
    """

    folder: Path
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def file(self) -> Path:
        return self.folder / "authority.pem"

    def server(
        self, name: str = "127.0.0.1", *names: str, expired: bool = False, signed: bool = True
    ) -> ssl.SSLContext:
        """Return what a server of these names needs, or of an expired or self-signed certificate."""
        key = ec.generate_private_key(ec.SECP256R1())
        issuer, signer = (self.certificate.subject, self.key) if signed else (_name(name), key)
        now = datetime.now(UTC)
        until = now - DAY if expired else now + DAY
        certificate = (
            _builder(_name(name), issuer, key, now - 3 * DAY, until)
            .add_extension(x509.SubjectAlternativeName([_general(name) for name in (name, *names)]), critical=False)
            .sign(signer, hashes.SHA256())
        )
        path = self.folder / f"{certificate.serial_number}.pem"
        path.write_bytes(_pem(certificate) + _private(key))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context


def make_authority(folder: Path) -> Authority:
    """Make a new authority with its files in a folder."""
    key = ec.generate_private_key(ec.SECP256R1())
    now, name = datetime.now(UTC), _name("An authority for tests")
    certificate = (
        _builder(name, name, key, now - 3 * DAY, now + DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    authority = Authority(folder, key, certificate)
    authority.file.write_bytes(_pem(certificate))
    return authority


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, since: datetime, until: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(since)
        .not_valid_after(until)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, text)])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
