"""
An OpenSSH server of a test's own, for the one user who runs the tests.
"""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from tests.interop.origins import Cleaning, ProgramTarget
from tests.interop.programs import find, run

#: sshd insists on it when it runs as root, and only some machines have it.
_PRIVILEGE_SEPARATION = Path("/run/sshd")


class SSHServer(ProgramTarget):
    """
    An sshd to which only the test's own key opens, and whose key only the test's client knows.

    @ivar options: the words between C{ssh} and the host that it takes to get in.
    """

    def __init__(self, test: Cleaning, directory: str) -> None:
        """
        @param test: it runs until this test ends.
        @param directory: its keys go there; is made.
        """
        place = Path(directory).absolute()
        place.mkdir(mode=0o700)
        for name in ("host", "user"):
            key = ("-q", "-t", "ed25519", "-N", "", "-f", place / name)
            run(find("ssh-keygen", "openssh-client"), *key).check_returncode()
        if os.getuid() == 0 and not _PRIVILEGE_SEPARATION.exists():
            _PRIVILEGE_SEPARATION.mkdir(mode=0o755)
            test.addCleanup(_PRIVILEGE_SEPARATION.rmdir)
        super().__init__(
            test,
            *(find("sshd", "openssh-server"), "-i", "-f", os.devnull),
            *_settings(
                f"HostKey={place / 'host'}",
                f"AuthorizedKeysFile={place / 'user.pub'}",
                "StrictModes=no",
                "UsePAM=no",
                "PermitRootLogin=yes",
                "PasswordAuthentication=no",
            ),
        )
        known = place / "known"
        known.write_text(f"the-server {(place / 'host.pub').read_text()}")
        self.options = (
            *("-F", os.devnull, "-i", str(place / "user"), "-p", str(self.port)),
            *("-l", pwd.getpwuid(os.getuid()).pw_name),
            *_settings(
                f"UserKnownHostsFile={known}",
                "HostKeyAlias=the-server",
                "StrictHostKeyChecking=yes",
                "IdentitiesOnly=yes",
                "BatchMode=yes",
            ),
        )


def _settings(*settings: str) -> list[str]:
    return [word for setting in settings for word in ("-o", setting)]
