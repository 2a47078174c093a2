import re

import pytest

from loom_nb.network.addresses import why_not_named, why_not_public

REFUSED = re.findall(
    r"\S+",
    """
    0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.100.100.200 100.127.255.255 127.0.0.1
    127.255.255.254 168.63.129.16 169.254.0.1 169.254.169.254 169.254.170.2 172.16.0.1 172.31.255.255
    192.0.0.1 192.0.0.192 192.0.2.1 192.88.99.1 192.168.0.1 192.168.255.255 198.18.0.1 198.19.255.255
    198.51.100.1 203.0.113.9 224.0.0.1 239.255.255.250 240.0.0.1 255.255.255.255 :: ::1 ::127.0.0.1
    ::8.8.8.8 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::ffff:100.64.0.1
    ::ffff:192.0.0.192 ::ffff:0:127.0.0.1 64:ff9b::127.0.0.1 64:ff9b::10.0.0.1 64:ff9b::a9fe:a9fe
    64:ff9b:1::1 100::1 2001::1 2001:0:7f00:1:: 2001:2::1 2001:10::1 2001:20::1 2001:db8::1
    2002:7f00:1:: 2002:a00:1::1 2002:a9fe:a9fe:: 2002:808:808:: 3fff::1 5f00::1 fc00::1 fd00:ec2::254
    fdff::1 fe80::1 fe80::1%eth0 febf::1 fec0::1 feff::1 ff02::1 ff0e::1 4000::1 e000::1 localhost
    example.org 1.2.3 1.2.3.4.5 0x7f000001 2130706433
    """,
)

PUBLIC = re.findall(
    r"\S+",
    """
    1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.1 100.63.255.255 100.128.0.1 126.255.255.255 128.0.0.1
    169.253.255.255 172.15.255.255 172.32.0.1 192.0.1.1 192.167.255.255 192.169.0.1 198.17.255.255
    198.20.0.1 223.255.255.255 ::ffff:8.8.8.8 64:ff9b::8.8.8.8 2001:4860:4860::8888 2606:4700:4700::1111
    2a00:1450:4001:80f::200e 2003::1 2400:cb00::1
    """,
)


@pytest.mark.parametrize("address", REFUSED)
def test_addresses_that_are_not_public_are_refused_with_a_reason(address):
    assert why_not_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_not_refused(address):
    assert why_not_public(address) == ""


NOT_NAMED = re.findall(
    r"\S+",
    """
    localhost a.localhost localhost.localdomain metadata.google.internal printer.local router nas.lan 127.1
    0x7f000001 0x7f.0.0.0x1 0177.0.0.1 2130706433 256.1.1.1 1.2.3 1.2.3.4.5 127.0.0.-1 0x 10.0.0.1 ::1
    fe80::1%lo ::ffff:8.8.8.8 64:ff9b::8.8.8.8 a..b .a %31.org a*b.org exa$mple.org 1::2::3 [::1]
    """,
)


@pytest.mark.parametrize("host", [*NOT_NAMED, "", "a" * 64 + ".org", ".".join(["a" * 60] * 5)])
def test_hosts_that_are_refused_by_their_spelling(host):
    assert why_not_named(host)


NAMED = re.findall(
    r"\S+",
    """
    example.org xn--bcher-kva.example my_bucket.s3.test 9gag.com 0x0.st 127.0.0.1.example.org 8.8.8.8
    2606:4700:4700::1111 localhost.example.org a-b.c-d.org 1e100.net
    """,
)


@pytest.mark.parametrize("host", NAMED)
def test_hosts_of_which_only_the_addresses_decide(host):
    assert why_not_named(host) == ""
