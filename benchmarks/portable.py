"""
C{twistd} on a reactor that does not say that it watches descriptors: what the proxy is where its
streams can't be, and Twisted's own transports do the work.

    python portable.py --nodaemon --pidfile= socks5 --port 1080
"""

from __future__ import annotations

import sys

from twisted.internet.epollreactor import EPollReactor, install
from twisted.internet.interfaces import IReactorFDSet
from twisted.scripts.twistd import run
from zope.interface import classImplementsOnly, implementedBy


def installSilent() -> None:
    classImplementsOnly(EPollReactor, implementedBy(EPollReactor) - IReactorFDSet)
    install()


def main() -> None:
    installSilent()
    sys.argv[0] = "twistd"
    run()


if __name__ == "__main__":
    main()
