"""
Programs that know nothing of proxies, inside ones that put them behind one.
"""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

from tests.interop.origins import HTTPOrigin, content, digest
from tests.interop.programs import find, run
from tests.interop.proxy import ProxyTestCase

SIZE = 5_000_000


class WrapperTests(ProxyTestCase):
    """curl, told nothing, under proxychains and socksify."""

    def fetch(self, origin: HTTPOrigin, *wrapper: str | Path, **env: str) -> None:
        """Download something with a curl that is wrapped."""
        got = Path(self.mktemp()).absolute()
        plain = ("-q", "--silent", "--show-error", "--noproxy", "*", "--output", got)
        url = f"http://127.0.0.1:{origin.port}/bytes/{SIZE}"
        said = run(*wrapper, find("curl", "curl"), *plain, url, env=env)
        self.assertEqual(said.returncode, 0, said.stdout + said.stderr)
        self.assertEqual(digest(got.read_bytes()), digest(content(SIZE)))

    def configuration(self, text: str) -> Path:
        """Write a wrapper's configuration file."""
        path = Path(self.mktemp()).absolute()
        path.write_text(dedent(text))
        return path

    def test_proxychains(self) -> None:
        """proxychains4, with a password."""
        origin = HTTPOrigin(self)
        proxy = self.proxy("--auth", self.users("alice:s3cr3t"))
        configured = self.configuration(
            f"""
            strict_chain
            [ProxyList]
            socks5 {proxy.host} {proxy.port} alice s3cr3t
            """
        )
        program = find("proxychains4", "proxychains4")
        self.fetch(origin, program, "-q", "-f", configured)
        (record,) = proxy.stop()
        self.assertEqual(
            (record["user"], record["dialled"]), ("alice", f"127.0.0.1:{origin.port}")
        )

    def test_chain(self) -> None:
        """Two proxies one behind the other: the first one's target is the second."""
        origin, first, second = HTTPOrigin(self), self.proxy(), self.proxy()
        configured = self.configuration(
            f"""
            strict_chain
            [ProxyList]
            socks5 {first.host} {first.port}
            socks5 {second.host} {second.port}
            """
        )
        program = find("proxychains4", "proxychains4")
        self.fetch(origin, program, "-q", "-f", configured)
        self.assertEqual(first.stop()[0]["dialled"], str(second))
        self.assertEqual(second.stop()[0]["dialled"], f"127.0.0.1:{origin.port}")

    def test_socksify(self) -> None:
        """Dante's client library."""
        origin, proxy = HTTPOrigin(self), self.proxy()
        configured = self.configuration(
            f"""
            route {{
                from: 0.0.0.0/0 to: 0.0.0.0/0 via: {proxy.host} port = {proxy.port}
                command: connect
                proxyprotocol: socks_v5
                method: none
            }}
            """
        )
        program = find("socksify", "dante-client")
        own = {"SOCKS_CONF": str(configured), "SOCKS_AUTOADD_LANROUTES": "no"}
        self.fetch(origin, program, **own)
        self.assertEqual(proxy.stop()[0]["dialled"], f"127.0.0.1:{origin.port}")
