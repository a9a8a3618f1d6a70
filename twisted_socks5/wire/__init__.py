"""
SOCKS5 on the wire: RFC 1928, 1929 and 1961, and SOCKS4 and 4a, for both sides.

Nothing here opens a connection, looks at a clock or writes a log.  Octets go in, events come
out; commands go in, octets come out.  So it can stand below any kind of I/O, and be tested
without one.

The protocol in one page
========================

A client connects to a proxy over TCP and asks it to reach a target.  Numbers are big-endian, a
length is one octet, and every message but the sub-negotiation's begins with the version, 5.

  1. I{Greeting}, client: what it can authenticate with::

         VER=5  NMETHODS  METHODS (NMETHODS octets)

  2. I{Method selection}, server: one of these methods, or FF for "none of them", and then the
     client must close::

         VER=5  METHOD

  3. I{Sub-negotiation}: whatever the method asks for.  None for method 0.  For method 2 (RFC
     1929), with a version of its own; any STATUS but 0 is a refusal::

         VER=1  ULEN  UNAME  PLEN  PASSWD          VER=1  STATUS

     For method 1 (RFC 1961), tokens of a GSSAPI security context to and fro, then a protection
     level, after which all that follows is wrapped and framed likewise, with MTYP 3::

         VER=1  MTYP  LEN (2 octets)  TOKEN        VER=1  MTYP=FF (abort)

  4. I{Request}, client; ATYP is 1 for an IPv4 address (4 octets), 3 for a name (a length, and as
     many octets), 4 for an IPv6 address (16 octets)::

         VER=5  CMD  RSV=0  ATYP  DST.ADDR  DST.PORT (2 octets)

  5. I{Reply}, server.  REP 0 is success; after anything else the server closes, within ten
     seconds::

         VER=5  REP  RSV=0  ATYP  BND.ADDR  BND.PORT (2 octets)

     What it means depends on CMD:

       - CONNECT (1): the proxy is connected to the target, BND being its own end of it.  What
         follows on the connection is payload, both ways.
       - BIND (2): the proxy listens on BND for one connection, from DST.  When it comes a I{second
         reply} says from where, and then payload follows.
       - UDP ASSOCIATE (3): the proxy relays datagrams that the client sends to BND, for as long as
         this connection stands.

  6. Each datagram has a I{UDP request header} before its data, to the proxy with the destination
     and from the proxy with the source; FRAG is 0 but for fragments::

         RSV=0 (2 octets)  FRAG  ATYP  ADDR  PORT (2 octets)  DATA

Everything may arrive in any pieces, and a client may send ahead of the answers it waits for.

What is here
============

  - L{ServerNegotiation} and L{ClientNegotiation}: steps 1 to 5, in turn.  Each has a C{state}
    that says whose turn it is (C{EXPECT_…}: the peer's, C{MUST_…}: ours).
  - C{pack_x} and C{parse_x} for each message alone, and the messages as values.
  - L{parse_header} and L{pack_header} for step 6, L{split_datagram} and L{ReassemblyQueue} for
    fragments.
  - L{ServerChallenge} and L{ClientChallenge}: step 3 of method 3 (CHAP).
  - L{TokenReader} for the frames of step 3 once everything is in them.
  - L{ProtocolError}: the peer's mistakes, each with the octets to answer it with.
    L{LocalProtocolError}: ours.

A whole negotiation, both sides of it
=====================================

The client offers two methods, and the server takes the second:

    >>> client, server = ClientNegotiation(), ServerNegotiation()
    >>> server.receive(client.greet([Method.NO_AUTHENTICATION, Method.USERNAME_PASSWORD]))
    >>> server.next_event()
    Greeting(methods=b'\\x00\\x02')
    >>> client.receive(server.select_method(Method.USERNAME_PASSWORD))
    >>> client.next_event()
    MethodSelection(method=2)

So the client has to say who it is; the password stays out of texts:

    >>> server.receive(client.authenticate(UsernamePassword(b"alice", b"a secret")))
    >>> server.next_event()
    UsernamePassword(username=b'alice')
    >>> client.receive(server.answer_credentials(True))
    >>> client.next_event()
    CredentialsStatus(status=0)

Now it asks for its target, and talks on without waiting.  Its request comes in two pieces:

    >>> octets = client.request(Command.CONNECT, Address(b"example.com", 80)) + b"GET / HTTP/1.0"
    >>> server.receive(octets[:9])
    >>> print(server.next_event(), server.state.name)
    None EXPECT_REQUEST
    >>> server.receive(octets[9:])
    >>> request = server.next_event()
    >>> print(describe_command(request.command), request.destination)
    CONNECT example.com:80

The server connects, and says from where:

    >>> from ipaddress import IPv4Address
    >>> client.receive(server.reply(Reply.SUCCEEDED, Address(IPv4Address("192.0.2.1"), 40000)))
    >>> reply = client.next_event()
    >>> print(describe_reply(reply.reply), reply.bound)
    succeeded (0) 192.0.2.1:40000
    >>> client.state.name, server.state.name, server.take_rest()
    ('DONE', 'DONE', b'GET / HTTP/1.0')

A mistake of the peer's knows how it is answered, and nothing goes on after it:

    >>> server = ServerNegotiation()
    >>> server.receive(b"GET / HTTP/1.0")
    >>> try:
    ...     server.next_event()
    ... except ProtocolError as error:
    ...     print(error.reason)
    version 71 instead of 5 in the greeting: looks like HTTP
    >>> server.state.name
    'FAILED'
"""

from __future__ import annotations

from .address import (
    UNSPECIFIED,
    Address,
    Buffer,
    Host,
    describe_host,
    pack_address,
    parse_address,
)
from .chap import (
    CHALLENGE_TRANSITIONS,
    Challenge,
    ChallengeAlgorithm,
    ChallengeOffer,
    ChallengeResponse,
    ChallengeState,
    ChallengeStatus,
    ChallengeStep,
    ClientChallenge,
    ServerChallenge,
    respond_to,
)
from .client import TRANSITIONS as CLIENT_TRANSITIONS
from .client import ClientEvent, ClientNegotiation, ClientState, ClientStep
from .constants import (
    MAX_BUFFERED,
    MAX_NAME,
    MAX_TOKEN,
    MAX_UDP_HEADER,
    MAX_UDP_PAYLOAD,
    MTYP,
    AddressType,
    Command,
    Method,
    ProtectionLevel,
    Reply,
    Reply4,
    describe_command,
    describe_method,
    describe_reply,
    describe_reply4,
)
from .datagram import pack_header, pack_raw_header, parse_header, split_datagram
from .errors import (
    AuthenticationFailed,
    DatagramError,
    LocalProtocolError,
    MalformedChallenge,
    MalformedCredentials,
    MalformedFrame,
    MalformedRequest,
    MalformedRequest4,
    MethodNotOffered,
    NoAcceptableMethod,
    ProtocolError,
    SOCKS4Off,
    TooManyOctets,
    UnknownAddressType,
    UnsupportedVersion,
)
from .gssapi import Abort, Frame, Token, TokenReader, pack_abort, pack_token, parse_frame
from .messages import (
    Greeting,
    MethodSelection,
    ReplyMessage,
    Request,
    pack_greeting,
    pack_method_selection,
    pack_reply,
    pack_request,
    parse_greeting,
    parse_method_selection,
    parse_reply,
    parse_request,
    parse_request_strictly,
)
from .reassembly import ReassemblyQueue
from .server import TRANSITIONS as SERVER_TRANSITIONS
from .server import ServerEvent, ServerNegotiation, ServerState, ServerStep
from .socks4 import (
    Reply4Message,
    Request4,
    pack_reply4,
    pack_request4,
    parse_reply4,
    parse_request4,
    reply4_for,
)
from .userpass import (
    CredentialsStatus,
    UsernamePassword,
    pack_status,
    pack_username_password,
    parse_status,
    parse_username_password,
)

__all__ = [
    "CHALLENGE_TRANSITIONS",
    "CLIENT_TRANSITIONS",
    "MAX_BUFFERED",
    "MAX_NAME",
    "MAX_TOKEN",
    "MAX_UDP_HEADER",
    "MAX_UDP_PAYLOAD",
    "MTYP",
    "SERVER_TRANSITIONS",
    "UNSPECIFIED",
    "Abort",
    "Address",
    "AddressType",
    "AuthenticationFailed",
    "Buffer",
    "Challenge",
    "ChallengeAlgorithm",
    "ChallengeOffer",
    "ChallengeResponse",
    "ChallengeState",
    "ChallengeStatus",
    "ChallengeStep",
    "ClientChallenge",
    "ClientEvent",
    "ClientNegotiation",
    "ClientState",
    "ClientStep",
    "Command",
    "CredentialsStatus",
    "DatagramError",
    "Frame",
    "Greeting",
    "Host",
    "LocalProtocolError",
    "MalformedChallenge",
    "MalformedCredentials",
    "MalformedFrame",
    "MalformedRequest",
    "MalformedRequest4",
    "Method",
    "MethodNotOffered",
    "MethodSelection",
    "NoAcceptableMethod",
    "ProtectionLevel",
    "ProtocolError",
    "ReassemblyQueue",
    "Reply",
    "Reply4",
    "Reply4Message",
    "ReplyMessage",
    "Request",
    "Request4",
    "SOCKS4Off",
    "ServerChallenge",
    "ServerEvent",
    "ServerNegotiation",
    "ServerState",
    "ServerStep",
    "Token",
    "TokenReader",
    "TooManyOctets",
    "UnknownAddressType",
    "UnsupportedVersion",
    "UsernamePassword",
    "describe_command",
    "describe_host",
    "describe_method",
    "describe_reply",
    "describe_reply4",
    "pack_abort",
    "pack_address",
    "pack_greeting",
    "pack_header",
    "pack_method_selection",
    "pack_raw_header",
    "pack_reply",
    "pack_reply4",
    "pack_request",
    "pack_request4",
    "pack_status",
    "pack_token",
    "pack_username_password",
    "parse_address",
    "parse_frame",
    "parse_greeting",
    "parse_header",
    "parse_method_selection",
    "parse_reply",
    "parse_reply4",
    "parse_request",
    "parse_request4",
    "parse_request_strictly",
    "parse_status",
    "parse_username_password",
    "reply4_for",
    "respond_to",
    "split_datagram",
]
