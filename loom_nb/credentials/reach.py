"""Where a request with a secret goes: what judges its addresses, and the use of the secret that it is."""

import msgspec

from loom_nb.credentials.places import NoPlace, canonical_host, place, split_port
from loom_nb.credentials.policies import Binding
from loom_nb.credentials.uses import Use
from loom_nb.errors import CredentialDenied
from loom_nb.network.fetch import Guard, Request


def guard_of(binding: Binding) -> Guard:
    """What judges addresses: hosts that a binding names need not be public, if it names them one by one."""
    pairs = set()
    for host in binding.hosts:
        name, port = split_port(host)
        if not name.startswith("*"):
            ports = (port,) if port else (443, 80) if binding.plain else (443,)
            pairs |= {(canonical_host(name), one) for one in ports}
    return Guard("http", "exchange", frozenset(pairs))


def used_for(use: Use, hop: Request) -> Use:
    """A use with the place where its request goes, whatever was said of it before.

    Raises:
        CredentialDenied: the address is not one that everybody reads alike.
    """
    try:
        to = place(str(hop.target))
    except NoPlace as problem:
        raise CredentialDenied(f"{use.scope} does not go there", cause=str(problem)) from None
    if (to.scheme, to.host, to.port) != hop.target.origin:
        raise CredentialDenied(f"{use.scope} does not go there", cause="its host can be read in two ways")
    return msgspec.structs.replace(
        use, method=hop.method, scheme=to.scheme, host=to.host, port=to.port, path=to.path
    )
