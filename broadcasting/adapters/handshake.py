"""What a client's opening request says and whether it may stay, whichever server read it."""

from collections.abc import Callable
from urllib.parse import parse_qs

from ..conf import get_settings
from ..server.admission import get_admission
from ..server.hubs import get_hub

_REFUSALS = {
    "address": "Too many connections from one address",
    "process": "Too many connections",
}


def protocol_version(query: str) -> str | None:
    """Return the ``protocol`` parameter of the query string, `None` if it is absent."""
    return parse_qs(query, keep_blank_values=True).get("protocol", [None])[0]


def is_secure(scheme: str | None, header: Callable[[str], str]) -> bool:
    """
    Tell whether the client's connection is encrypted, at the latest up to a trusted proxy.

    Args:
        scheme: ``wss`` or ``ws``, as the server sees it; `None` if it does not say.
        header: Returns the value of the header of a name in lower case, empty if absent.
    """
    proxy_header = get_settings().proxy_header
    if proxy_header is None:
        return scheme == "wss"
    name, expected = proxy_header
    # Of a list that several proxies wrote, the first is the client's, as in Django.
    value, *_ = header(name).split(",")
    return value.strip() == expected


def refusal(address: str | None) -> str | None:
    """
    Return why a client at `address` cannot stay, `None` if it can.

    Whoever may stay is to be released from the `Admission` when it has gone.
    """
    reason = get_admission().admit(address)
    if reason is None:
        return None
    get_hub().stats.refused[reason] += 1
    return _REFUSALS[reason]
