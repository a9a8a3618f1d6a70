"""
Files of users: made by C{socks5-users} and Apache's C{htpasswd}, used by curl, changed meanwhile.
"""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

from tests.interop.origins import HTTPOrigin
from tests.interop.programs import SECONDS, environment, find, ours, run
from tests.interop.proxy import Proxy, ProxyTestCase
from tests.interop.test_curl import PROXY_REFUSED, curl

SOCKS5_USERS = (sys.executable, "-m", "twisted_socks5.userscommand")


class UsersCase(ProxyTestCase):
    """A file of users in a directory of its own."""

    def setUp(self) -> None:
        """Make the directory."""
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir(mode=0o700)
        self.path = self.directory / "users"

    def change(self, *arguments: str, password: bytes = b"") -> None:
        """Run socks5-users."""
        done = subprocess.run(
            [*SOCKS5_USERS, str(self.path), *arguments],
            env=environment(),
            input=password,
            capture_output=True,
            timeout=SECONDS,
        )
        self.assertEqual((done.returncode, done.stderr), (0, b""))

    def serve(self, *options: str) -> tuple[Proxy, HTTPOrigin]:
        """Start a proxy for these users, and an origin that they may reach."""
        origin = HTTPOrigin(self)
        proxy = self.proxy("--auth", f"htpasswd:{self.path}", *options)
        return proxy, origin

    def fetches(self, proxy: Proxy, origin: HTTPOrigin, user: str) -> bool:
        """Tell whether curl gets through with a name and password."""
        said = curl(
            *("--socks5", str(proxy), "--proxy-user", user),
            f"http://127.0.0.1:{origin.port}/",
        )
        if said.returncode == 0:
            self.assertEqual(said.stdout, "this is the origin\n")
        else:
            self.assertEqual(said.returncode, PROXY_REFUSED, said.stderr)
        return said.returncode == 0


class CurlTests(UsersCase):
    """curl's C{--proxy-user}."""

    def test_life(self) -> None:
        """A user is added, gets another password, and goes, while the proxy runs."""
        self.change("add", "alice", password=b"wonderland")
        proxy, origin = self.serve()
        self.assertTrue(self.fetches(proxy, origin, "alice:wonderland"))
        self.assertFalse(self.fetches(proxy, origin, "bob:builder"))
        self.change("add", "bob", password=b"builder\n")
        self.assertTrue(self.fetches(proxy, origin, "bob:builder"))
        self.change("change", "alice", password=b"looking glass")
        self.assertFalse(self.fetches(proxy, origin, "alice:wonderland"))
        self.assertTrue(self.fetches(proxy, origin, "alice:looking glass"))
        self.change("delete", "alice")
        self.assertFalse(self.fetches(proxy, origin, "alice:looking glass"))
        self.assertTrue(self.fetches(proxy, origin, "bob:builder"))
        records = proxy.stop()
        self.assertEqual(
            [(one["user"], one["reply"]) for one in records if one["reply"] == 0],
            [("alice", 0), ("bob", 0), ("alice", 0), ("bob", 0)],
        )
        for secret in ("wonderland", "builder", "looking", "argon2"):
            self.assertNotIn(secret, proxy.output.text)

    def test_octets(self) -> None:
        """Names and passwords in UTF-8 and in Latin-1: octets, and other ones each."""
        names = "bób:gehéim", os.fsdecode("bób:gehéim".encode("latin-1"))
        for each in names:
            name, _, password = each.partition(":")
            self.change("add", name, password=os.fsencode(password))
        proxy, origin = self.serve()
        for each in names:
            self.assertTrue(self.fetches(proxy, origin, each))
        self.assertFalse(self.fetches(proxy, origin, "bób:" + names[1].partition(":")[2]))
        users = [one["user"] for one in proxy.stop()]
        self.assertEqual(users, ["bób", "b\\xf3b", "bób"])

    def test_longest(self) -> None:
        """255 octets each; a colon in a password."""
        name, password = "n" * 255, ":" + "p" * 254
        self.change("add", name, password=password.encode())
        proxy, origin = self.serve()
        self.assertTrue(self.fetches(proxy, origin, f"{name}:{password}"))
        self.assertFalse(self.fetches(proxy, origin, f"{name}:{password[:-1]}"))

    def test_inPlace(self) -> None:
        """A file that others write to in place, in two pieces."""
        self.change("add", "alice", password=b"wonderland")
        alice = self.path.read_bytes()
        self.path.unlink()
        self.change("add", "bob", password=b"builder")
        proxy, origin = self.serve()
        whole = alice + self.path.read_bytes()
        self.assertTrue(self.fetches(proxy, origin, "bob:builder"))
        with self.path.open("wb", buffering=0) as file:
            file.write(whole[:30])
            # Half of it is there, and nobody is locked out: it settles meanwhile.
            self.assertTrue(self.fetches(proxy, origin, "bob:builder"))
            file.write(whole[30:])
        self.assertTrue(self.fetches(proxy, origin, "alice:wonderland"))
        proxy.output.waitFor("has changed: 2 users")

    def test_spoilt(self) -> None:
        """A file that becomes bad is said loudly, and locks nobody out."""
        self.change("add", "alice", password=b"wonderland")
        proxy, origin = self.serve()
        # It has started, and looked at the file for the last time before clients do.
        self.assertTrue(self.fetches(proxy, origin, "alice:wonderland"))
        with self.path.open("ab") as file:
            file.write(b"bob:in-plain-text\n")
        self.assertFalse(self.fetches(proxy, origin, "bob:in-plain-text"))
        self.assertTrue(self.fetches(proxy, origin, "alice:wonderland"))
        said = proxy.output.waitFor(r"error\].*cannot be used, the users of before remain").string
        self.assertIn("line 2: user 'bob' has a password in plain text", said)
        self.assertNotIn("in-plain-text", proxy.output.text)

    def test_severalKinds(self) -> None:
        """Users of a file of hashes, of one in plain text, and of the command line."""
        self.change("add", "alice", password=b"wonderland")
        proxy, origin = self.serve(
            "--auth", self.users("bob:builder", "alice:in Chains"), "--auth", "memory:carol:x"
        )
        for user in ("alice:wonderland", "bob:builder", "carol:x", "alice:in Chains"):
            self.assertTrue(self.fetches(proxy, origin, user), user)
        self.assertFalse(self.fetches(proxy, origin, "carol:wonderland"))


class HtpasswdTests(UsersCase):
    """Apache's htpasswd."""

    def htpasswd(self, *arguments: str) -> None:
        """Run it, on our file."""
        self.path.touch(mode=0o600)
        done = run(find("htpasswd", "apache2-utils"), "-b", *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_bcrypt(self) -> None:
        """What C{htpasswd -B} writes is understood, and mixes with ours."""
        self.htpasswd("-B", "-C", "5", str(self.path), "alice", "wonderland")
        self.htpasswd("-B", str(self.path), "bób", "gehéim" * 20)
        self.change("add", "carol", password=b"x")
        proxy, origin = self.serve()
        for user in ("alice:wonderland", "bób:" + "gehéim" * 20, "carol:x"):
            self.assertTrue(self.fetches(proxy, origin, user), user)
        self.assertFalse(self.fetches(proxy, origin, "alice:wonderlan"))
        self.htpasswd("-B", str(self.path), "alice", "looking glass")
        self.assertTrue(self.fetches(proxy, origin, "alice:looking glass"))

    def test_others(self) -> None:
        """Its other kinds are refused at the start, in one line, without the hash."""
        for option, reason in (
            ("-m", "a hash of Apache's MD5 (apr1)"),
            ("-s", "a hash of plain SHA"),
            ("-d", "a password in plain text, or a hash of DES crypt"),
            ("-p", "a password in plain text, it seems"),
        ):
            self.path.unlink(missing_ok=True)
            self.htpasswd(option, str(self.path), "alice", "wonderland")
            twistd = (ours("twistd"), "-n", "--pidfile=", "socks5", "--port", "0")
            done = run(*twistd, "--auth", f"htpasswd:{self.path}", cwd=self.directory)
            self.assertEqual(done.returncode, 1)
            self.assertEqual(
                done.stderr.partition(reason)[0],
                f"twistd socks5: password file '{self.path}': line 1: user 'alice' has ",
            )
            self.assertEqual(done.stderr.count("\n"), 1)
            hashed = self.path.read_text().partition(":")[2].strip()
            self.assertNotIn(hashed, done.stderr + done.stdout)


class TerminalTests(UsersCase):
    """socks5-users on a terminal."""

    def typed(self, *typed: bytes, command: str = "add") -> tuple[int, str]:
        """
        Run it on a terminal of its own.

        @param typed: what is typed, each behind a question.
        @return: its status, and all that was to be seen.
        """
        master, slave = pty.openpty()
        self.addCleanup(os.close, master)
        setsid = (find("setsid", "util-linux"), "--ctty", "--wait")
        process = subprocess.Popen(
            [*setsid, *SOCKS5_USERS, str(self.path), command, "alice"],
            env=environment(),
            stdin=slave,
            stdout=slave,
            stderr=slave,
        )
        os.close(slave)
        seen = b""
        try:
            for octets in typed:
                while not seen.endswith(b": "):
                    seen += os.read(master, 1024)
                os.write(master, octets)
                seen += b"|"
            while True:
                seen += os.read(master, 1024)
        except OSError:
            pass  # EIO: nobody is there any more to read from.
        finally:
            status = process.wait(SECONDS)
        return status, seen.decode()

    def test_twice(self) -> None:
        """It is asked for twice, and not shown."""
        status, seen = self.typed(b"wonderland\n", b"wonderland\n")
        self.assertEqual((status, seen), (0, "Password: |\r\nThe same again: |\r\n"))
        proxy, origin = self.serve()
        self.assertTrue(self.fetches(proxy, origin, "alice:wonderland"))

    def test_different(self) -> None:
        """Two that differ change nothing."""
        status, seen = self.typed(b"wonderland\n", b"wonder land\n")
        self.assertEqual(status, 1)
        self.assertIn("socks5-users: the two passwords differ", seen)
        self.assertFalse(self.path.exists())

    def test_interrupted(self) -> None:
        """Ctrl-C and Ctrl-D end it with a line, and no traceback."""
        for octets, said in ((b"\x03", "interrupted"), (b"\x04", "no password was given")):
            status, seen = self.typed(octets)
            self.assertEqual(status, 1)
            self.assertIn(f"socks5-users: {said}", seen)
            self.assertNotIn("Traceback", seen)
            self.assertEqual(os.listdir(self.directory), [])


class HelpTests(UsersCase):
    """C{--help-auth}."""

    def test_kind(self) -> None:
        """The kind is listed, and explained with examples."""
        said = run(ours("twistd"), "socks5", "--help-auth")
        self.assertRegex(said.stdout, r"(?m)^ +htpasswd\s+PATH")
        said = run(ours("twistd"), "socks5", "--help-auth-type", "htpasswd")
        self.assertEqual(said.returncode, 0)
        for example in ("--auth htpasswd:/etc/socks5-users", "socks5-users /etc/socks5-users add"):
            self.assertIn(example, said.stdout)
