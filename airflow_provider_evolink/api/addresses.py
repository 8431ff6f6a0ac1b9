"""
What an address is: a link EvoLink can fetch, a callback it can reach, a public host, this machine.

Nothing is resolved or fetched here.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import unicodedata
from typing import TypeAlias
from urllib.parse import SplitResult, urlsplit

IPAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
_IPV6_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")

# Not left to ``is_global`` alone: its table differs between patch releases of Python.
_NOT_PUBLIC = tuple(
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier NAT, and Alibaba's metadata service
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's platform service
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",  # multicast, reserved, broadcast
        "2001::/23",  # Teredo and other protocol assignments
        "2001:db8::/32",
        "2002::/16",  # 6to4: carries an IPv4 address
        "3fff::/20",
    )
)
_METADATA = frozenset({"100.100.100.200", "168.63.129.16", "fd00:ec2::254"})  # Alibaba, Azure, AWS
# Names that mean something only inside a network; none of these top-level domains exists on the public internet.
_INNER_DOMAINS = frozenset({"corp", "home", "home.arpa", "internal", "intranet", "lan", "local", "localdomain"})
_INNER_DOMAINS |= {"localhost", "private", "svc"}
# Public services resolve a name with an address in it to that address: 10.0.0.1.nip.io, app-10-0-0-1.sslip.io
_ADDRESS_IN_NAME = re.compile(r"(?<![0-9])(?=((?:[0-9]{1,3}[.-]){3}[0-9]{1,3})(?![0-9]))")
# They also read 0a000001 and fe80--1, which would be ordinary labels elsewhere.
_READS_ADDRESSES = re.compile(r"\.(?:nip|sslip|xip)\.io$")
_HEX_IN_LABEL = re.compile(r"(?<![0-9a-z])[0-9a-f]{8}(?![0-9a-z])")
_UNSAFE = re.compile(r"[\s\x00-\x1f\x7f\\]")
_BASE64 = re.compile(r"[A-Za-z0-9+/=_-]{200,}")
_WEB = re.compile(r"https?://", re.IGNORECASE)
# A JPEG in base64 begins as a path would: /9j/
_ELSEWHERE = re.compile(r"(?!https?://)[a-z][a-z0-9+.-]*://\S|/(?!9j/)[^/\s]", re.IGNORECASE)


def is_local_file(value: object) -> bool:
    """
    Return whether a value is a file that has to be uploaded (``s3://``, ``file://``, an absolute path).

    :param value: The value of a field that takes a link to media.
    """
    return isinstance(value, str) and _ELSEWHERE.match(value) is not None


def is_web_link(text: str) -> bool:
    """
    Return whether a text starts like a link to the web.

    :param text: Any text.
    """
    return _WEB.match(text) is not None


def link_fault(text: str) -> str | None:
    """
    Describe what is wrong with a media link; ``None`` for a usable one.

    EvoLink fetches media itself, so only http(s) links without a login work. Private addresses pass: the local
    emulator uses them.

    :param text: The link.
    """
    fault, _ = _parse(text, ("http", "https"), "must be an http or https link")
    return fault


def media_fault(text: str) -> str | None:
    """
    Describe what is wrong in a media field that takes inline data and EvoLink's ids as well as links.

    :param text: The value of the field.
    """
    if is_local_file(text) or not text.strip():
        return "must be a link, inline data or an id, not a file that EvoLink cannot fetch"
    return link_fault(text) if is_web_link(text) else None


def callback_fault(text: str) -> str | None:
    """
    Describe what is wrong with a callback address; ``None`` for a usable one.

    EvoLink calls back over HTTPS only and never to internal addresses (its text-to-video page). Host names are not
    resolved here.

    :param text: The value of ``callback_url``.
    """
    fault, parts = _parse(text, ("https",), "must be an https link")
    if fault or parts is None:
        return fault
    return None if _is_public_host(parts.hostname or "") else "must lead to a public address"


def _parse(text: str, schemes: tuple[str, ...], wanted: str) -> tuple[str | None, SplitResult | None]:
    if not text.strip():
        return f"must not be empty, {wanted}", None
    if text[:5].lower() == "data:" or _BASE64.fullmatch(text):
        return "inline data is refused, upload the file and give its link", None
    if _UNSAFE.search(text):
        return f"{wanted} without blanks, line breaks or backslashes", None
    parts = _split(text)
    if parts is None or parts.scheme not in schemes or not parts.hostname:
        return wanted, None
    return (f"{wanted} without user name or password", None) if "@" in parts.netloc else (None, parts)


def _split(text: str) -> SplitResult | None:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return None
    return None if port == 0 else parts


def _is_public_host(host: str) -> bool:
    name = unicodedata.normalize("NFKC", host).rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return False
    address = literal_address(name) or _old_style_address(name)
    return address is None or is_public_address(str(address))


def _old_style_address(name: str) -> ipaddress.IPv4Address | None:
    # Resolvers read 127.1, 0x7f000001 and 2130706433 as 127.0.0.1, and inet_aton does so without a lookup.
    try:
        return ipaddress.IPv4Address(socket.inet_aton(name))
    except (OSError, UnicodeError):
        return None


def is_local_host(host: str | None) -> bool:
    """
    Return whether the host of an API base URL is this machine, where the emulator runs.

    Only here ``localhost`` counts: the user has written it. In a link to download it is a name like any other, which
    has to be resolved and its addresses checked.

    :param host: Host part of a base URL.
    """
    return host is not None and (host == "localhost" or is_loopback_address(host))


def is_loopback_address(address: str) -> bool:
    """Return whether an IP address is this machine."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(ip in network for network in _LOOPBACK)


def is_inner_name(name: str) -> bool:
    """
    Return whether a host name itself shows that it leads inside: all that can be known where a proxy resolves it.

    :param name: A host name in lower case; an IP address is none.
    """
    host = name.rstrip(".")
    if literal_address(host) is not None:
        return False
    labels = host.split(".")
    inside = any(".".join(labels[-count:]) in _INNER_DOMAINS for count in (1, 2))
    return len(labels) == 1 or inside or any(map(_is_inner_spelling, _addresses_in(host, labels)))


def _addresses_in(host: str, labels: list[str]) -> list[str]:
    """Return what a service that reads addresses out of names may find in this one."""
    found = [text.replace("-", ".") for text in _ADDRESS_IN_NAME.findall(host)]
    if _READS_ADDRESSES.search(host):
        found += [str(ipaddress.IPv4Address(int(text, 16))) for text in _HEX_IN_LABEL.findall(host)]
        found += [label.replace("-", ":") for label in labels]
    return found


def _is_inner_spelling(text: str) -> bool:
    address = literal_address(text)
    return address is not None and not is_public_address(str(address))


def is_machine_address(address: str) -> bool:
    """
    Return whether an IP address can be that of a server: of this machine, of our network, or public.

    Link-local addresses are not: there, clouds have their metadata services.

    :param address: An address.
    """
    ip = literal_address(address)
    return ip is not None and not any(map(_is_no_server, _with_carried(ip)))


def _is_no_server(ip: IPAddress) -> bool:
    return ip.is_link_local or ip.is_multicast or ip.is_unspecified or str(ip) in _METADATA


def is_public_address(address: str) -> bool:
    """Return whether an IP address is on the public internet, also when it carries another one inside."""
    ip = literal_address(address)
    return ip is not None and all(map(_is_public, _with_carried(ip)))


def _is_public(ip: IPAddress) -> bool:
    if any(ip in network for network in _NOT_PUBLIC):
        return False
    return ip.is_global and (ip.version == 4 or ip in _IPV6_UNICAST)


def _with_carried(ip: IPAddress) -> tuple[IPAddress, ...]:
    """Return an address with the IPv4 address that it carries; without itself where it only stands for that one."""
    if ip.version == 4:
        return (ip,)
    carried = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    if ip in _NAT64 or ip.ipv4_mapped:
        return (carried,)
    is_isatap = (int(ip) >> 32) & 0xFDFFFFFF == 0x5EFE
    return (ip, carried) if is_isatap else (ip,)


def literal_address(host: str) -> IPAddress | None:
    """Return the IP address that a host is written as, or ``None`` for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def compared_host(host: str) -> str:
    """
    Return a host as lists of hosts are compared: an address in its short form, and a name as it is.

    :param host: In lower case, without brackets.
    """
    return str(literal_address(host) or host)
