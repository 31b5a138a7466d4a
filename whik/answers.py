"""JSON as the demo answers it: for people who look at it, and spelled as broadcasts are."""

import json
from datetime import datetime

from django.db.models import Model
from django.http import HttpResponse


def json_answer(data: object, status: int = 200) -> HttpResponse:
    """Answer with `data`: indented, Korean as Korean, the prompt on a line of its own."""
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
    # As broadcasts spell it: always six digits, and Z.
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
