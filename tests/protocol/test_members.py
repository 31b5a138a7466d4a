"""What an application says about members and users."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcasting.protocol.errors import Unauthorized, UserInfoTooLarge
from broadcasting.protocol.members import Member, User, parse_member, parse_user
from broadcasting.protocol.messages import decode

ANY_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children),
    max_leaves=6,
)


def test_information_is_kept_as_compact_json() -> None:
    member = parse_member('{"user_id": "1", "user_info": {"b": 1, "a": "\\u017c"}}', 100)
    assert member == Member("1", '{"b":1,"a":"ż"}')


@pytest.mark.parametrize(
    ("value", "user_id"),
    [
        *((f'"{text}"', text) for text in ("__proto__", "constructor", "0", "ż", "x" * 128)),
        *((text, text) for text in ("0", "-1", "10", "1.5", "1" * 30)),
    ],
)
def test_any_id_is_its_text(value: str, user_id: str) -> None:
    """0 included, which Reverb takes for a missing id. No information is null."""
    assert parse_member(f'{{"user_id":{value}}}', 100) == Member(user_id, "null")
    assert parse_member(f'{{"user_id":{value},"user_info":null}}', 100) == Member(user_id)


@given(info=ANY_JSON)
def test_any_information_survives(info: object) -> None:
    member = parse_member(json.dumps({"user_id": "1", "user_info": info}), 100_000)
    assert decode(member.info) == info


@given(text=st.text() | ANY_JSON.map(json.dumps))
def test_anything_else_is_refused_and_nothing_raises_otherwise(text: str) -> None:
    for parse in (parse_member, parse_user):
        with suppress(Unauthorized, UserInfoTooLarge):
            parse(text, 100)


@pytest.mark.parametrize("count", [0, 100, 101])
def test_a_user_may_watch_a_hundred_others(count: int) -> None:
    ids = [str(number) for number in range(count)]
    text = json.dumps({"id": "a@b", "user_info": [], "watchlist": ids})
    expected = User("a@b", "[]", tuple(ids[:100]), is_cut=count > 100)
    assert parse_user(text, 100) == expected
    assert parse_user('{"id":"a@b"}', 100) == User("a@b")
