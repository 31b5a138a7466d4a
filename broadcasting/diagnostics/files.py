"""How many files, and so how many sockets, a process may open."""

from ..drivers.diagnosis import Diagnosis
from ..server.admission import raise_file_limit, sockets_that_fit

# Below this a machine serves fewer sockets than one busy site has.
FEW_SOCKETS = 4096


def diagnose_files(wanted: int | None) -> list[Diagnosis]:
    """Compare the limit on open files with the sockets that are `wanted`."""
    files = raise_file_limit()
    if files is None:
        return []
    subject, fit = "Open files", sockets_that_fit(files)
    text = f"A process of this user may open {files}, which is room for {fit} sockets."
    fix = "Raise the limit: LimitNOFILE= of the systemd unit, or ulimit -Hn. See docs/capacity.md."
    if wanted is not None and wanted > fit:
        text += f' SERVER["MAX_CONNECTIONS"] is {wanted}.'
        return [Diagnosis("error", subject, text, fix)]
    return [Diagnosis("ok" if fit >= FEW_SOCKETS else "warning", subject, text, fix)]
