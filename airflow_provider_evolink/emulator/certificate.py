"""A certificate of its own for an emulator that serves HTTPS: made once, kept, and made again before it expires."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import ssl
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

if TYPE_CHECKING:
    from collections.abc import Iterable

_NAME = "EvoLink emulator"
_LIFETIME = dt.timedelta(days=825)  # more is refused by some clients
_RENEWED_BEFORE = dt.timedelta(days=30)


class CertificateError(Exception):
    """The certificate or its key cannot be used or made; the text is for the user."""


def check_pair(certificate: Path, key: Path) -> None:
    """
    Check that a certificate and its key can serve HTTPS.

    :param certificate: PEM file, with the chain.
    :param key: PEM file.
    :raises CertificateError: One of them is missing or unusable, or they do not belong together.
    """
    for path in (certificate, key):
        try:
            path.read_bytes()
        except OSError as error:
            raise CertificateError(f"cannot read {path}: {error.strerror}") from None
    if (reason := _fault(certificate, key)) is not None:
        raise CertificateError(
            f"{certificate} and {key} cannot be used: {reason}. What to do: give a certificate and its key, both PEM, "
            "the key without a password"
        )


def _fault(certificate: Path, key: Path) -> str | None:
    try:
        # without a password, OpenSSL would ask for it on the terminal
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, ValueError) as error:
        return getattr(error, "reason", None) or "the key needs a password"
    return None


def self_signed(certificate: Path, names: Iterable[str]) -> Path:
    """
    Make a certificate and its key, unless they are there and good for another 30 days; return the file of the key.

    A certificate that was kept is what clients already trust, so a restart changes nothing for them.

    :param certificate: The file that clients trust. The key is kept beside it, readable for its owner alone.
    :param names: Host names and addresses that the certificate is for.
    :raises CertificateError: The file is something else, or cannot be written.
    """
    key, wanted = certificate.with_name(f"{certificate.name}.key"), sorted(set(names))
    kept = _kept(certificate)
    if kept is not None and _is_good(kept, wanted) and key.exists() and _fault(certificate, key) is None:
        return key
    try:
        _write_pair(certificate, key, wanted)
    except OSError as error:
        raise CertificateError(f"cannot write {certificate}: {error.strerror}") from None
    return key


def _kept(path: Path) -> x509.Certificate | None:
    """Return the certificate in a file, None if there is no file; never overwrite what somebody else wrote."""
    try:
        found = x509.load_pem_x509_certificates(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        found = []
    if len(found) != 1 or found[0].subject != _subject() or found[0].issuer != _subject():
        raise CertificateError(
            f"{path} holds something else than a certificate of the emulator. What to do: name a new file"
        )
    return found[0]


def _is_good(certificate: x509.Certificate, names: list[str]) -> bool:
    known = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    lasts = certificate.not_valid_after_utc > _now() + _RENEWED_BEFORE
    return lasts and set(map(_general_name, names)) <= set(known)


def _write_pair(certificate: Path, key: Path, names: list[str]) -> None:
    secret = ec.generate_private_key(ec.SECP256R1())
    made = _sign(secret, names)
    plain = serialization.NoEncryption()
    pem = serialization.Encoding.PEM
    _write(key, secret.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain), 0o600)
    _write(certificate, made.public_bytes(pem), 0o644)


def _sign(secret: ec.EllipticCurvePrivateKey, names: list[str]) -> x509.Certificate:
    """Make a certificate that vouches for itself and for nothing else: no authority that could sign others."""
    public, began = secret.public_key(), _now() - dt.timedelta(minutes=5)
    builder = x509.CertificateBuilder(
        issuer_name=_subject(),
        subject_name=_subject(),
        public_key=public,
        serial_number=x509.random_serial_number(),
        not_valid_before=began,
        not_valid_after=began + _LIFETIME,
    )
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    builder = builder.add_extension(x509.ExtendedKeyUsage([x509.OID_SERVER_AUTH]), critical=False)
    builder = builder.add_extension(x509.SubjectAlternativeName(list(map(_general_name, names))), critical=False)
    return builder.sign(secret, hashes.SHA256())


def _subject() -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, _NAME)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name.strip("[]")))
    except ValueError:
        return x509.DNSName(name.lower().removesuffix("."))


def _write(path: Path, content: bytes, mode: int) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(content)
        os.fchmod(file.fileno(), mode)
    Path(file.name).replace(path)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
