"""What things are called in Redis, and which part of the bus they belong to."""

from collections import Counter

import pytest

from broadcasting.drivers.redis.names import PARTITIONS, Layout, Names, place, slot_of


def test_names_of_two_applications_cannot_meet() -> None:
    """The first application's names are bare, others carry their id and a colon."""
    names = Names("p_", "1")
    assert names.of("1:whik") == "p_whik"
    assert names.of("12:whik") == "p_12:whik"


@pytest.mark.parametrize(
    ("channel", "two", "five"),
    [("whik", 1, 1), ("private-room.1", 0, 4), ("p_12:whik", 0, 4), ("ünal", 0, 2)],
)
def test_place_is_known_to_other_languages(channel: str, two: int, five: int) -> None:
    """A foreign process computes it by itself, so it must never change."""
    assert (place(channel, 2), place(channel, 5)) == (two, five)


def test_places_have_equal_shares() -> None:
    """Within what chance allows."""
    shares = Counter(place(f"room-{n}", 4) for n in range(4000))
    assert all(900 < shares[number] < 1100 for number in range(4))


def test_another_server_takes_only_what_it_gets() -> None:
    """What does not go to the new one stays where it was."""
    names = [f"room-{n}" for n in range(1000)]
    moved = [name for name in names if place(name, 4) != place(name, 5)]
    assert 120 < len(moved) < 280
    assert all(place(name, 5) == 4 for name in moved)


def test_servers_share_all_names() -> None:
    """On each of several servers things are called as on a single one."""
    layout = Layout("p_", "1", 3)
    assert {names.of("1:whik") for names in layout.parts} == {"p_whik"}
    assert layout.part_of("1:whik") == place("p_whik", 3)
    assert not any(names.is_sharded for names in layout.parts)


def test_all_names_of_a_partition_are_in_one_slot() -> None:
    """And each partition has its share of the slots, so that equal nodes have equal load."""
    layout = Layout("p_", "1", None)
    assert len(layout.parts) == PARTITIONS
    for number, names in enumerate(layout.parts):
        tag = names.state.partition("{")[2].partition("}")[0]
        for name in (names.of("1:{a}whik"), names.version, names.cache_of("1:b")):
            assert name.startswith("{" + tag + "}:")
        assert slot_of(tag) // (16384 // PARTITIONS) == number
        assert names.publish == "SPUBLISH"


def test_slots_are_those_of_redis() -> None:
    """The example of the cluster specification."""
    assert slot_of("123456789") == 0x31C3
