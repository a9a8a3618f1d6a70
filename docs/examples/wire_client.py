"""
A SOCKS5 client on plain blocking sockets: what the wire library leaves to you is to send and to
receive.

    python wire_client.py 127.0.0.1 1080 example.com 80 [NAME PASSWORD]
"""

import socket
import sys
from ipaddress import ip_address

from twisted_socks5.wire import (
    Address,
    ClientNegotiation,
    Command,
    Host,
    Method,
    MethodSelection,
    ReplyMessage,
    UsernamePassword,
    describe_reply,
)
from twisted_socks5.wire.client import ClientEvent


def destination(host: str, port: int) -> Address:
    """An address goes out as an address, everything else as a name, for the proxy to resolve."""
    where: Host
    try:
        where = ip_address(host)
    except ValueError:
        where = host.encode("idna")
    return Address(where, port)


def connect(
    proxy: tuple[str, int], target: Address, credentials: UsernamePassword | None = None
) -> tuple[socket.socket, bytes]:
    """
    Connect to a target through a proxy.

    @return: the connection, and what the target has said already.
    @raise ProtocolError: the proxy does not want us, or breaks the protocol.
    @raise ConnectionError: it can't connect, or goes away.
    """
    connection = socket.create_connection(proxy)
    negotiation = ClientNegotiation()

    def hear() -> ClientEvent:
        while (event := negotiation.next_event()) is None:
            octets = connection.recv(4096)
            if not octets:
                raise ConnectionError(f"closed by the proxy while {negotiation.state.value}")
            negotiation.receive(octets)
        return event

    try:
        methods = [Method.NO_AUTHENTICATION]
        if credentials is not None:
            methods.append(Method.USERNAME_PASSWORD)
        connection.sendall(negotiation.greet(methods))
        selected = hear()
        if credentials is not None and selected == MethodSelection(Method.USERNAME_PASSWORD):
            connection.sendall(negotiation.authenticate(credentials))
            hear()  # a refusal raises
        connection.sendall(negotiation.request(Command.CONNECT, target))
        reply = hear()
        if not isinstance(reply, ReplyMessage) or not reply.succeeded:
            code = getattr(reply, "reply", -1)
            raise ConnectionError(f"the proxy says: {describe_reply(code)}")
        return connection, negotiation.take_rest()
    except BaseException:
        connection.close()
        raise


def main(host: str, port: str, name: str, service: str, *login: str) -> None:
    credentials = UsernamePassword(*(word.encode() for word in login)) if login else None
    connection, answer = connect((host, int(port)), destination(name, int(service)), credentials)
    with connection:
        connection.sendall(f"HEAD / HTTP/1.0\r\nHost: {name}\r\n\r\n".encode())
        while octets := connection.recv(4096):
            answer += octets
    print(answer.decode("latin-1"), end="")


if __name__ == "__main__":
    main(*sys.argv[1:])
