"""Presence within a process, against a simple model of it."""

import json
from collections.abc import Coroutine
from threading import RLock
from typing import Any, TypeVar, cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from broadcasting.drivers.base import NOTIFY_GRACE
from broadcasting.drivers.presence import LocalPresence, PresenceStore
from broadcasting.exceptions import PublisherBusy
from broadcasting.protocol.members import Member
from broadcasting.protocol.messages import MEMBER_ADDED, Message
from tests.drivers.contract import Inbox
from tests.drivers.presence_model import (
    LIMIT,
    TOPICS,
    USERS,
    Model,
    changes_of_each,
    in_order_of_each,
)
from tests.utils import FakeClock

T = TypeVar("T")
nodes, topics, users = st.integers(0, 2), st.sampled_from(TOPICS), st.sampled_from(USERS)


def done(step: Coroutine[Any, Any, T]) -> T:
    """Return what `step` returns, which waits for nothing."""
    try:
        step.send(None)
    except StopIteration as end:
        return cast(T, end.value)
    raise AssertionError("It waits.")


class StoreAndModel(RuleBasedStateMachine):
    """Whatever is done to both, they agree."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.published: list[Message] = []
        self.store = PresenceStore(self.published.append, RLock(), self.clock)
        self.inbox = Inbox()
        self.views = [LocalPresence(self.store) for _ in range(3)]
        for view in self.views:
            view.connect(self.inbox)
        self.model = Model(NOTIFY_GRACE)
        self.number = 0

    @rule(node=nodes, topic=topics, user_id=users)
    def join(self, node: int, topic: str, user_id: str) -> None:
        """A new entry."""
        self.number += 1
        entry, info = f"e{self.number}", str(self.number)
        member = Member(user_id, info)
        view = self.views[node]
        members = done(view.join(topic, entry, member, socket_id="1.1", limit=LIMIT))
        expected = self.model.join(node, topic, entry, user_id, info, LIMIT)
        assert (None if members is None else dict(members.infos)) == expected

    @precondition(lambda self: self.model.entries)
    @rule(data=st.data(), grace=st.sampled_from([0.0, 5.0]))
    def leave(self, data: st.DataObject, grace: float) -> None:
        """An entry that is in."""
        topic, entry = data.draw(st.sampled_from(sorted(self.model.entries)))
        done(self.views[0].leave(topic, entry, grace=grace))
        self.model.leave(topic, entry, grace)

    @rule(topic=topics, number=st.integers(0, 50))
    def leave_late(self, topic: str, number: int) -> None:
        """An entry that is not."""
        entry = f"e{number}"
        if (topic, entry) not in self.model.entries:
            done(self.views[0].leave(topic, entry))

    @rule(node=nodes, topic=topics, number=st.integers(0, 2))
    def count(self, node: int, topic: str, number: int) -> None:
        """Sockets of a node."""
        totals = done(self.views[node].count({topic: number}))
        assert totals == {topic: self.model.count(node, topic, number)}

    @rule(seconds=st.sampled_from([0.5, 2.0, 4.0]))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.clock.advance(seconds)
        self.model.now += seconds

    @rule()
    def expire(self) -> None:
        """What is due happens."""
        done(self.views[0].expire())
        self.model.expire()

    @rule(node=nodes)
    def die(self, node: int) -> None:
        """A node ends."""
        self.store.forget(self.views[node])
        self.model.die(node)

    @invariant()
    def agree(self) -> None:
        """On members, sockets, messages and reports."""
        for topic in TOPICS:
            assert dict(done(self.views[0].members(topic)).infos) == self.model.infos(topic)
        assert done(self.views[0].sizes(TOPICS)) == {
            topic: self.model.sizes(topic) for topic in TOPICS
        }
        told = [
            ("+" if m.event == MEMBER_ADDED else "-", m.topic, json.loads(m.data)["user_id"])
            for m in self.published
        ]
        assert in_order_of_each(told) == in_order_of_each(self.model.messages)
        assert changes_of_each(self.inbox.changes) == changes_of_each(self.model.changes)

    def teardown(self) -> None:
        """When all have left, nothing is kept."""
        for view in self.views:
            self.store.forget(view)
        for _ in range(2):
            self.clock.advance(100)
            done(self.views[0].expire())
        store = self.store
        kept = [store.users, store.entries, store.graces, store.gone, store.counts]
        assert kept == [{}] * 5


TestStore = StoreAndModel.TestCase
TestStore.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)


def test_a_loop_that_is_behind_does_not_stop_a_change(caplog: pytest.LogCaptureFixture) -> None:
    """Its message is lost, with a warning; the change is made in full."""

    def publish(message: Message) -> None:
        raise PublisherBusy("too many messages wait")

    view = LocalPresence(PresenceStore(publish, RLock()))
    topic = "1:presence-a"
    members = done(view.join(topic, "e1", Member("7"), socket_id="1.1", limit=9))
    assert members is not None
    assert members.infos == {"7": "null"}
    done(view.leave(topic, "e1"))
    assert done(view.sizes([topic])) == {topic: (0, 0)}
    assert caplog.text.count("too many messages wait") == 2
