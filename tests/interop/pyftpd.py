"""
pyftpdlib's FTP server, on a port that the system chooses::

    python pyftpd.py DIRECTORY HOST [SOURCE]

With SOURCE it is a server with several addresses: the data connections of active mode come from
that one.
"""

from __future__ import annotations

import socket
import sys

# It comes without types, and so do those who inherit from it.
from pyftpdlib.authorizers import DummyAuthorizer  # type: ignore[import-untyped]
from pyftpdlib.handlers import FTPHandler  # type: ignore[import-untyped]
from pyftpdlib.servers import FTPServer  # type: ignore[import-untyped]


class FromElsewhere(FTPHandler.active_dtp):  # type: ignore[misc]
    """A data connection from another address than the control connection's."""

    source = ""

    def connect_af_unspecified(self, addr: object, source_address: object) -> object:
        """Connect from there."""
        return super().connect_af_unspecified(addr, (self.source, 0))


def main(directory: str, host: str, source: str = "") -> None:
    """Serve anybody, until it is killed."""
    authorizer = DummyAuthorizer()
    authorizer.add_anonymous(directory, perm="elradfmwMT")
    FTPHandler.authorizer = authorizer
    if source:
        FromElsewhere.source = source
        FTPHandler.active_dtp = FromElsewhere
    listening = socket.create_server(
        (host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET
    )
    server = FTPServer(listening, FTPHandler)
    sys.stdout.write(f"FTP on port {listening.getsockname()[1]}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
