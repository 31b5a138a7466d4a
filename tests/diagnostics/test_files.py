"""What the doctor makes of the limit on open files."""

from broadcasting.diagnostics.files import diagnose_files


def test_more_sockets_than_files_is_an_error() -> None:
    """What is wanted, and what there is room for."""
    (finding,) = diagnose_files(1_000_000_000)
    assert finding.level == "error"
    assert 'SERVER["MAX_CONNECTIONS"] is 1000000000' in finding.text
    assert "LimitNOFILE=" in finding.fix
