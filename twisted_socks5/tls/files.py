"""
The files that a TLS server is made of, and whether they have changed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from twisted_socks5.errors import ConfigurationError
from twisted_socks5.tls.pem import (
    Authorities,
    Identity,
    pemFiles,
    readAuthorities,
    readDirectory,
    readIdentity,
)

#: What tells that files are others than they were, or what keeps them from being looked at.
Signature = tuple[tuple[object, ...], ...]


@dataclass(frozen=True)
class Files:
    """
    A directory, or a key and a certificate; and whose certificates clients are to have.

    @ivar directory: the directory of C{*.pem} files; empty: none.
    @ivar key: the file of the private key.
    @ivar certificate: the file of the certificate.
    @ivar chain: the file of the certificate's chain, unless that is in the same.
    @ivar authorities: the file of the authorities that clients' certificates are of; empty:
        clients are asked for none.
    @ivar revoked: the file of their revocation lists; empty: there is none.
    @ivar required: whether a client must have a certificate, where it is asked for one.
    """

    directory: str = ""
    key: str = ""
    certificate: str = ""
    chain: str = ""
    authorities: str = ""
    revoked: str = ""
    required: bool = True

    def identities(self) -> list[Identity]:
        """
        Read whom the server can be, the first being the one that it is by default.

        @raise ConfigurationError: a file can't be read, or has not what it should have.
        """
        if self.directory:
            return readDirectory(self.directory)
        return [readIdentity(self.key, self.certificate, self.chain or None)]

    def readAuthorities(self) -> Authorities | None:
        """
        Read whose word counts for clients' certificates; L{None}: they are asked for none.

        @raise ConfigurationError: a file can't be read, or has not what it should have.
        """
        if not self.authorities:
            return None
        return readAuthorities(self.authorities, self.revoked or None)

    def signature(self) -> Signature:
        """Tell how the files are, so that it can be told later whether they are otherwise."""
        files = [self.key, self.certificate, self.chain, self.authorities, self.revoked]
        try:
            found = pemFiles(self.directory) if self.directory else []
        except ConfigurationError as error:
            return ((str(error),),)
        return tuple(_one(each) for each in [*found, *files] if each)


def _one(path: str) -> tuple[object, ...]:
    try:
        found = os.stat(path)
    except OSError as error:
        return path, error.strerror
    # That we may read it is part of it: privileges may have been given up.
    readable = os.access(path, os.R_OK, effective_ids=os.access in os.supports_effective_ids)
    return path, found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev, readable
