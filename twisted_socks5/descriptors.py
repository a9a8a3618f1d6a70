"""How many file descriptors the process may have."""

from __future__ import annotations

import sys

#: What counts as no limit: nobody holds more connections than this in one process.
UNLIMITED = 1 << 20


def raiseDescriptorLimit() -> int:
    """
    Raise the process's soft limit of file descriptors to its hard limit.

    @return: how many it may have now; not more than L{UNLIMITED}.
    """
    if sys.platform == "win32":
        return UNLIMITED
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = UNLIMITED if hard == resource.RLIM_INFINITY else min(hard, UNLIMITED)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    except (OSError, ValueError):
        # Some systems say that there is no limit, and have one.
        return UNLIMITED if soft == resource.RLIM_INFINITY else min(soft, UNLIMITED)
    return allowed
