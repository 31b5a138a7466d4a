"""Rows and notifications in a real browser, with Echo as Laravel's pages use it."""

import asyncio
import json
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page

from tests.conftest import NewPage, RunningServer, RunServer
from tests.utils import await_until

pytestmark = pytest.mark.asyncio(loop_scope="session")

SET_UP = """
import json
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from tests.e2e.orders.models import Order

call_command("migrate", run_syncdb=True, verbosity=0)
ann, bob = [User.objects.create(username=name) for name in ("ann", "bob")]
order = Order.objects.create(customer=ann)
client = Client()
client.force_login(ann)
session = client.cookies["sessionid"].value
print(json.dumps({"ann": ann.pk, "bob": bob.pk, "order": order.pk, "session": session}))
"""

CHANGE = """
from django.contrib.auth.models import User
from broadcasting import BroadcastNotification, notify
from tests.e2e.orders.models import Order

class OrderShipped(BroadcastNotification):
    def __init__(self, order):
        self.order = order.pk

order = Order.objects.get()
order.status = "shipped"
order.save()
order.save()
notify(order.customer, OrderShipped(order))
order.delete()
"""


@pytest.fixture(scope="module")
def site(module_runserver: RunServer) -> RunningServer:
    """Return a site with orders."""
    return module_runserver(
        "memory", server="broadcast_serve", DJANGO_SETTINGS_MODULE="tests.e2e.orders.settings"
    )


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def rows(site: RunningServer) -> dict[str, Any]:
    """Return the keys of the rows, and Ann's session."""
    made: dict[str, Any] = json.loads(await asyncio.to_thread(site.shell, SET_UP))
    return made


async def log_of(page: Page, count: int) -> list[Any]:
    """Wait for `count` entries; return them."""

    async def enough() -> bool:
        return bool(await page.evaluate(f"log.length >= {count}"))

    await await_until(enough, 15, f"{count} entries")
    entries: list[Any] = await page.evaluate("log")
    return entries


async def test_page_follows_a_row_and_its_users_notifications(
    site: RunningServer, rows: dict[str, Any], new_page: NewPage
) -> None:
    """`Echo.private("orders.Order.1")` and `notification()`; nobody else's are open."""
    page = await new_page("403")
    await page.context.add_cookies(
        [{"name": "sessionid", "value": rows["session"], "url": site.url}]
    )
    await page.goto(f"{site.url}/proof/")
    await page.evaluate(
        """([ann, bob, order]) => {
          window.log = [];
          const note = (what) => (data) => log.push([what, data]);
          Echo.private(`orders.Order.${order}`).subscribed(note("order"))
            .listen(".OrderUpdated", note("updated")).listen(".OrderDeleted", note("deleted"));
          Echo.private(`auth.User.${ann}`).subscribed(note("user"))
            .notification(note("notification"));
          Echo.private(`auth.User.${bob}`).error(note("refused"));
        }""",
        [rows["ann"], rows["bob"], rows["order"]],
    )
    ready = await log_of(page, 3)
    assert sorted(what for what, _ in ready) == ["order", "refused", "user"]
    await asyncio.to_thread(site.shell, CHANGE)
    heard = (await log_of(page, 6))[3:]
    row = {"pk": rows["order"], "status": "shipped"}
    identifier = next(data["id"] for what, data in heard if what == "notification")
    assert heard == [
        ["updated", {"model": row, "changed": ["status"]}],
        ["notification", {"order": rows["order"], "id": identifier, "type": "OrderShipped"}],
        ["deleted", {"model": row}],
    ]
