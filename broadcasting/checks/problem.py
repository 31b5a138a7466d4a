"""What a check yields."""

from collections.abc import Callable, Iterator

from django.core.checks import CheckMessage, Error, Info, Warning

# A check takes nothing and yields problems.
Check = Callable[[], Iterator[CheckMessage]]

_CLASSES = {"E": Error, "W": Warning, "I": Info}


def problem(id: str, text: str, hint: str, obj: object = None) -> CheckMessage:
    """
    Return a message for `manage.py check`.

    The letter of `id` says how serious it is. The hint ends with the section of the documents.
    """
    letter = id.removeprefix("broadcasting.")[0]
    section = id.replace(".", "").lower()
    return _CLASSES[letter](text, hint=f"{hint} See docs/checks.md#{section}", obj=obj, id=id)
