"""Whether a process serves sockets."""

import asyncio

from broadcasting.drivers.serving import begin_serving, end_serving, is_serving_here


async def test_a_process_serves_while_one_of_its_loops_does() -> None:
    """Every thread knows; a loop that was closed without a word serves no more."""

    async def serve_and_forget() -> None:
        begin_serving()
        assert is_serving_here()

    assert not is_serving_here()
    await asyncio.to_thread(lambda: asyncio.run(serve_and_forget()))
    assert not is_serving_here()
    begin_serving()
    begin_serving()
    assert await asyncio.to_thread(is_serving_here)
    end_serving()
    end_serving()
    assert not is_serving_here()
