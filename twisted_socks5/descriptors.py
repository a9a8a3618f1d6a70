"""How many file descriptors the process may have."""

from __future__ import annotations

import sys

#: What counts as no limit: nobody holds more connections than this in one process.
UNLIMITED = 1 << 20


def raiseDescriptorLimit() -> int:
    """
    Raise the process's soft limit of file descriptors to its hard limit.

    @return: how many it may have now.
    """
    if sys.platform == "win32":
        return UNLIMITED
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = UNLIMITED if hard == resource.RLIM_INFINITY else min(hard, UNLIMITED)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return allowed
