"""
git, over HTTP by its own SOCKS client and over ssh by a ProxyCommand.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from tests.interop.origins import HTTPOrigin, content
from tests.interop.programs import find, run
from tests.interop.proxy import ProxyTestCase
from tests.interop.sshd import SSHServer


class GitTests(ProxyTestCase):
    """clone and push."""

    def git(self, *arguments: str | Path, ssh: str = "") -> str:
        """
        Run git, without the configuration of the user and the machine.

        @param ssh: what it takes for ssh.
        @return: what it said.
        """
        own = {
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_SSH_COMMAND": ssh,
            "SSH_AUTH_SOCK": "",
        }
        said = run(find("git", "git"), *arguments, env=own)
        self.assertEqual(said.returncode, 0, said.stderr)
        return said.stdout.strip()

    def repository(self) -> Path:
        """Make a bare repository with one commit in it."""
        work, bare = Path(self.mktemp()).absolute(), Path(self.mktemp()).absolute()
        self.git("init", "--quiet", "--initial-branch=main", work)
        (work / "file").write_bytes(content(1_000_000))
        self.commit(work, "the first")
        self.git("clone", "--quiet", "--bare", work, bare)
        return bare

    def commit(self, work: Path, message: str) -> None:
        """Commit whatever is there."""
        me = ("-c", "user.name=Test", "-c", "user.email=test@example.com")
        self.git("-C", work, "add", ".")
        self.git("-C", work, *me, "commit", "--quiet", "--message", message)

    def test_http(self) -> None:
        """C{http.proxy=socks5h://}: the proxy resolves the server's name."""
        bare, copy = self.repository(), Path(self.mktemp()).absolute()
        self.git("-C", bare, "update-server-info")
        origin = HTTPOrigin(self)
        for path in bare.rglob("*"):
            if path.is_file():
                origin.pages[f"/it.git/{path.relative_to(bare)}"] = path.read_bytes()
        proxy = self.proxy(hosts="127.0.0.1 git.example\n")
        through = ("-c", f"http.proxy=socks5h://{proxy}")
        url = f"http://git.example:{origin.port}/it.git"
        self.git(*through, "clone", "--quiet", url, copy)
        self.assertEqual((copy / "file").read_bytes(), content(1_000_000))
        self.assertEqual({one["target"] for one in proxy.stop()}, {f"git.example:{origin.port}"})

    def test_ssh(self) -> None:
        """Through ssh's ProxyCommand, there and back."""
        bare, copy = self.repository(), Path(self.mktemp()).absolute()
        server, proxy = SSHServer(self, self.mktemp()), self.proxy()
        netcat = find("nc.openbsd", "netcat-openbsd")
        command = (find("ssh", "openssh-client"), *server.options)
        ssh = shlex.join((*command, "-o", f"ProxyCommand={netcat} -X 5 -x {proxy} %h %p"))
        self.git("clone", "--quiet", f"127.0.0.1:{bare}", copy, ssh=ssh)
        (copy / "file").write_bytes(content(2_000_000))
        self.commit(copy, "the second")
        self.git("-C", copy, "push", "--quiet", "origin", "main", ssh=ssh)
        self.assertEqual(self.git("-C", bare, "log", "-1", "--format=%s", "main"), "the second")
        self.assertEqual([one["reply"] for one in proxy.stop()], [0, 0])
