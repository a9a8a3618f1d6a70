"""
The program of a worker: it reads its job, and looks for modules where the supervisor does.

It is run as a file, so that the current directory is nowhere that Python looks.
"""

import json
import sys


def main() -> None:
    """Do what the standard input says."""
    # Octet by octet: what stands behind the line is for later.
    with open(0, "rb", buffering=0, closefd=False) as orders:
        line = orders.readline()
    if not line.endswith(b"\n"):
        raise SystemExit("this is started by twistd socks5 --workers")
    words = json.loads(line)
    sys.path[:] = words["path"]

    from twisted_socks5.workers.job import Job
    from twisted_socks5.workers.working import work

    work(Job.parse(words))


if __name__ == "__main__":
    main()
