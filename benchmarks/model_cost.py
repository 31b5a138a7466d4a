"""
What `BroadcastsModelEvents` costs where rows are read and saved, beside a plain model.

``python -m benchmarks.model_cost``, some ten seconds. CPU time of this process: SQLite in
memory and a driver that does nothing, so what is left is Django and the mixin.
"""

import time
from collections.abc import Callable

import django
from django.conf import settings

settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    INSTALLED_APPS=["broadcasting"],
    BROADCASTING={"DEFAULT": "null"},
    SECRET_KEY="of a benchmark",  # noqa: S106 (it signs nothing)
    USE_TZ=True,
)
django.setup()

from django.db import connection, models  # noqa: E402

from broadcasting import BroadcastsModelEvents  # noqa: E402

ROWS = 5_000
SAVES = 500
ROUNDS = 5


class Columns(models.Model):
    name = models.CharField(max_length=20)
    count = models.IntegerField(default=0)
    price = models.DecimalField(max_digits=8, decimal_places=2, default=1)
    sold_at = models.DateTimeField(null=True)
    note = models.TextField(default="")

    class Meta:
        abstract = True
        app_label = "benchmarks"

    def __str__(self) -> str:
        return self.name


class Plain(Columns):
    class Meta:
        app_label = "benchmarks"


class Told(BroadcastsModelEvents, Columns):
    broadcast_fields = ("pk", "name", "count", "price", "sold_at")

    class Meta:
        app_label = "benchmarks"


def microseconds(call: Callable[[], object], number: int) -> float:
    """Return the CPU time of `call`, which does something `number` times, for one of them."""
    started = time.process_time()
    call()
    return (time.process_time() - started) / number * 1e6


def cost(model: type[Columns]) -> dict[str, float]:
    """Return what one of each costs, in µs."""
    row = model._default_manager.create(name="measured")

    def save_all(change: Callable[[int], object]) -> None:
        for number in range(SAVES):
            change(number)
            row.save()

    def create_all() -> None:
        for _ in range(SAVES):
            model._default_manager.create(name="made")

    def count(number: int) -> None:
        row.count += 1

    return {
        "read a row": microseconds(lambda: list(model._default_manager.all()[:ROWS]), ROWS),
        "save, nothing changed": microseconds(lambda: save_all(lambda number: None), SAVES),
        "save, and its event": microseconds(lambda: save_all(count), SAVES),
        "create, and its event": microseconds(create_all, SAVES),
    }


def main() -> None:
    """Measure both models in turn, and print the best of the rounds."""
    both: tuple[type[Columns], ...] = (Plain, Told)
    with connection.schema_editor() as editor:
        for model in both:
            editor.create_model(model)
    for model in both:
        rows = [model(name=f"row {number}") for number in range(ROWS)]
        model._default_manager.bulk_create(rows)
    rounds = [(cost(Plain), cost(Told)) for _ in range(ROUNDS)]
    print(f"{'':24}{'plain':>8}{'mixin':>8}{'ratio':>8}   µs")
    for name in rounds[0][0]:
        plain, told = (min(figures[i][name] for figures in rounds) for i in (0, 1))
        print(f"{name:24}{plain:8.1f}{told:8.1f}{told / plain:8.2f}")


if __name__ == "__main__":
    main()
