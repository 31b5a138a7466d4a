"""
Two servers of two workers on one Redis, as a crowd sees them: as one.

``make scale`` plays the same with ten thousand sockets.
"""

from benchmarks import scale


async def test_a_crowd_sees_one_server_whatever_happens_to_two() -> None:
    """
    A hundred sockets over four processes, of which two are killed and two drain.

    Members, exclusions, client events, counts and lists are right. The members of a killed
    server leave once. A draining server closes with 4200 and ends with 0, and members who
    reconnect to another server in time have never been away.
    """
    findings = await scale.run(100, print)
    assert findings.wrong == []
    assert findings.figures
