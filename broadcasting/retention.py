"""What a bus keeps of a channel's events for those who come later. Nothing, by default."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Retention:
    """
    How much is kept of one channel.

    Attributes:
        size: Events.
        ttl: Seconds after the last event.
    """

    size: int
    ttl: float


@dataclass(frozen=True, slots=True)
class Retentions:
    """
    How much is kept of each channel. Both ends of a connection must know the same.

    Attributes:
        rules: For each application's id: a channel's full name, or the beginning of names
            and a ``*``, and what is kept of these; `None` is nothing.
    """

    rules: Mapping[str, Mapping[str, Retention | None]] = field(default_factory=dict)

    def of(self, topic: str) -> Retention | None:
        """Return how much is kept of `topic`: the longest rule that fits counts."""
        app_id, _, channel = topic.partition(":")
        rules = self.rules.get(app_id, {})
        fitting = [
            name
            for name in rules
            if name == channel or (name.endswith("*") and channel.startswith(name[:-1]))
        ]
        # A full name ends in no `*`, and fits best.
        return rules[max(fitting, key=lambda n: (not n.endswith("*"), len(n)))] if fitting else None
