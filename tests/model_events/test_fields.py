"""What the declared names of a model stand for."""

from typing import Any

import pytest

from broadcasting.exceptions import UndeclaredModel
from broadcasting.model_events.fields import plan_if_declared, plan_made, plan_of
from tests.events.recording import heard
from tests.model_events.shop.models import Label, Person, Tag, Thing


def test_names_are_columns_relations_or_computed() -> None:
    """The other end of a foreign key is none of them."""
    plan = plan_of(Thing)
    assert plan.columns["pk"] == "id"
    assert plan.columns["owner"] == "owner_id"
    assert plan.many == ("labels",)
    assert plan.computed == ()
    assert plan_of(Tag).many == ("thing_set",)
    assert plan_of(Person).computed == ("full_name", "boss_name")


def test_what_is_computed_may_be_made_of_any_column() -> None:
    """So all of them are remembered; else the key and the declared ones."""
    assert set(plan_of(Person).tracked) == {"id", "first", "last", "age", "upper", "boss_id"}
    assert "secret" not in plan_of(Thing).tracked
    assert set(plan_of(Thing).fragile) == {"extra", "file"}


def test_plan_is_made_anew_for_other_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever connects what it says hears of that, and of nothing else."""
    before = plan_of(Thing)
    with heard(plan_made) as told:
        assert plan_of(Thing) is before
        monkeypatch.setattr(Thing, "broadcast_fields", ("pk", "tags"))
        plan = plan_of(Thing)
    assert [each["plan"] for each in told] == [plan]
    assert plan.many == ("tags",)
    monkeypatch.undo()
    assert plan_of(Thing).many == before.many


def test_model_without_a_declaration_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that are read make no error of it; what is to be sent does."""
    assert plan_if_declared(Label) is plan_of(Label)
    bare: Any = type("Bare", (), {"__module__": __name__})
    assert plan_if_declared(bare) is None
    monkeypatch.delattr(Label, "broadcast_fields")
    with pytest.raises(UndeclaredModel, match="Label"):
        plan_of(Label)
