"""What a Django view reads of a request, and what it returns."""

from io import BytesIO

import pytest
from django.http import HttpRequest
from django.test import AsyncRequestFactory, RequestFactory

from broadcasting.api.request import Request
from broadcasting.api.response import Response
from broadcasting.views.endpoint import Endpoint, only_safe

LIMIT = 10


async def echo(request: Request) -> Response:
    """Answer with what came."""
    body = await request.read(LIMIT)
    parts = (request.method, request.raw_path, request.query, request.address)
    text = " ".join(str(part) for part in (*parts, request.headers.get("x-a"), body))
    return Response(413 if body is None else 200, text)


view = Endpoint(echo)


def post(body: bytes = b"hello", length: str | None = None) -> HttpRequest:
    """Return a POST of Django's, with another Content-Length if one is given."""
    request = AsyncRequestFactory().post("/x?a=%20", body, content_type="application/json")
    if length is not None:
        request.META["CONTENT_LENGTH"] = length
    return request


@pytest.mark.parametrize("factory", [RequestFactory(), AsyncRequestFactory()])
async def test_a_request_is_passed_on(factory: RequestFactory) -> None:
    """Under WSGI and ASGI."""
    request = factory.post("/a%20b?a=%20", b"hi", content_type="text/plain", headers={"X-A": "b"})
    response = await view(request, rest="x")
    assert response.content.decode() == "POST /a%20b a=%20 127.0.0.1 b b'hi'"
    assert (response["Content-Type"], response["Cache-Control"]) == (
        "text/plain; charset=utf-8",
        "no-store",
    )


@pytest.mark.parametrize(
    ("raw_path", "expected"), [(None, "/x"), (b"", "/x"), (b"/%78?y", "/%78"), (b"/x", "/x")]
)
async def test_the_raw_path_is_optional(raw_path: bytes | None, expected: str) -> None:
    """Some ASGI servers leave it out, and some add the query."""
    request = post()
    request.scope = {**request.scope, "raw_path": raw_path}  # type: ignore[attr-defined]  # ASGI's.
    assert (await view(request)).content.decode().split(" ")[1] == expected


@pytest.mark.parametrize("length", ["11", "9" * 5_000])
async def test_a_declared_length_is_enough_to_refuse(length: str) -> None:
    """Nothing is read."""
    request = post(length=length)
    request._stream = BytesIO()
    request._stream.close()  # Reading would raise.
    assert (await view(request)).status_code == 413


@pytest.mark.parametrize("length", ["", "x", "-1", "²", " "])
async def test_without_a_length_the_body_is_read_to_the_limit(length: str) -> None:
    """And one byte further."""
    for size, status in ((LIMIT, 200), (LIMIT + 1, 413), (LIMIT + 1_000, 413)):
        request = post(length=length)
        stream = request._stream = BytesIO(b" " * size)
        assert (await view(request)).status_code == status
        assert stream.tell() <= LIMIT + 1


async def test_a_caller_who_leaves_is_no_server_error() -> None:
    """Nobody reads the answer, but the log would show a traceback."""

    class Broken(BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError("gone")

    request = post()
    request._stream = Broken()
    assert (await view(request)).status_code == 400


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "", "get"])
async def test_only_safe_methods_are_allowed(method: str) -> None:
    """The answer names them."""
    request = AsyncRequestFactory().get("/")
    request.method = method
    response = await Endpoint(only_safe(echo))(request)
    assert (response.status_code, response["Allow"]) == (405, "GET, HEAD")


def test_a_view_has_the_name_of_its_function() -> None:
    """Django shows it in tracebacks and in the admin's documentation."""
    assert (view.__name__, view.__doc__) == ("echo", echo.__doc__)  # type: ignore[attr-defined]
