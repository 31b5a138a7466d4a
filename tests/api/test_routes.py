"""The dispatch of the HTTP API: addresses, methods, and any request at all."""

import time
from urllib.parse import parse_qsl, quote, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broadcasting.protocol.signatures import body_md5, request_text, sign
from tests.api.api_calls import PATH, application, body_of, handle, signed

pytestmark = pytest.mark.usefixtures("two_apps")

ROUTES = [
    ("POST", "events", 400),
    ("POST", "batch_events", 400),
    ("POST", "users/u-1/terminate_connections", 200),
    ("GET", "channels", 200),
    ("GET", "channels/presence-x", 200),
    ("GET", "channels/presence-x/users", 200),
]


@pytest.mark.parametrize(("method", "call", "status"), ROUTES)
@pytest.mark.parametrize("prefix", ["", "/push", "/apps/push", "/apps/43/channels"])
async def test_each_call_has_its_address(method: str, call: str, status: int, prefix: str) -> None:
    """Below ``/apps/<id>/``, also where the API is mounted below another ``/apps/``."""
    path = f"/apps/42/{call}"
    query = signed(b"", path, method=method)
    assert (await handle(method, f"{prefix}{path}", query, b"")).status == status


@pytest.mark.parametrize(("right", "call", "status"), ROUTES)
async def test_another_method_is_405(right: str, call: str, status: int) -> None:
    """Every caller is told which method is allowed."""
    for method in {"GET", "POST", "PUT", "HEAD", "OPTIONS", "post", ""} - {right}:
        answer = await handle(method, f"/apps/42/{call}", "", b"")
        assert (answer.status, answer.allow) == (405, right)


@pytest.mark.parametrize(
    "path",
    [
        *("/", "", "/apps", "/apps/42", "/apps/42/", "/apps/42/nothing", "/apps//events/"),
        *("/apps/42/events/", "/apps/42/events/x", "/apps/42/channels/", "/apps/\ud800/event"),
        *("/apps/42/channels//users", "/apps/42/channels/x/nothing", "/apps/42/channels/x/users/y"),
        *("/apps/42/users//terminate_connections", "/apps/42/users/x/nothing", "/apps/42/users/x"),
        *("/users/x", "/events", "apps/42/events", "users/x/terminate_connections"),
    ],
)
async def test_an_unknown_route_is_404(path: str) -> None:
    """With any method."""
    for method in ("GET", "POST"):
        answer = await handle(method, path, signed(b"", "/", method=method), b"")
        assert (answer.status, answer.body) == (404, "Unknown route")


@pytest.mark.parametrize("app_id", ["7", "", "4", "42%2F", "%20", "\ud800", "apps/channels"])
async def test_an_unknown_application_is_404(app_id: str) -> None:
    """Before anything else of the request is checked. The last one of a path counts."""
    for method, call, _ in ROUTES:
        answer = await handle(method, f"/apps/{app_id}/{call}", "", b"")
        assert (answer.status, "no application" in answer.body) == (404, True)


async def test_names_may_be_words_of_the_path() -> None:
    """A channel may be called apps. An escaped slash belongs to the name."""
    for name in ("apps", "channels", "users", "events"):
        for call in (f"channels/{name}", f"channels/presence-{name}/users"):
            path = f"/apps/42/{call}"
            assert (await handle("GET", path, signed(b"", path, method="GET"), b"")).status == 200
    path = "/apps/42/channels/presence-a%2Fusers"
    answer = await handle("GET", path, signed(b"", path, method="GET"), b"")
    assert (answer.status, "presence-a/users" in answer.body) == (400, True)


@pytest.mark.parametrize("query", ["\ud800", "{}&a=\ud800", "{}&auth_signature=\ud800"])
async def test_lone_surrogates_are_refused(query: str) -> None:
    """UTF-8 cannot encode them."""
    body = body_of()
    parameters = dict(parse_qsl(signed(body)))
    if "signature" in query:
        del parameters["auth_signature"]
    assert (await handle("POST", PATH, query.format(urlencode(parameters)), body)).status == 401


async def test_secrets_stay_secret(caplog: pytest.LogCaptureFixture) -> None:
    """Neither answers nor the log contain a secret or the right signature."""
    caplog.set_level("DEBUG")
    body = body_of()
    query = dict(parse_qsl(signed(body)))
    answer = await handle("POST", PATH, urlencode(query | {"auth_signature": "0" * 64}), body)
    assert answer.status == 401
    for text in (answer.body, caplog.text):
        assert application().secret not in text
        assert query["auth_signature"] not in text


# Random requests


surrogates = st.characters(exclude_categories=[])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    call=st.sampled_from([(method, call) for method, call, _ in ROUTES]),
    name=st.text(surrogates),
    parameters=st.dictionaries(
        st.sampled_from(["info", "info[]", "filter_by_prefix", "body_md5", "auth_key", "x"]),
        st.text(surrogates),
    ),
    body=st.binary(max_size=50),
)
async def test_no_request_is_a_server_error(
    call: tuple[str, str], name: str, parameters: dict[str, str], body: bytes
) -> None:
    """Any name, parameter and body, signed or not, is answered in words."""
    method, path = call
    raw_path = f"/apps/42/{path}".replace("presence-x", f"presence-{name}").replace("u-1", name)
    query = {
        "auth_key": "key-42",
        "auth_timestamp": str(int(time.time())),
        "auth_version": "1.0",
        "body_md5": body_md5(body),
    } | parameters
    joined = {key.removesuffix("[]"): value for key, value in query.items()}
    query["auth_signature"] = sign(application().secret, request_text(method, raw_path, joined))
    text = "&".join(f"{key}={quote(value, errors='surrogatepass')}" for key, value in query.items())
    for sent in (text, text.replace("auth_signature", "x"), quote(body)):
        answer = await handle(method, raw_path, sent, body)
        assert answer.status in {200, 400, 401, 404}
        assert answer.body.encode()
