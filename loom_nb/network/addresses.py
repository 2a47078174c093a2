"""Which internet addresses and names are public: one table, for every request that leaves this machine.

The standard library's `is_global` is not enough: it calls public what leads to metadata services
(192.0.0.192), to relays (2002::/16, 64:ff9b::/96) or to the local site (fec0::/10).
"""

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

_FOUR: tuple[tuple[IPv4Network, str], ...] = tuple(
    (IPv4Network(network), reason)
    for network, reason in (
        ("0.0.0.0/8", "this machine"),
        ("10.0.0.0/8", "a private network"),
        ("100.64.0.0/10", "a carrier's or cloud's inner network"),
        ("127.0.0.0/8", "this machine"),
        ("168.63.129.16/32", "a cloud's inner service"),
        ("169.254.0.0/16", "link-local, where clouds keep their metadata"),
        ("172.16.0.0/12", "a private network"),
        ("192.0.0.0/24", "reserved for protocols"),
        ("192.0.2.0/24", "reserved for documents"),
        ("192.88.99.0/24", "a 6to4 relay"),
        ("192.168.0.0/16", "a private network"),
        ("198.18.0.0/15", "reserved for benchmarks"),
        ("198.51.100.0/24", "reserved for documents"),
        ("203.0.113.0/24", "reserved for documents"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
    )
)
_SIX: tuple[tuple[IPv6Network, str], ...] = tuple(
    (IPv6Network(network), reason)
    for network, reason in (
        ("::/128", "this machine"),
        ("::1/128", "this machine"),
        ("::/96", "an IPv4 address in a form that is no longer used"),
        ("64:ff9b:1::/48", "a local translation network"),
        ("100::/64", "reserved for discarding"),
        ("2001::/32", "a Teredo tunnel"),
        ("2001::/23", "reserved for protocols"),
        ("2001:db8::/32", "reserved for documents"),
        ("2002::/16", "a 6to4 tunnel"),
        ("3fff::/20", "reserved for documents"),
        ("fc00::/7", "a private network"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "a private network of the old kind"),
        ("ff00::/8", "multicast"),
    )
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_TRANSLATED = IPv6Network("64:ff9b::/96")

_OWN_NAMES = frozenset({"localhost", "localhost4", "localhost6", "ip6-localhost", "ip6-loopback", "loopback"})
_METADATA = frozenset({"metadata.google.internal", "metadata.goog", "instance-data.ec2.internal"})
_LOCAL_ENDS = (
    *(".local", ".localdomain", ".internal", ".intranet", ".lan", ".corp", ".home", ".home.arpa", ".private"),
    *(".in-addr.arpa", ".ip6.arpa", ".svc"),
)
_LABEL = re.compile(r"[a-z0-9_-]{1,63}")
_NUMBER = re.compile(r"[0-9_-]+|0x[0-9a-f]*")
"""What ends no name: the last part of an address, in any of its spellings."""


def why_not_public(address: str) -> str:
    """Why an address must not be reached, in a few words; empty for a public one.

    An IPv4 address inside an IPv6 one is judged as itself where the form is in use (mapped, NAT64);
    the other such forms are refused whole. What is not an address is refused.
    """
    try:
        ip = ip_address(address)
    except ValueError:
        return "not an address"
    if isinstance(ip, IPv4Address):
        return _four(ip)
    if ip.ipv4_mapped is not None:
        return _four(ip.ipv4_mapped)
    plain = IPv6Address(int(ip))  # without a scope such as %eth0
    if plain in _TRANSLATED:
        return _four(IPv4Address(int(plain) & 0xFFFFFFFF))
    reason = next((reason for network, reason in _SIX if plain in network), "")
    return reason or ("" if plain in _GLOBAL_UNICAST else "not in public use")


def _four(ip: IPv4Address) -> str:
    return next((reason for network, reason in _FOUR if ip in network), "")


def why_not_named(host: str) -> str:
    """Why a host must not be asked for, told by its spelling alone; empty where only its addresses decide.

    Args:
        host: ASCII, lower case, without brackets and without a dot at the end.

    An address is taken in one spelling only: another one is read differently by different programs.
    """
    if ":" in host:
        return _six_named(host)
    labels = host.split(".")
    if len(host) > 253 or not all(map(_LABEL.fullmatch, labels)):
        return "not a host name"
    if _NUMBER.fullmatch(labels[-1]):
        try:
            return _four(IPv4Address(host))
        except ValueError:
            return "an address in an odd spelling"
    if host in _OWN_NAMES or host.endswith((".localhost", ".localhost.localdomain")):
        return "this machine"
    if host in _METADATA:
        return "a cloud's metadata service"
    if len(labels) == 1 or host.endswith(_LOCAL_ENDS):
        return "a name of the local network"
    return ""


def _six_named(host: str) -> str:
    if "%" in host:
        return "an address with a zone"
    try:
        ip = IPv6Address(host)
    except ValueError:
        return "not an address"
    reason = why_not_public(host)
    if not reason and (ip.ipv4_mapped is not None or ip in _TRANSLATED):
        return "an IPv4 address in an odd spelling"
    return reason
