"""FTP servers that anybody may log into as "anonymous", on ports that the system chooses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.interop.origins import ProgramTarget, content, digest
from tests.interop.programs import SECONDS, environment, find
from tests.interop.proxy import Output, ProxyTestCase

LARGE = 20_000_000
"""Octets of what is downloaded and uploaded."""

_VSFTPD = """
# Below our own inetd, and as whoever runs the tests.
listen=NO
listen_ipv6=NO
run_as_launching_user=YES
seccomp_sandbox=NO
secure_chroot_dir={empty}
anonymous_enable=YES
no_anon_password=YES
local_enable=NO
anon_root={root}
write_enable=YES
anon_upload_enable=YES
anon_umask=022
allow_writeable_chroot=YES
xferlog_enable=NO
"""


class Files:
    """
    What a server has: a file of its own, and what is put there.

    @ivar root: the directory.
    """

    def __init__(self, directory: str) -> None:
        """
        @param directory: is made.
        """
        self.root = Path(directory).absolute() / "root"
        self.root.mkdir(parents=True)
        (self.root / "large").write_bytes(content(LARGE))

    def digest(self, name: str) -> str:
        """Give the checksum of a file."""
        return digest((self.root / name).read_bytes())


class VSFTPD(Files):
    """
    vsftpd: opens active mode's data connections when there is something to transfer.

    It refuses a PORT that names another address than its client's.

    @ivar host: where it listens.
    @ivar port: the port.
    """

    host = "127.0.0.1"

    def __init__(self, test: ProxyTestCase, dataPort: int = 0) -> None:
        """
        @param test: it runs until this test ends.
        @param dataPort: where its data connections come from; 0 is any port.
        """
        directory = test.mktemp()
        super().__init__(directory)
        empty = self.root.parent / "empty"
        empty.mkdir()
        configured = _VSFTPD.format(root=self.root, empty=empty)
        if dataPort:
            configured += f"connect_from_port_20=YES\nftp_data_port={dataPort}\n"
        path = self.root.parent / "vsftpd.conf"
        path.write_text(configured)
        # It takes no configuration that somebody else owns.
        path.chmod(0o600)
        self.port = ProgramTarget(test, find("vsftpd", "vsftpd"), str(path)).port


class PyFTPD(Files):
    """
    pyftpdlib's server: opens active mode's data connections as soon as it is told where to.

    @ivar host: where it listens.
    @ivar port: the port.
    """

    def __init__(self, test: ProxyTestCase, source: str = "", host: str = "127.0.0.1") -> None:
        """
        @param test: it runs until this test ends.
        @param source: another address, which its data connections come from.
        @param host: where it listens.
        """
        super().__init__(test.mktemp())
        script = Path(__file__).with_name("pyftpd.py")
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", script, self.root, host, *[source] * bool(source)],
            cwd=self.root.parent,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self._output = Output(self._process)
        test.addCleanup(self._stop)
        self.host = host
        self.port = int(self._output.waitFor("FTP on port ([0-9]+)")[1])

    def _stop(self) -> None:
        self._process.kill()
        self._process.wait(SECONDS)
        self._output.finish()


def mayUsePort20() -> bool:
    """Tell whether we may send from port 20, as an FTP server does."""
    return os.geteuid() == 0
