"""
Two servers of two workers on one Redis, as a crowd sees them: as one.

``make scale`` plays the same with ten thousand sockets.
"""

from benchmarks import scale


async def test_a_crowd_sees_one_server_whatever_happens_to_two() -> None:
    """
    A thousand sockets over four processes, of which two are killed and two leave.

    Members, exclusions, whispers, numbers and lists are right; a killed server's members
    leave once; a leaving server closes with 4200 and ends with 0, and whose sockets come
    back to another one in time have never been away.
    """
    findings = await scale.run(1_000, print)
    assert findings.wrong == []
    assert findings.figures
