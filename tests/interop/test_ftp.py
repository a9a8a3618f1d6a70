"""
FTP through the proxy, the case that BIND was made for: real servers and real clients.

In active mode the server opens the data connections: the client asks the proxy for a port by
BIND, and tells the server of it.  In passive mode they are a CONNECT like any other.
"""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from textwrap import dedent

from tests.interop.ftpservers import LARGE, VSFTPD, PyFTPD, mayUsePort20
from tests.interop.origins import content, digest
from tests.interop.programs import SECONDS, environment, find, run
from tests.interop.proxy import Proxy, ProxyTestCase, Record
from tests.interop.socksify import Socksify
from twisted_socks5.wire import Address, ClientNegotiation, Command, Method, Reply, ReplyMessage

ACTIVE, PASSIVE = "-A", "-p"

FTPServer = VSFTPD | PyFTPD


def freePort(host: str = "127.0.0.1") -> int:
    """Find a port that nobody uses."""
    with socket.socket() as found:
        found.bind((host, 0))
        return int(found.getsockname()[1])


class FTPCase(ProxyTestCase):
    """A test that lists, downloads and uploads."""

    def setUp(self) -> None:
        """Make what is uploaded."""
        self.place = Path(self.mktemp()).absolute()
        self.place.mkdir()
        (self.place / "own").write_bytes(content(LARGE)[::-1])

    def assertTransferred(self, server: FTPServer, said: str) -> None:
        """See that the listing was shown, and that both files have arrived."""
        self.assertRegex(said, rf"(?m)^-rw.* {LARGE} .* large\r?$")
        self.assertEqual(digest((self.place / "got").read_bytes()), server.digest("large"))
        self.assertEqual(server.digest("put"), digest((self.place / "own").read_bytes()))

    def connections(self, records: Sequence[Record], command: str) -> list[Record]:
        """Tell which sessions had a command, and that all of them went well."""
        self.assertEqual({(each["reply"], each["user"]) for each in records}, {(0, None)}, records)
        return [each for each in records if each["command"] == command]


class SocksifyTests(FTPCase):
    """Dante's client library under a real C{ftp}: tnftp."""

    protocol = "socks_v5"

    def session(self, server: FTPServer, proxy: Proxy, mode: str) -> str:
        """Have a session, and give what tnftp says."""
        dante = Socksify(proxy, str(self.place / "socks.conf"), protocol=self.protocol)
        script = f"""
            open {server.host} {server.port}
            user anonymous me@example.com
            binary
            ls
            get large got
            put own put
            quit
            """
        said = subprocess.run(
            [dante.program, find("tnftp", "tnftp"), "-n", "-v", mode],
            input=dedent(script).lstrip(),
            cwd=self.place,
            env=environment(dante.environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
        )
        self.assertEqual(said.returncode, 0, said.stdout)
        return said.stdout

    def active(self, server: FTPServer, *options: str) -> list[Record]:
        """Have a session in active mode, and give the records of the data connections."""
        proxy = self.proxy(*options)
        said = self.session(server, proxy, ACTIVE)
        self.assertTransferred(server, said + proxy.output.text)
        records = proxy.stop()
        binds = self.connections(records, "BIND")
        self.assertEqual(len(binds), 3)
        self.assertEqual(len(self.connections(records, "CONNECT")), 1)
        # The peer that is expected is the host that the program has talked to.
        self.assertEqual({each["target"].rpartition(":")[0] for each in binds}, {server.host})
        moved = [(each["sent"], each["received"]) for each in binds]
        self.assertEqual(moved[1:], [(0, LARGE), (LARGE, 0)])
        return binds

    def passive(self, server: FTPServer) -> None:
        """Have a session in passive mode."""
        proxy = self.proxy()
        said = self.session(server, proxy, PASSIVE)
        self.assertTransferred(server, said)
        self.assertEqual(len(self.connections(proxy.stop(), "CONNECT")), 4)

    def test_vsftpdActive(self) -> None:
        """vsftpd's data connections come from port 20, where it may use it."""
        port = 20 if mayUsePort20() else freePort()
        binds = self.active(VSFTPD(self, port))
        self.assertEqual({each["dialled"] for each in binds}, {f"127.0.0.1:{port}"})

    def test_vsftpdActiveFromAnyPort(self) -> None:
        """Or from any other."""
        binds = self.active(VSFTPD(self))
        self.assertEqual({each["dialled"].rpartition(":")[0] for each in binds}, {"127.0.0.1"})

    def test_vsftpdPassive(self) -> None:
        """Passive mode needs no BIND."""
        self.passive(VSFTPD(self))

    def test_pyftpdlibActive(self) -> None:
        """pyftpdlib connects as soon as it is told where to, before there is anything to send."""
        self.active(PyFTPD(self))

    def test_pyftpdlibPassive(self) -> None:
        """Passive mode."""
        self.passive(PyFTPD(self))

    def test_SOCKS4(self) -> None:
        """Active mode in SOCKS4, whose BIND is the same in fewer words."""
        self.protocol = "socks_v4"
        binds = self.active(VSFTPD(self), "--socks4")
        self.assertEqual({each["method"] for each in binds}, {"socks4"})

    def test_otherAddress(self) -> None:
        """A server with several addresses, where the proxy is told to let it in by any."""
        server = PyFTPD(self, "127.0.0.2")
        for peers in ("network", "anyone"):
            (server.root / "put").unlink(missing_ok=True)
            binds = self.active(server, "--bind-peers", peers)
            self.assertEqual({each["dialled"].rpartition(":")[0] for each in binds}, {"127.0.0.2"})


class ProgramTests(FTPCase):
    """Other programs, each in its own way."""

    def curl(self, server: FTPServer, *wrapped: str, **env: str) -> None:
        """List, download and upload with curl."""
        quietly = ("-q", "--silent", "--show-error", "--disable-epsv", "--disable-eprt")
        curl = (*wrapped[:1], find("curl", "curl"), *quietly, *wrapped[1:])
        url = f"ftp://{server.host}:{server.port}/"
        get, put = ("--output", "got", f"{url}large"), ("--upload-file", "own", f"{url}put")
        said = run(*curl, url, "--next", *quietly, *wrapped[1:], *get, cwd=self.place, env=env)
        self.assertEqual(said.returncode, 0, said.stderr)
        sent = run(*curl, *put, cwd=self.place, env=env)
        self.assertEqual(sent.returncode, 0, sent.stderr)
        self.assertTransferred(server, said.stdout)

    def test_curlActive(self) -> None:
        """curl under socksify; the address that it names is that of CONNECT's reply."""
        server, proxy = VSFTPD(self), self.proxy()
        dante = Socksify(proxy, str(self.place / "socks.conf"))
        noProxy = ("--noproxy", "*", "--ftp-port", "-")
        self.curl(server, dante.program, *noProxy, **dante.environment)
        self.assertEqual(len(self.connections(proxy.stop(), "BIND")), 3)

    def test_curlPassive(self) -> None:
        """curl's own SOCKS."""
        server, proxy = VSFTPD(self), self.proxy()
        self.curl(server, find("env", "coreutils"), "--socks5-hostname", str(proxy))
        self.assertEqual(len(self.connections(proxy.stop(), "CONNECT")), 5)

    def test_lftp(self) -> None:
        """lftp under proxychains4."""
        server, proxy = VSFTPD(self), self.proxy()
        configured = self.place / "proxychains.conf"
        configured.write_text(f"strict_chain\n[ProxyList]\nsocks5 {proxy.host} {proxy.port}\n")
        wrapped = (find("proxychains4", "proxychains4"), "-q", "-f", configured)
        where = f"open -u anonymous,me@example.com ftp://{server.host}:{server.port}"
        commands = f"set net:max-retries 1; {where}; ls; get large -o got; put own -o put"
        lftp = (find("lftp", "lftp"), "--norc", "-c", commands)
        own = {"HOME": str(self.place)}
        said = run(*wrapped, *lftp, cwd=self.place, env=own)
        self.assertEqual(said.returncode, 0, said.stdout + said.stderr)
        self.assertTransferred(server, said.stdout)
        self.assertEqual(len(self.connections(proxy.stop(), "CONNECT")), 4)


class Through:
    """A connection through the proxy: a blocking socket and a L{ClientNegotiation}."""

    def __init__(self, test: ProxyTestCase, proxy: Proxy, command: Command, to: Address) -> None:
        """
        Connect, ask, and wait for the first reply.

        @ivar bound: what that reply names.
        """
        self.socket = socket.create_connection((proxy.host, proxy.port), 20)
        test.addCleanup(self.socket.close)
        self._negotiation = ClientNegotiation()
        self.socket.sendall(self._negotiation.greet([Method.NO_AUTHENTICATION]))
        self.hear()
        self.socket.sendall(self._negotiation.request(command, to))
        self.bound = self.reply()

    def reply(self) -> Address:
        """Wait for the next reply, which has to be a good one."""
        event = self.hear()
        if not isinstance(event, ReplyMessage) or not event.succeeded:
            raise AssertionError(f"no success: {event}")
        return event.bound

    def rest(self) -> bytes:
        """Give what has come behind the last reply."""
        return self._negotiation.take_rest()

    def hear(self) -> object:
        """Wait for what the proxy says next."""
        while (event := self._negotiation.next_event()) is None:
            octets = self.socket.recv(1 << 16)
            if not octets:
                raise AssertionError("the proxy has closed")
            self._negotiation.receive(octets)
        return event


class OwnClientTests(FTPCase):
    """
    A small FTP client in active mode over a socket and our own negotiation.

    @ivar server: the FTP server's address.
    @ivar heard: what it has said and nobody has read.
    @ivar ports: those that the proxy has given.
    """

    server: IPv4Address | IPv6Address
    heard: bytes

    def setUp(self) -> None:
        """Begin."""
        super().setUp()
        self.ports: list[int] = []

    def data(self, control: Through, proxy: Proxy, answer: str = "200") -> Through:
        """Get a port for the server to connect to, and tell it."""
        binding = Through(self, proxy, Command.BIND, Address(self.server, 0))
        host, port = binding.bound
        self.ports.append(port)
        self.assertNotIn(str(host), ("0.0.0.0", "::"))
        self.says(
            control, f"EPRT |{1 if self.server.version == 4 else 2}|{host!s}|{port}|", answer
        )
        return binding

    def transfer(self, control: Through, proxy: Proxy, command: str, data: bytes = b"") -> bytes:
        """Give a command that has a data connection; send C{data} on it, or give what comes."""
        binding = self.data(control, proxy)
        control.socket.sendall(f"{command}\r\n".encode())
        peer = binding.reply()
        self.assertEqual(peer.host, self.server)
        self.assertNotEqual(peer.port, 0)
        got = [binding.rest()]
        if data:
            binding.socket.sendall(data)
            binding.socket.shutdown(socket.SHUT_WR)
        while octets := binding.socket.recv(1 << 16):
            got.append(octets)
        binding.socket.close()
        self.hears(control, "1")
        self.hears(control, "226")
        return b"".join(got)

    def says(self, control: Through, command: str, answer: str) -> None:
        """Give a command, and wait for its answer."""
        control.socket.sendall(f"{command}\r\n".encode())
        self.hears(control, answer)

    def hears(self, control: Through, answer: str) -> None:
        """Wait for an answer of the server's."""
        while not (line := re.match(rb"([0-9]{3}) .*\r\n", self.heard)):
            self.heard = re.sub(rb"\A([0-9]{3}-| ).*\r\n", b"", self.heard)
            octets = control.socket.recv(1 << 16)
            self.assertTrue(octets, self.heard)
            self.heard += octets
        self.heard = self.heard[line.end() :]
        self.assertTrue(line[0].startswith(answer.encode()), line[0])

    def logIn(self, server: FTPServer, proxy: Proxy) -> Through:
        """Open a control connection."""
        self.server = ip_address(server.host)
        control = Through(self, proxy, Command.CONNECT, Address(self.server, server.port))
        self.heard = control.rest()
        self.hears(control, "220")
        control.socket.sendall(b"USER anonymous\r\n")
        if isinstance(server, PyFTPD):
            self.hears(control, "331")
            control.socket.sendall(b"PASS me@example.com\r\n")
        self.hears(control, "230")
        self.says(control, "TYPE I", "200")
        return control

    def works(self, server: FTPServer, *options: str) -> None:
        """List, download and upload."""
        proxy = self.proxy(*options)
        control = self.logIn(server, proxy)
        listing = self.transfer(control, proxy, "LIST")
        (self.place / "got").write_bytes(self.transfer(control, proxy, "RETR large"))
        self.transfer(control, proxy, "STOR put", (self.place / "own").read_bytes())
        self.assertTransferred(server, listing.decode())
        self.says(control, "QUIT", "221")

    def test_vsftpd(self) -> None:
        """With vsftpd, from port 20."""
        self.works(VSFTPD(self, 20 if mayUsePort20() else freePort()))

    def test_pyftpdlib(self) -> None:
        """With pyftpdlib, whose data may come together with the second reply."""
        self.works(PyFTPD(self))

    def test_IPv6(self) -> None:
        """Over IPv6; the proxy's port is then one of IPv6, too."""
        self.works(PyFTPD(self, host="::1"))

    def test_portRange(self) -> None:
        """The port that a firewall lets in, again and again, and no other."""
        port = freePort()
        self.works(PyFTPD(self), "--bind-ports", f"{port}-{port}")
        self.assertEqual(self.ports, [port] * 3)

    def test_stranger(self) -> None:
        """A server that comes from another address is a stranger, and the log says what to do."""
        proxy = self.proxy("--bind-timeout", "1")
        control = self.logIn(PyFTPD(self, "127.0.0.2"), proxy)
        # 200 where the server has not noticed yet that it was turned away, and 425 where it has.
        binding = self.data(control, proxy, "")
        bound = rf"127\.0\.0\.1:{binding.bound.port}"
        proxy.output.waitFor(rf"127\.0\.0\.2:[0-9]+ turned away from {bound}, .*bind-peers: exact")
        self.assertEqual(getattr(binding.hear(), "reply", None), Reply.TTL_EXPIRED)
        self.assertEqual(binding.socket.recv(1), b"")
        binding.socket.close()
        (record,) = proxy.waitRecords(1)
        self.assertRegex(record["reason"], r"within 1 s; turned away: 1, .* 127\.0\.0\.2:")
