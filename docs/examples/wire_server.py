"""
A SOCKS5 server on asyncio: the wire library says what was said and what may be answered, and
neither it nor this file needs Twisted.

CONNECT for the programs of this host, with no rules, limits and deadlines: an example of the
library, not a proxy to run.
"""

import asyncio
from asyncio import StreamReader, StreamWriter
from ipaddress import ip_address

from twisted_socks5.wire import (
    Address,
    Command,
    Greeting,
    Method,
    ProtocolError,
    Reply,
    Request,
    ServerNegotiation,
    describe_host,
)
from twisted_socks5.wire.server import ServerEvent


async def hear(client: StreamReader, negotiation: ServerNegotiation) -> ServerEvent:
    """Wait for the client's next message."""
    while (event := negotiation.next_event()) is None:
        octets = await client.read(4096)
        if not octets:
            raise ConnectionError("closed by the client")
        negotiation.receive(octets)
    return event


async def copy(source: StreamReader, sink: StreamWriter) -> None:
    """Copy one direction, and its end."""
    while octets := await source.read(65536):
        sink.write(octets)
        await sink.drain()
    sink.write_eof()


async def serve(client: StreamReader, answers: StreamWriter) -> None:
    """One client, from its greeting to its end."""
    negotiation = ServerNegotiation()
    try:
        greeting = await hear(client, negotiation)
        if not (isinstance(greeting, Greeting) and Method.NO_AUTHENTICATION in greeting.methods):
            answers.write(negotiation.select_method(Method.NO_ACCEPTABLE_METHODS))
            return
        answers.write(negotiation.select_method(Method.NO_AUTHENTICATION))
        request = await hear(client, negotiation)
        if not (isinstance(request, Request) and request.command == Command.CONNECT):
            answers.write(negotiation.reply(Reply.COMMAND_NOT_SUPPORTED))
            return
        host, port = request.destination
        try:
            source, sink = await asyncio.open_connection(describe_host(host), port)
        except OSError:
            answers.write(negotiation.reply(Reply.HOST_UNREACHABLE))
            return
        address, port = sink.get_extra_info("sockname")[:2]
        answers.write(negotiation.reply(Reply.SUCCEEDED, Address(ip_address(address), port)))
        sink.write(negotiation.take_rest())  # what the client did not wait with
        try:
            await asyncio.gather(copy(client, sink), copy(source, answers))
        finally:
            sink.close()
    except ProtocolError as error:
        answers.write(error.answer)  # b"" where there is nothing to say
    except ConnectionError:
        pass
    finally:
        answers.close()


async def main() -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", 1080)
    print("listening on", *(socket.getsockname() for socket in server.sockets), flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
