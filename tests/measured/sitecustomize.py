"""
Lets coverage see what C{twistd} does, when C{make pytest} puts this directory on PYTHONPATH.

A twistd that a signal has stopped ends by that same signal, so nothing is done at its exit; what
coverage has measured in the process is saved here, at the last moment.
"""

from __future__ import annotations

import os

try:
    from coverage import Coverage
except (ImportError, FileNotFoundError):  # It wants to know where it is, and that may be gone.
    measured = None
else:
    measured = Coverage.current()

if measured is not None:
    coverage, kill = measured, os.kill

    def saveAndKill(pid: int, number: int) -> None:
        """Stand in for C{os.kill}."""
        if pid == os.getpid() and number:
            coverage.stop()
            coverage.save()
        kill(pid, number)

    os.kill = saveAndKill
