"""
Links that lead inside, by generation: every spelling of every kind of address that is not public.

Prints a count for each kind, of those that are refused when called directly and of those through a proxy:

    python tests/api/hostile_table.py
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

PUBLIC = "93.184.216.34"
PUBLIC_6 = "2606:4700::1111"
IPV4 = (
    *("0.0.0.0", "10.0.0.1", "10.255.255.254", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254"),
    *("168.63.129.16", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.168.1.1"),
    *("198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
)
IPV6 = (
    *("::", "::1", "100::1", "2001::1", "2001:db8::1", "3fff::1", "fc00::1", "fd00:ec2::254", "fe80::1"),
    *("fec0::1", "ff02::1", "5f00::1", "64:ff9b:1::1"),
)
NAMES = (
    *("localhost", "a.localhost", "metadata", "router.lan", "nas.home.arpa", "printer.local", "db.internal"),
    *(
        "metadata.google.internal",
        "kubernetes.default.svc",
        "wiki.corp",
        "intranet",
        "host.localdomain",
        "vault.private",
    ),
)
WIDE = str.maketrans("0123456789abcdef.", "\uff10\uff11\uff12\uff13\uff14\uff15\uff16\uff17\uff18\uff19abcdef\uff0e")
CIRCLED = str.maketrans("0123456789", "\u24ea\u2460\u2461\u2462\u2463\u2464\u2465\u2466\u2467\u2468")


class Hostile(NamedTuple):
    """
    A link that leads inside.

    :param kind: Of what it does.
    :param link: The link.
    :param resolves_to: What DNS says of its host, where it is a name.
    :param by_name: Whether the link itself shows it; else DNS alone can tell.
    """

    kind: str
    link: str
    resolves_to: tuple[str, ...] = (PUBLIC,)
    by_name: bool = True


def parts(address: str) -> list[int]:
    """Return the four bytes."""
    return [int(part) for part in address.split(".")]


def number(address: str) -> int:
    """Return the whole address."""
    return int(ipaddress.IPv4Address(address))


def pair(address: str) -> str:
    """Return it as the end of an IPv6 address."""
    value = number(address)
    return f"{value >> 16:x}:{value & 0xFFFF:x}"


def short(address: str, count: int) -> str:
    """Return it with so many parts, the last of which takes the rest."""
    head, rest = parts(address)[: count - 1], number(address) & ((1 << (8 * (5 - count))) - 1)
    return ".".join(map(str, [*head, rest]))


def inverted(address: str) -> str:
    """Return it as Teredo writes it."""
    value = number(address) ^ 0xFFFFFFFF
    return f"{value >> 16:x}:{value & 0xFFFF:x}"


SPELLINGS: dict[str, Callable[[str], str]] = {
    "dotted": str,
    "trailing dot": lambda address: f"{address}.",
    "decimal": lambda address: str(number(address)),
    "hexadecimal": lambda address: hex(number(address)),
    "hexadecimal, capital": lambda address: f"0X{number(address):08X}",
    "octal": lambda address: f"0{number(address):o}",
    "parts in octal": lambda address: ".".join(f"0{part:o}" for part in parts(address)),
    "parts in hexadecimal": lambda address: ".".join(map(hex, parts(address))),
    "mixed parts": lambda address: f"{parts(address)[0]:#x}.{short(address, 4).split('.', 1)[1]}",
    "leading zeros": lambda address: ".".join(f"{part:03d}" for part in parts(address)),
    "three parts": lambda address: short(address, 3),
    "two parts": lambda address: short(address, 2),
    "full-width digits": lambda address: address.translate(WIDE),
    "circled digits": lambda address: address.translate(CIRCLED),
    "ideographic dots": lambda address: address.replace(".", "\u3002"),
    "percent-encoded": lambda address: "".join(f"%{ord(sign):02x}" for sign in address),
    "IPv4-mapped": lambda address: f"[::ffff:{address}]",
    "IPv4-mapped, hexadecimal": lambda address: f"[0:0:0:0:0:FFFF:{pair(address)}]",
    "IPv4-mapped with a zone": lambda address: f"[::ffff:{address}%25eth0]",
    "IPv4-compatible": lambda address: f"[::{address}]",
    "IPv4-translated": lambda address: f"[::ffff:0:{address}]",
    "NAT64": lambda address: f"[64:ff9b::{pair(address)}]",
    "NAT64, local": lambda address: f"[64:ff9b:1::{pair(address)}]",
    "6to4": lambda address: f"[2002:{pair(address)}::1]",
    "Teredo": lambda address: f"[2001:0:4136:e378:8000:63bf:{inverted(address)}]",
    "ISATAP": lambda address: f"[2606:4700::5efe:{pair(address)}]",
    "ISATAP, universal": lambda address: f"[fe80::200:5efe:{pair(address)}]",
    "6to4, ISATAP": lambda address: f"[2002:{pair(address)}::5efe:808:808]",
    "another port": lambda address: f"{address}:8080",
    "a login": lambda address: f"93.184.216.34@{address}",
    "a login that looks like the host": lambda address: f"cdn.example%2f@{address}",
    "a backslash": lambda address: f"cdn.example\\@{address}",
    "name that holds it": lambda address: f"{address}.nip.io",
    "name that holds it, dashes": lambda address: f"app-{address.replace('.', '-')}.sslip.io",
    "name that holds it, hexadecimal": lambda address: f"{number(address):08x}.nip.io",
}


def spelled() -> Iterator[Hostile]:
    """Yield every spelling of every address that is not public."""
    for kind, spell in SPELLINGS.items():
        for address in IPV4:
            yield Hostile(kind, f"https://{spell(address)}/x", (address,))
    for address in IPV6:
        yield Hostile("IPv6", f"https://[{address}]/x")
        yield Hostile("IPv6 with a zone", f"https://[{address}%25eth0]/x")
        yield Hostile("IPv6, unfolded", f"https://[{ipaddress.IPv6Address(address).exploded.upper()}]/x")
        dashed = address.replace(":", "-")
        yield Hostile("name that holds it, IPv6", f"https://{dashed}.sslip.io/x", (address,))
    for name in NAMES:
        for host in (name, f"{name}.", name.upper()):
            yield Hostile("inner name", f"https://{host}/x", ("10.0.0.1",))
        yield Hostile("plain HTTP", f"http://{name}/x", ("10.0.0.1",))


def rebound() -> Iterator[Hostile]:
    """Yield ordinary names of which DNS alone tells where they lead."""
    for address in (*IPV4, *IPV6):
        for kind, found in (
            ("name of an inner address", (address,)),
            ("name of a public and an inner address", (PUBLIC, address)),
            ("name of an inner and a public address", (address, PUBLIC_6)),
        ):
            yield Hostile(kind, "https://cdn.example/x", found, by_name=False)
    for name in ("localtest.me", "lvh.me", "vcap.me"):
        yield Hostile("public name of loopback", f"https://{name}/x", ("127.0.0.1",), by_name=False)


TABLE = tuple({(row.link, row.resolves_to): row for row in (*spelled(), *rebound())}.values())


def main() -> None:
    """Print how many of each kind are refused."""
    from airflow_provider_evolink.api.errors import EvoLinkLinkRefused
    from airflow_provider_evolink.api.files import hosts
    from airflow_provider_evolink.api.network import NetworkPolicy

    ways = {"directly": NetworkPolicy(), "by proxy": NetworkPolicy(https_proxy="http://proxy.example:3128")}
    counts: dict[str, Counter[str]] = {way: Counter() for way in ("all", *ways)}
    for row in TABLE:
        counts["all"][row.kind] += 1
        for way, network in ways.items():
            connector = hosts.Connector(network=network, resolver=lambda *_, row=row: row.resolves_to)
            try:
                connector.locate(hosts.read_link(row.link))
            except EvoLinkLinkRefused:
                counts[way][row.kind] += 1
    for kind, count in counts["all"].items():
        only = " (DNS alone tells: the proxy's to refuse)" if not counts["by proxy"][kind] else ""
        print(f"{kind:40} {count:4}  " + "  ".join(f"{way} {counts[way][kind]:4}" for way in ways) + only)
    print(f"{'all':40} {len(TABLE):4}  " + "  ".join(f"{way} {counts[way].total():4}" for way in ways))


if __name__ == "__main__":
    main()
