"""
A proxy on a reactor of its own, and what real sockets do to it.

Run as C{python -m tests.streams.scenarios REACTOR PATH}: the proxy is in the main thread, on
that reactor; its clients and targets are plain blocking sockets in another one.  What each
scenario found goes to the standard output, as a line of JSON: nothing where all was well.

The paths: C{spliced} (streams watched by epoll, bulk spliced), C{watched} (streams watched by the
reactor, nothing spliced: as on systems without these) and C{portable} (Twisted's own transports).
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import select
import socket
import struct
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any, cast

CONNECT_TO = b"\5\1\0\5\1\0\1\x7f\0\0\1"
GRANTED = b"\5\0\5\0\0\1"

#: Nothing here takes longer, unless it hangs.
SECONDS = 20

#: What clients and targets let the kernel hold for them.
BUFFER = 1 << 18

#: What may be held of one whose reader does not read: all that the kernel lets a socket receive,
#: which is the proxy's, and what pipe, buffers and the other sockets hold.
with open("/proc/sys/net/ipv4/tcp_rmem") as limits:
    HELD = int(limits.read().split()[2]) + 8_000_000

#: Octets of a flood: more than that.
SIZE = max(50_000_000, HELD + 20_000_000)

PIECE = bytes(range(256)) * 256

REACTORS = {
    "epoll": "epollreactor",
    "poll": "pollreactor",
    "select": "selectreactor",
    "asyncio": "asyncioreactor",
}


class Failed(Exception):
    """A scenario did not go as it should."""


def check(found: object, wanted: object) -> None:
    """Compare."""
    if found != wanted:
        raise Failed(f"{found!r} instead of {wanted!r}")


class Conversation:
    """
    A client and a target, joined by the proxy.

    @ivar client: the client's socket.
    @ivar target: the target's.
    """

    def __init__(self, proxy: int) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            listening.settimeout(SECONDS)
            self.client = socket.socket()
            for each in (listening, self.client):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
                each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
            self.client.settimeout(SECONDS)
            self.client.connect(("127.0.0.1", proxy))
            self.client.sendall(CONNECT_TO + listening.getsockname()[1].to_bytes(2, "big"))
            self.target, _ = listening.accept()
            self.target.settimeout(SECONDS)
        heard = hear(self.client, 12)
        check(heard[:6], GRANTED)
        check(
            heard[6:],
            socket.inet_aton("127.0.0.1") + self.target.getpeername()[1].to_bytes(2, "big"),
        )

    def close(self) -> None:
        """Close both sides."""
        self.client.close()
        self.target.close()


def hear(end: socket.socket, size: int) -> bytes:
    """Receive so many octets."""
    got = b""
    while len(got) < size:
        piece = end.recv(size - len(got))
        if not piece:
            raise Failed(f"the end behind {got!r}")
        got += piece
    return got


def hearOut(end: socket.socket) -> tuple[int, str]:
    """Receive everything up to the end; @return: how much, and its checksum."""
    count, digest = 0, hashlib.md5(usedforsecurity=False)
    while piece := end.recv(1 << 18):
        count += len(piece)
        digest.update(piece)
    return count, digest.hexdigest()


def flood(end: socket.socket, size: int, sent: int = 0) -> tuple[int, str]:
    """Send so many octets, some of which are sent; @return: how many, and their checksum."""
    digest = hashlib.md5(usedforsecurity=False)
    for start in range(0, size, len(PIECE)):
        piece = PIECE[: size - start]
        digest.update(piece)
        end.sendall(piece[max(0, sent - start) :])
    return size, digest.hexdigest()


def reset(end: socket.socket) -> None:
    """Close with a reset."""
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.close()


class InThread(threading.Thread):
    """Something that is done meanwhile."""

    def __init__(self, what: Callable[..., Any], *arguments: Any) -> None:
        super().__init__(daemon=True)
        self._what = what
        self._arguments = arguments
        self._found: Any = Failed("no end")
        self.start()

    def run(self) -> None:
        """Do it."""
        try:
            self._found = self._what(*self._arguments)
        except Exception as error:
            self._found = error

    def result(self) -> Any:
        """Wait for its end; @return: what it returned."""
        self.join(SECONDS)
        if isinstance(self._found, Exception):
            raise self._found
        return self._found


class Scenarios:
    """
    What may happen on a relay; each method that begins with a capital letter is one.

    @ivar records: the access log.
    """

    def __init__(self, proxy: Any, port: int, transport: str, do: Callable[..., Any]) -> None:
        """
        @param transport: what sessions should stand on.
        @param do: calls something in the proxy's thread, and returns what that returns.
        """
        self.proxy = proxy
        self.transport = {transport}
        self.port = port
        self.do = do
        self.records: list[Any] = []
        self.ended = threading.Condition()

    def transports(self) -> set[str]:
        """Say what sessions stand on."""
        return {type(session.transport).__name__ for session in self.proxy.factory.sessions}

    def note(self, record: Any) -> None:
        """Keep an access record."""
        with self.ended:
            self.records.append(record)
            self.ended.notify_all()

    def record(self) -> Any:
        """Wait for the next session's end; @return: its record."""
        with self.ended:
            if not self.ended.wait_for(lambda: self.records, SECONDS):
                raise Failed("no session has ended")
            return self.records.pop(0)

    def clientEndsFirst(self) -> None:
        """The client sends its FIN, and still gets the whole answer."""
        said = Conversation(self.port)
        upload = InThread(flood, said.client, 1_000_001)
        read = InThread(hearOut, said.target)
        sent = upload.result()
        said.client.shutdown(socket.SHUT_WR)
        check(read.result(), sent)
        answer = InThread(flood, said.target, 2_000_003)
        read = InThread(hearOut, said.client)
        answered = answer.result()
        said.target.close()
        check(read.result(), answered)
        said.close()
        record = self.record()
        check((record.sent, record.received), (1_000_001, 2_000_003))
        check(record.reason, "client closed")

    def targetEndsFirst(self) -> None:
        """The target sends its FIN, and still gets the whole upload."""
        said = Conversation(self.port)
        said.target.sendall(b"100 continue")
        said.target.shutdown(socket.SHUT_WR)
        check(hearOut(said.client)[0], 12)
        upload = InThread(flood, said.client, 1_500_000)
        read = InThread(hearOut, said.target)
        sent = upload.result()
        said.client.close()
        check(read.result(), sent)
        said.close()
        record = self.record()
        check((record.sent, record.received), (1_500_000, 12))
        check(record.reason, "target closed")

    def targetResets(self) -> None:
        """A target's reset is the client's, behind the octets that came before it."""
        said = Conversation(self.port)
        read = InThread(hear, said.client, 300_000)
        said.target.sendall(PIECE * 4 + bytes(300_000 - 4 * len(PIECE)))
        read.result()
        reset(said.target)
        self.heardReset(said.client)
        said.close()
        check(self.record().reason, "target reset")

    def clientResets(self) -> None:
        """A client's reset is the target's."""
        said = Conversation(self.port)
        said.client.sendall(b"half a quest")
        check(hear(said.target, 12), b"half a quest")
        reset(said.client)
        self.heardReset(said.target)
        said.close()
        record = self.record()
        check((record.reason, record.sent), ("client reset", 12))

    def heardReset(self, end: socket.socket) -> None:
        """Wait for a reset."""
        try:
            heard = end.recv(1)
        except ConnectionResetError:
            return
        raise Failed(f"{heard!r} instead of a reset")

    def backPressure(self) -> None:
        """A reader that pauses stops the writer, either way, and gets everything in the end."""
        for reader, writer in (("client", "target"), ("target", "client")):
            said = Conversation(self.port)
            reading, writing = getattr(said, reader), getattr(said, writer)
            writing.setblocking(False)
            size, sent = SIZE, 0
            # Until nothing can be sent for a while.
            while sent < size and select.select([], [writing], [], 0.3)[1]:
                at = sent % len(PIECE)
                sent += writing.send(PIECE[at : at + size - sent])
            if sent > HELD:
                raise Failed(
                    f"{sent} octets were taken of a {writer} whose {reader} does not read"
                )
            writing.settimeout(SECONDS)
            read = InThread(hearOut, reading)
            whole = InThread(flood, writing, size, sent).result()
            writing.close()
            check(read.result(), whole)
            said.close()
            record = self.record()
            moved = [record.sent, record.received]
            check(moved, [0, size] if reader == "client" else [size, 0])

    def refused(self) -> None:
        """Where nobody listens, the reply says so."""
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = listening.getsockname()[1]
        with socket.create_connection(("127.0.0.1", self.port), SECONDS) as client:
            client.sendall(CONNECT_TO + port.to_bytes(2, "big"))
            check(hear(client, 12), b"\5\0\5\5\0\1" + bytes(6))
            check(client.recv(1), b"")
        check(self.record().reply, 5)

    def cut(self) -> None:
        """Relays that are cut reset both sides; with octets under way, and without."""
        for size in (0, 20_000_000):
            said = Conversation(self.port)
            said.target.setblocking(False)
            while size and select.select([], [said.target], [], 0.2)[1]:
                said.target.send(PIECE)
            self.do(self.proxy.factory.abortSessions, "cut")
            said.target.settimeout(SECONDS)
            self.heardReset(said.target)
            try:
                hearOut(said.client)
            except ConnectionResetError:
                pass
            else:
                raise Failed("a client that was cut has heard an end")
            said.close()
            check(self.record().reason, "cut")

    def many(self) -> None:
        """Many at once, each with its own octets."""
        said = [Conversation(self.port) for _ in range(100)]
        for number, each in enumerate(said):
            each.client.sendall(f"question {number:3}".encode())
            each.target.sendall(f"answer {number:3}".encode())
        for number, each in enumerate(said):
            check(hear(each.target, 12), f"question {number:3}".encode())
            check(hear(each.client, 10), f"answer {number:3}".encode())
        for number, each in enumerate(said):
            (each.client if number % 2 else each.target).close()
        for number, each in enumerate(said):
            check((each.target if number % 2 else each.client).recv(1), b"")
            each.close()
        for _ in said:
            record = self.record()
            check((record.sent, record.received), (12, 10))

    def pingPong(self) -> None:
        """Small messages to and fro; and that they go the way they should."""
        said = Conversation(self.port)
        check(self.do(self.transports), self.transport)
        for number in range(300):
            word = number.to_bytes(4, "big")
            said.client.sendall(word)
            check(hear(said.target, 4), word)
            said.target.sendall(word[::-1])
            check(hear(said.client, 4), word[::-1])
        said.close()
        check(self.record().sent, 1200)


def descriptors() -> set[str]:
    """Say what is open, but for what the reactor has for itself."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            found.add(f"{number} {os.readlink(f'/proc/self/fd/{number}')}")
        except FileNotFoundError:
            continue  # The directory itself.
    return found


def main(name: str, path: str) -> None:
    """Run all scenarios."""
    importlib.import_module(f"twisted.internet.{REACTORS[name]}").install()
    from twisted.internet import reactor as installed
    from twisted.internet import threads
    from twisted.internet.endpoints import TCP4ServerEndpoint
    from twisted.logger import globalLogPublisher

    from tests.server.base import anybody
    from twisted_socks5.dialing import HappyEyeballs
    from twisted_socks5.relay.splice import PIPES
    from twisted_socks5.server import SOCKS5ServerFactory
    from twisted_socks5.service import SOCKS5Service
    from twisted_socks5.streams import ReactorWatch, StreamTCP

    reactor = cast(Any, installed)
    trouble: dict[str, str] = {}

    def observe(event: dict[str, Any]) -> None:
        if "log_failure" in event:
            trouble["logged"] = event["log_failure"].getTraceback()

    globalLogPublisher.addObserver(observe)  # type: ignore[arg-type]  # a function will do
    spliced: list[int] = []
    splice = getattr(os, "splice", None)
    if splice is not None:

        def counted(*arguments: Any, **options: Any) -> int:
            moved: int = splice(*arguments, **options)
            spliced.append(moved)
            return moved

        os.splice = counted
    noted: list[Scenarios] = []
    factory = SOCKS5ServerFactory(
        reactor, anybody(), accessLog=lambda record: noted[0].note(record)
    )
    if path != "spliced":
        PIPES.usable = False
        factory.streams = StreamTCP(ReactorWatch(reactor)) if path == "watched" else None
        tcp = cast(Any, factory.streams or reactor)
        factory.dialer = HappyEyeballs(tcp, reactor)
    endpoint = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
    service = SOCKS5Service(factory, [endpoint], drain=1)

    def do(what: Callable[..., Any], *arguments: Any) -> Any:
        return threads.blockingCallFromThread(reactor, what, *arguments)

    def play(port: int) -> None:
        transport = "Server" if path == "portable" else "Stream"
        scenarios = Scenarios(service, port, transport, do)
        noted.append(scenarios)
        scenarios.pingPong()
        do(PIPES.close)
        before = descriptors()
        for scenario in (
            scenarios.pingPong,
            scenarios.clientEndsFirst,
            scenarios.targetEndsFirst,
            scenarios.targetResets,
            scenarios.clientResets,
            scenarios.backPressure,
            scenarios.refused,
            scenarios.cut,
            scenarios.many,
        ):
            try:
                scenario()
                check((do(len, factory.sessions), do(len, factory.limits)), (0, 0))
            except Exception:
                trouble[scenario.__name__] = traceback.format_exc()
        do(PIPES.close)
        if bool(spliced) != (path == "spliced"):
            trouble["path"] = f"{sum(spliced)} octets were spliced"
        left = descriptors() - before
        if left:
            trouble["descriptors"] = repr(sorted(left))

    def begin() -> None:
        service.startService()
        (port,) = service.ports
        played = threads.deferToThread(play, cast(Any, port).getHost().port)
        played.addErrback(lambda failure: trouble.setdefault("play", failure.getTraceback()))
        played.addBoth(lambda _: service.stopService())
        played.addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(begin)
    reactor.run()
    print(json.dumps(trouble))  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
