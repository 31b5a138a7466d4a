"""JSON responses: readable, and with values in the format of broadcasts."""

import json
from datetime import datetime

from django.db.models import Model
from django.http import HttpResponse


def json_answer(data: object, status: int = 200) -> HttpResponse:
    """Return `data` as indented JSON with Korean letters and a newline at the end."""
    text = json.dumps(data, indent=2, ensure_ascii=False, default=_date) + "\n"
    return HttpResponse(text, content_type="application/json; charset=utf-8", status=status)


def public(instance: Model) -> dict[str, object]:
    """Return a model as subscribers receive it: its ``broadcast_fields``."""
    fields: list[str] = getattr(instance, "broadcast_fields")  # noqa: B009 (no model declares it)
    values = {name: getattr(instance, name) for name in fields}
    return {
        name: public(value) if isinstance(value, Model) else value for name, value in values.items()
    }


def _date(moment: datetime) -> str:
    # The format of broadcasts: always six digits, and Z.
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
