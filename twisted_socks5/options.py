"""
What can be said on the command line of C{twistd socks5}.

Each option's form is judged here, and what several say together where that takes no look at the
machine; what is made of them is not known.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from enum import Enum
from ipaddress import ip_address
from math import isfinite
from typing import TYPE_CHECKING, NoReturn, TypeVar

from twisted.cred import strcred
from twisted.cred.checkers import FilePasswordDB
from twisted.cred.credentials import IAnonymous, IUsernameHashedPassword, IUsernamePassword
from twisted.python import usage

from twisted_socks5._version import __version__
from twisted_socks5.auth import checkUsable
from twisted_socks5.auth.certificates import IVerifiedCertificate
from twisted_socks5.auth.gssapi import IVerifiedPrincipal
from twisted_socks5.auth.methods import WORDS, parseMethods
from twisted_socks5.config import BindPeers, Filtering, PortChoice, Settings
from twisted_socks5.errors import ConfigurationError
from twisted_socks5.rules import Rule

if TYPE_CHECKING:
    from twisted_socks5.wire.constants import Method

Choice = TypeVar("Choice", bound=Enum)

COMMAND = "twistd socks5"

#: Connections that may wait to be accepted; Twisted's own default drops those of a busy minute.
BACKLOG = 1024

FORMATS = ("text", "json")

#: More processes than this are a slip of the keyboard.
MOST_WORKERS = 1024

#: Where it listens unless it is told.
PORT = 1080
INTERFACE = "127.0.0.1"

EXAMPLES = """
Examples:
  For the programs on this host:
    twistd -n socks5 --port 1080
  For others, who log in with a name and a password; socks5-users makes the file:
    twistd -n socks5 --interface 0.0.0.0 --auth htpasswd:/etc/socks5-users
  The same over TLS, on the certificates of a directory, for IPv6 and IPv4:
    twistd -n socks5 --listen tls:/etc/ssl/proxy:1080:interface=\\:\\:
                     --auth htpasswd:/etc/socks5-users
  For whoever has a Kerberos ticket for it:
    twistd -n socks5 --interface 0.0.0.0 --auth gssapi:keytab=/etc/socks5.keytab
  For anybody who can reach the port, without a password:
    twistd -n socks5 --interface 10.1.2.3 --auth anonymous
  Started by systemd, on a socket of its own:
    twistd -n socks5 --listen systemd:domain=INET:index=0
  By way of the next proxy, which has users:
    twistd -n socks5 --via 'socks5://alice@proxy.example?passwordFile=/etc/socks5-via'
  Not into the private network, but for one web server:
    twistd -n socks5 --permit 10.1.2.3:443 --deny 10.0.0.0/8
"""


def seconds(option: str) -> Callable[[str], float]:
    """Make what reads an option's time in seconds."""

    def coerce(value: str) -> float:
        try:
            time = float(value)
        except ValueError:
            time = -1.0
        if not (isfinite(time) and time >= 0):
            raise usage.UsageError(f"--{option} takes a number of seconds, not {value!r}")
        return time

    return coerce


def number(option: str) -> Callable[[str], int]:
    """Make what reads an option's whole number."""

    def coerce(value: str) -> int:
        if not value.isdecimal():
            raise usage.UsageError(f"--{option} takes a whole number, not {value!r}")
        return int(value)

    return coerce


def workerCount(value: str) -> int:
    """Read how many processes serve; C{auto} is one for each processor that we may use."""
    if value == "auto":
        return _processors()
    if not (value.isdecimal() and 0 < int(value) <= MOST_WORKERS):
        raise usage.UsageError(
            f"--workers takes a number from 1 to {MOST_WORKERS}, or auto, not {value!r}"
        )
    return int(value)


def _processors() -> int:
    """Count the processors that this process may use."""
    usable = getattr(os, "sched_getaffinity", None)
    return len(usable(0)) if usable is not None else os.cpu_count() or 1


def portNumber(value: str) -> int:
    """Read a port to listen on; 0 leaves the choice to the system."""
    if not (value.isdecimal() and int(value) <= 65535):
        raise usage.UsageError(f"--port takes a number from 0 to 65535, not {value!r}")
    return int(value)


def portRange(option: str) -> Callable[[str], range]:
    """Make what reads an option's range of ports."""

    def coerce(value: str) -> range:
        low, _, high = value.partition("-")
        high = high or low
        if not (low.isdecimal() and high.isdecimal() and 0 < int(low) <= int(high) < 65536):
            raise usage.UsageError(f"--{option} takes LOW-HIGH from 1 to 65535, not {value!r}")
        return range(int(low), int(high) + 1)

    return coerce


def methodList(value: str) -> tuple[Method, ...]:
    """Read authentication methods in order of preference."""
    try:
        return parseMethods(value)
    except ConfigurationError as error:
        raise usage.UsageError(f"--methods: {error}") from None


def choice(option: str, kind: type[Choice]) -> Callable[[str], Choice]:
    """Make what reads an option's one of a few words."""

    def coerce(value: str) -> Choice:
        try:
            return kind(value)
        except ValueError:
            known = " or ".join(each.value for each in kind)
            raise usage.UsageError(f"--{option} is {known}, not {value!r}") from None

    return coerce


class Options(usage.Options, strcred.AuthOptionMixin):
    """
    The options of C{twistd socks5}.

    @ivar arguments: the command line that they were read from.
    """

    arguments: Sequence[str] = ()

    synopsis = "[options]"
    longdesc = (
        "A SOCKS5 proxy. Without options it serves the programs on this host. "
        "Whoever listens wider says with --auth who may use it."
    )
    supportedInterfaces = (
        IAnonymous,
        IUsernamePassword,
        IUsernameHashedPassword,
        IVerifiedPrincipal,
        IVerifiedCertificate,
    )

    _defaults = Settings()
    optParameters = [  # noqa: RUF012 (usage.Options reads it so)
        # Without a default here, so that it can be told whether they were given.
        ["port", "p", None, f"Port to listen on. [default: {PORT}]", portNumber],
        ["interface", "i", None, f"Address to listen on. [default: {INTERFACE}]"],
        ["methods", None, None,
         "Authentication methods to offer, the preferred one first: chap, password, none, "
         "gssapi. [default: all that --auth can check, in this order]", methodList],
        ["negotiation-timeout", None, _defaults.negotiation_timeout,
         "From the connection to the complete request.", seconds("negotiation-timeout")],
        ["lookup-timeout", None, _defaults.lookup_timeout,
         "For a name to be resolved.", seconds("lookup-timeout")],
        ["dial-timeout", None, _defaults.dial_timeout,
         "For a target to answer.", seconds("dial-timeout")],
        ["idle-timeout", None, _defaults.idle_timeout,
         "How long nothing may move on a connection.", seconds("idle-timeout")],
        ["half-closed-timeout", None, _defaults.half_closed_timeout,
         "The same once one side has ended its sending.", seconds("half-closed-timeout")],
        ["drain-timeout", None, 5.0,
         "How long connections may go on after SIGTERM; a second SIGTERM ends them at once.",
         seconds("drain-timeout")],
        ["max-connections", None, None,
         f"Connections at a time. [default: {_defaults.max_connections}, or what the limit of "
         "file descriptors allows]", number("max-connections")],
        ["max-connections-per-client", None, None,
         "The same for one client address (IPv6: a /64). "
         f"[default: {_defaults.max_connections_per_client}]",
         number("max-connections-per-client")],
        ["bind-timeout", None, _defaults.bind_timeout,
         "How long a BIND may wait for its peer.", seconds("bind-timeout")],
        ["bind-ports", None, None,
         "Ports that BIND listens on: LOW-HIGH. [default: any]", portRange("bind-ports")],
        ["bind-peers", None, None,
         "Who may connect to a BIND's port: only the address that the client expects (exact), "
         "its network, too (network: a /24, or a /64 of IPv6), or anyone. [default: exact]",
         choice("bind-peers", BindPeers)],
        ["bind-port-choice", None, None,
         "Who chooses that port: the proxy, or the client, where its request names one from "
         "1024 on. [default: proxy]", choice("bind-port-choice", PortChoice)],
        ["association-timeout", None, _defaults.association_timeout,
         "How long no datagram may pass an association.", seconds("association-timeout")],
        ["udp-ports", None, None,
         "Ports that clients send their datagrams to: LOW-HIGH. [default: any]",
         portRange("udp-ports")],
        ["udp-filtering", None, None,
         "Who may answer a client's datagrams: anybody (endpoint-independent) or only hosts "
         "that it has sent to (address-dependent). [default: endpoint-independent]",
         choice("udp-filtering", Filtering)],
        ["via", None, None,
         "The next proxy, which all is asked of: socks5://, socks4a:// or http:// (CONNECT only) "
         "and [USER:PASSWORD@]HOST:PORT; with USER@ and ?passwordFile=PATH, or "
         "?passwordEnv=NAME, no password is to be seen; or socks5:via=... for what a URL cannot "
         "say. Names go on unresolved."],
        ["workers", None, 1,
         "Processes that serve: a number, or auto, one for each processor. With several, limits "
         "are divided among them, or are for each.", workerCount],
        ["access-log", "l", None,
         "File for the access log. [default: Twisted's log]"],
        ["access-log-format", None, "text", "Format of the access log: text or json."],
    ]  # fmt: skip
    optFlags = [  # noqa: RUF012 (usage.Options reads it so)
        ["socks4", None, "Serve SOCKS4 and 4a, too."],
        ["resolve", None, "Serve Tor's commands RESOLVE and RESOLVE_PTR."],
    ]  # fmt: skip
    compData = usage.Completions(
        optActions={
            "access-log": usage.CompleteFiles(),
            "access-log-format": usage.CompleteList(FORMATS),
            "interface": usage.CompleteNetInterfaces(),
            "methods": usage.CompleteMultiList(list(WORDS)),
            "bind-peers": usage.CompleteList([each.value for each in BindPeers]),
            "bind-port-choice": usage.CompleteList([each.value for each in PortChoice]),
            "udp-filtering": usage.CompleteList([each.value for each in Filtering]),
        }
    )

    def __init__(self) -> None:
        super().__init__()
        self["listen"] = []
        self["rules"] = []
        self["advertised"] = ()
        self["credCheckers"] = []

    def parseOptions(self, options: list[str] | None = None) -> None:
        """
        Parse the command line.

        @raise SystemExit: it is wrong, with one line that says what and where.
        """
        self.arguments = list(sys.argv[1:] if options is None else options)
        try:
            super().parseOptions(options)
        except (usage.UsageError, ConfigurationError) as error:
            raise SystemExit(f"{COMMAND}: {error}") from None

    def getUsage(self, width: int | None = None) -> str:
        """Describe the options, with examples."""
        return super().getUsage(width) + EXAMPLES

    def opt_version(self) -> NoReturn:
        """Display the version and exit."""
        print(f"twisted-socks5 {__version__}")  # noqa: T201
        raise SystemExit(0)

    def opt_listen(self, description: str) -> None:
        """
        Listen on this server endpoint instead of --port and --interface: tcp:, ssl:, tls:
        (both with clientCA=FILE, too), unix:, systemd:, haproxy: and whatever plugins add. Can
        be given many times.
        """
        if description.isdigit():
            description = f"tcp:{description}"
        if description.startswith("tcp:") and "backlog=" not in description:
            description += f":backlog={BACKLOG}"
        self["listen"].append(description)

    def opt_advertise(self, address: str) -> None:
        """
        Name this address, not the proxy's own, in replies to BIND and UDP ASSOCIATE: the one
        that it is reached by behind a NAT. Can be given twice, for IPv4 and IPv6.
        """
        try:
            self["advertised"] += (ip_address(address),)
        except ValueError:
            raise usage.UsageError(f"--advertise takes an IP address, not {address!r}") from None

    def opt_auth(self, description: str) -> None:
        """Say who may use it, as in htpasswd:/etc/socks5-users; see --help-auth."""
        kind, _, path = description.partition(":")
        if kind == "file" and path:
            # Twisted's plugin writes a warning of its own and goes on.
            checkUsable([FilePasswordDB(path)])
        try:
            super().opt_auth(description)
        except usage.UsageError as error:
            # Twisted calls all that it does not know unexpected; ours have said what is wrong.
            if isinstance(error.__context__, ConfigurationError):
                raise error.__context__ from None
            raise

    def opt_permit(self, destination: str) -> None:
        """
        Permit a destination: NETWORK, ADDRESS or NAME, with :PORT or :LOW-HIGH if only
        those. The first --permit or --deny that matches decides.
        """
        self["rules"].append(Rule.parse("permit", destination))

    def opt_deny(self, destination: str) -> None:
        """
        Deny a destination, written as for --permit.
        """
        self["rules"].append(Rule.parse("deny", destination))

    def postOptions(self) -> None:
        """Check what depends on several options."""
        for name, default in (("port", PORT), ("interface", INTERFACE)):
            if self[name] is None:
                self[name] = default
            elif self["listen"]:
                raise usage.UsageError(
                    "--listen says where to listen: put the port and the interface into it and "
                    "leave out --port and --interface"
                )
        if self["access-log-format"] not in FORMATS:
            raise usage.UsageError(
                f"--access-log-format is {' or '.join(FORMATS)}, not {self['access-log-format']}"
            )
        total, per_client = self["max-connections"], self["max-connections-per-client"]
        if total and per_client and per_client > total:
            raise usage.UsageError(
                f"--max-connections-per-client {per_client} cannot take effect: "
                f"--max-connections is {total}"
            )
