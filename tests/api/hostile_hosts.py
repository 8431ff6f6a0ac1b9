"""Links and addresses that a download must refuse. Loaded by path: tests are no package."""

from __future__ import annotations

import ssl

from airflow_provider_evolink.api.files import hosts

TLS = ssl.create_default_context()  # once: it takes longer than any of these tests
PUBLIC = "93.184.216.34"

NOT_PUBLIC = [
    "0.0.0.0",
    "10.0.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::a00:1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::a00:1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:a00:1::1",
    "3fff::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "not an address",
]

REFUSED_LINKS = [
    "",
    "clip.mp4",
    "//cdn.example/x",
    "http://cdn.example/x",
    "file:///etc/passwd",
    "ftp://cdn.example/x",
    "gopher://cdn.example/x",
    "https:///x",
    "https://user:word@cdn.example/x",
    "https://user@cdn.example/x",
    "https://cdn.example%2f@internal/x",
    "https://cdn.example\\@internal/x",
    "https://cdn.example:22/x",
    "https://cdn.example:80/x",
    "https://cdn.example:8443/x",
    "https://cdn.example:99999/x",
    "https://cdn.example:0/x",
    "https://cdn example/x",
    "https://cdn.example\n/x",
    "https://cdn.example/\r\nX: y",
    "https://2130706433/x",
    "https://0x7f.1/x",
    "https://0x7f000001/x",
    "https://0/x",
    "https://127.1/x",
    "https://010.0.0.1/x",
    "https://10.0.0.1./x",
    "https://1.2.3.4.5/x",
    "https://0x/x",
    "https://①②⑦.0.0.1/x",
    "https://10.0.0.1/x",
    "https://[::1]/x",
    "https://[::ffff:10.0.0.1]/x",
    "https://[64:ff9b::a00:1]/x",
    "https://[fe80::1%25eth0]/x",
    "https://169.254.169.254/latest/meta-data",
]


def connector(found, **options):
    asked = []

    def resolve(host, port):
        asked.append((host, port))
        return found

    made = hosts.Connector(resolver=resolve, tls=TLS, **options)
    made.asked = asked
    return made
