"""Text of others on a terminal."""

import json

import pytest

from broadcasting.management.terminal import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2Jgone", r"\u001b[2Jgone"),
        ("\x9b31m", r"\u009b31m"),
        ("one\r\ntwo\u2028", r"one\u000d\u000atwo\u2028"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\ud800", r"\ud800"),
        ("가나 é 👩\u200d🚀", "가나 é 👩\u200d🚀"),
        (7, "7"),
    ],
)
def test_what_acts_is_shown_instead(text: object, shown: str) -> None:
    """Letters of every script stay as they are."""
    assert printable(text) == shown


def test_json_means_the_same() -> None:
    data = {"a\x7f": "\x1b\x85\u202e\ud800\n가"}
    assert json.loads(printable(json.dumps(data, ensure_ascii=False))) == data
