"""What the declared names of a model stand for."""

from typing import Any

import pytest

from broadcasting.exceptions import UndeclaredModel
from broadcasting.model_events.fields import spec_if_declared, spec_of
from tests.model_events.shop.models import Label, Person, Tag, Thing


def test_names_are_columns_relations_or_computed() -> None:
    spec = spec_of(Thing)
    assert spec.columns["pk"] == "id"
    assert spec.columns["owner"] == "owner_id"
    assert spec.many == ("labels",)
    assert spec.computed == ()
    assert spec_of(Tag).many == ("thing_set",)
    assert spec_of(Person).computed == ("full_name", "boss_name")


def test_what_is_computed_may_be_made_of_any_column() -> None:
    assert set(spec_of(Person).tracked) == {"id", "first", "last", "age", "upper", "boss_id"}
    assert "secret" not in spec_of(Thing).tracked


def test_spec_is_made_anew_for_other_names(monkeypatch: pytest.MonkeyPatch) -> None:
    before = spec_of(Thing)
    assert spec_of(Thing) is before
    monkeypatch.setattr(Thing, "broadcast_fields", ("pk", "tags"))
    assert spec_of(Thing).many == ("tags",)
    monkeypatch.undo()
    assert spec_of(Thing).many == before.many


def test_model_without_a_declaration_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert spec_if_declared(Label) is spec_of(Label)
    bare: Any = type("Bare", (), {"__module__": __name__})
    assert spec_if_declared(bare) is None
    monkeypatch.delattr(Label, "broadcast_fields")
    with pytest.raises(UndeclaredModel, match="Label"):
        spec_of(Label)
