"""
C{twistd socks5} and C{twist socks5}: options in, a running proxy or one clear line out.

Everything that belongs to the process and not to the server is here: exit codes, signals and
the number of file descriptors.
"""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from enum import Enum
from functools import partial
from ipaddress import ip_address
from math import isfinite
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

from twisted.cred import strcred
from twisted.cred.checkers import AllowAnonymousAccess, FilePasswordDB
from twisted.cred.credentials import IAnonymous, IUsernameHashedPassword, IUsernamePassword
from twisted.cred.portal import Portal
from twisted.internet.endpoints import quoteStringArgument, serverFromString
from twisted.internet.error import CannotListenError
from twisted.python import usage

from twisted_socks5._version import __version__
from twisted_socks5.auth import SOCKS5Realm, checkUsable, combine
from twisted_socks5.auth.certificates import CertificateChecker, IVerifiedCertificate
from twisted_socks5.auth.gssapi import IVerifiedPrincipal, PrincipalChecker
from twisted_socks5.auth.methods import WORDS, checkMethods, parseMethods
from twisted_socks5.config import BindPeers, Filtering, PortChoice, Settings
from twisted_socks5.descriptors import raiseDescriptorLimit
from twisted_socks5.errors import ConfigurationError
from twisted_socks5.limits import connections_for
from twisted_socks5.logs import (
    AccessLog,
    FileAccessLog,
    TwistedAccessLog,
    appending,
    formatDated,
    formatJSON,
    formatLikeTwisted,
    formatText,
)
from twisted_socks5.relay.splice import MAX_PIPES, PIPES
from twisted_socks5.rules import Rule, Rules
from twisted_socks5.server import SOCKS5ServerFactory
from twisted_socks5.service import SOCKS5Service, describeAddress, isReachable
from twisted_socks5.tls import TLSServerEndpoint, endpointFromString, isTLS

if TYPE_CHECKING:
    from twisted.cred.checkers import ICredentialsChecker
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import (
        IAddress,
        IReactorFromThreads,
        IReactorTime,
        IStreamServerEndpoint,
    )

    from twisted_socks5.interfaces import IPAddress, IVia
    from twisted_socks5.wire.constants import Method

Choice = TypeVar("Choice", bound=Enum)

COMMAND = "twistd socks5"

#: Connections that may wait to be accepted; Twisted's own default drops those of a busy minute.
BACKLOG = 1024

FORMATS = ("text", "json")

HOW_TO_SAY_WHO = (
    "name the users, as in --auth htpasswd:/etc/socks5-users (socks5-users makes that file; see "
    "--help-auth), or, if anybody may, say --auth anonymous"
)

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
    """The options of C{twistd socks5}."""

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


class StartFailure(SystemExit, Exception):
    """
    The server can't start; the text says why in one line.

    A SystemExit, so that C{twistd} ends with status 1 and no traceback; and an Exception, so
    that it removes its pid file and, as a daemon, tells its parent.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.code = 1


# A daemon's parent prints 100 octets of an exception, its name in full included.
StartFailure.__module__ = "builtins"


class _Proxy(SOCKS5Service):
    """
    The service as a process sees it: failing to start, and being told twice to stop.

    @ivar logsToStandardOutput: who started it sees its log.
    """

    logsToStandardOutput = False

    def privilegedStartService(self) -> None:
        """Start, or end the process with one line."""
        self._orEnd(super().privilegedStartService)

    def startService(self) -> None:
        """Start, or end the process with one line; SIGHUP opens log and certificates anew."""
        self._orEnd(self._startAsWhoWeAre)
        # What is loaded by now stays, and sessions leave nothing to collect.
        gc.freeze()
        # Without a handler, SIGHUP ends the process.
        signal.signal(signal.SIGHUP, self._reopen)

    def _startAsWhoWeAre(self) -> None:
        # Privileges are gone by now: whom the root could look up, its successor must, too.
        checkUsable(self.factory.authenticator.portal.checkers.values())
        super().startService()

    def stopService(self) -> Deferred[None]:
        """Stop; whoever asks a second time does not want to wait."""

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._cutNow)
        stopped = super().stopService()
        accessLog = self.factory.accessLog
        if isinstance(accessLog, FileAccessLog):
            stopped.addCallback(lambda _: accessLog.flush())
        return stopped

    def _reopen(self, _number: int, _frame: FrameType | None) -> None:
        accessLog = self.factory.accessLog
        if isinstance(accessLog, FileAccessLog):
            self._soon(accessLog.reopen)
        self._soon(self.reload)

    def _cutNow(self, _number: int, _frame: FrameType | None) -> None:
        self._soon(self.cut)

    def _soon(self, what: Callable[[], object]) -> None:
        """Do something that a signal asks for when the reactor is next at rest."""
        cast("IReactorFromThreads", self.factory.reactor).callFromThread(what)

    def _orEnd(self, start: Callable[[], None]) -> None:
        try:
            start()
        except (CannotListenError, ConfigurationError, OSError) as error:
            reason = f"{COMMAND}: {_explain(error)}"
            if not self.logsToStandardOutput:
                self.log.critical("{reason}", reason=reason)
            # twistd has put its log in the place of sys.stderr; this is for who started it.
            print(reason, file=sys.__stderr__)
            raise StartFailure(reason) from None


def makeService(options: Options) -> SOCKS5Service:
    """
    Make the service that the options describe; called by C{twistd}.

    @raise SystemExit: an option can't be carried out, with one line that says which and why.
    """
    from twisted.internet import reactor

    try:
        return _makeService(options, reactor)
    except (ConfigurationError, OSError) as error:
        raise SystemExit(f"{COMMAND}: {error}") from None


def _makeService(options: Options, reactor: Any) -> SOCKS5Service:
    checkers: list[ICredentialsChecker] = options["credCheckers"]
    if sum(isinstance(each, PrincipalChecker) for each in checkers) > 1:
        raise ConfigurationError(
            "--auth gssapi is for all clients, so it can be given once: realm=A,B takes several "
            "realms, and a map whoever is in it"
        )
    checkUsable(checkers)
    portal = Portal(SOCKS5Realm(), combine(checkers or [AllowAnonymousAccess()]))
    settings = _settings(options)
    via = None
    if options["via"] is not None:
        via = _via(options["via"], reactor, settings, lambda *where: factory.isOwn(*where))
    factory = SOCKS5ServerFactory(
        reactor, portal, settings=settings, via=via, accessLog=_accessLog(options, reactor)
    )
    try:
        checkMethods(portal, factory.settings.methods)
    except ConfigurationError as error:
        raise ConfigurationError(f"--methods: {error}") from None
    factory.descriptors = descriptors = raiseDescriptorLimit()
    PIPES.limit = min(MAX_PIPES, descriptors // 16)
    factory.rules = Rules(options["rules"], own=factory.isOwn, resolves=via is None)
    descriptions = options["listen"] or [
        f"tcp:{options['port']}:backlog={BACKLOG}:"
        f"interface={quoteStringArgument(options['interface'])}"
    ]
    for description in descriptions:
        if description.startswith("haproxy:") and not checkers:
            raise ConfigurationError(
                f"--listen {description} is for clients from elsewhere, and no --auth says who "
                f"may use it: {HOW_TO_SAY_WHO}"
            )
    endpoints = [_endpoint(reactor, description) for description in descriptions]
    _checkCertificates(checkers, dict(zip(descriptions, endpoints, strict=True)))
    proxy = _Proxy(
        factory,
        endpoints,
        drain=options["drain-timeout"],
        mayListen=None if checkers else partial(_onlyForThisHost, more=_more(endpoints)),
    )
    proxy.logsToStandardOutput = _logsToStandardOutput(options)
    return proxy


def _settings(options: Options) -> Settings:
    """
    Read the settings, and make sure that the limit of file descriptors carries them.

    @raise ConfigurationError: more connections are asked for than there can be.
    """
    named = {field.name: options.get(field.name.replace("_", "-")) for field in fields(Settings)}
    given: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
    most = connections_for(raiseDescriptorLimit())
    if not most:
        raise ConfigurationError(
            "this process may not have enough file descriptors for a single connection: raise "
            "the limit (ulimit -n, or systemd's LimitNOFILE)"
        )
    wanted = given.setdefault("max_connections", min(Settings.max_connections, most))
    if wanted == 0:
        # No limit of ours; that of the process remains.
        wanted = given["max_connections"] = most
    if wanted > most:
        raise ConfigurationError(
            f"--max-connections {wanted} needs more file descriptors than this process may have, "
            f"which are enough for {most}: raise the limit (ulimit -n, or systemd's LimitNOFILE)"
        )
    if given.get("max_connections_per_client", 0) > wanted:
        raise ConfigurationError(
            f"--max-connections-per-client {given['max_connections_per_client']} cannot take "
            f"effect: there can be {wanted} connections in all"
        )
    return Settings(**given)


def _via(
    text: str, reactor: Any, settings: Settings, isOwn: Callable[[IPAddress, int], bool]
) -> IVia:
    """
    Read who is the next proxy.

    @raise ConfigurationError: nobody can be.
    """
    # Only here: who has no next proxy needs nothing of the client's half.
    from twisted_socks5.via import viaFromString

    try:
        return viaFromString(reactor, text, timeout=settings.dial_timeout, isOwn=isOwn)
    except ConfigurationError as error:
        raise ConfigurationError(f"--via: {error}") from None


def _accessLog(options: Options, clock: IReactorTime) -> AccessLog:
    """
    Say where the access log goes.

    @raise ConfigurationError: not there.
    """
    path, json = options["access-log"], options["access-log-format"] == "json"
    if path is not None:
        try:
            return FileAccessLog(clock, appending(path), formatJSON if json else formatDated)
        except OSError as error:
            raise ConfigurationError(f"--access-log {path}: {error.strerror}") from None
    if _logsToStandardOutput(options):
        # What Twisted's log would do with each line, at a tenth of the cost.  Later the name
        # stands for that log itself.
        stdout = sys.stdout
        return FileAccessLog(clock, lambda: stdout, formatJSON if json else formatLikeTwisted)
    return TwistedAccessLog(formatJSON if json else formatText)


def _logsToStandardOutput(options: Options) -> bool:
    """Tell whether C{twistd} writes its log, in its usual form, to where we can, too."""
    twistd = getattr(options, "parent", None) or {}
    return bool(
        twistd.get("nodaemon")
        and twistd.get("logfile") in (None, "-")
        and not twistd.get("syslog")
        and not twistd.get("logger")
    )


def _endpoint(reactor: object, description: str) -> IStreamServerEndpoint:
    try:
        if isTLS(description):
            return endpointFromString(reactor, description)
        endpoint: IStreamServerEndpoint = serverFromString(reactor, description)
    except Exception as error:
        # Whatever a parser of endpoints, Twisted's or a plugin's, makes of wrong input.
        raise ConfigurationError(f"--listen {description}: {error}") from None
    return endpoint


def _checkCertificates(
    checkers: Sequence[ICredentialsChecker], endpoints: Mapping[str, IStreamServerEndpoint]
) -> None:
    """
    Make sure that clients can show the certificates that they log in with, or else something.

    @raise ConfigurationError: they can't.
    """
    if not any(isinstance(each, CertificateChecker) for each in checkers):
        return
    asking = "ssl:… or tls:… with clientCA=FILE"
    deaf = [
        description
        for description, endpoint in endpoints.items()
        if not (isinstance(endpoint, TLSServerEndpoint) and endpoint.verifiesClients)
    ]
    if len(deaf) == len(endpoints):
        raise ConfigurationError(
            f"--auth certificate takes a --listen that asks for certificates: {asking}"
        )
    if deaf and all(isinstance(each, CertificateChecker) for each in checkers):
        raise ConfigurationError(
            f"--listen {deaf[0]} asks for no certificates, and there is no --auth but "
            f"certificate, so nobody could log in there: make it {asking}, or add an --auth"
        )


def _more(endpoints: Sequence[IStreamServerEndpoint]) -> str:
    """Say what a certificate that is asked for is good for, if one is."""
    if not any(isinstance(each, TLSServerEndpoint) and each.verifiesClients for each in endpoints):
        return ""
    return "; --auth certificate makes users of those who have a certificate of clientCA's"


def _explain(error: Exception) -> str:
    """Say in words why a port can't be opened."""
    if isinstance(error, CannotListenError) and isinstance(error.socketError, OSError):
        where = f"{error.interface or '*'}:{error.port}"
        return f"cannot listen on {where}: {error.socketError.strerror}"
    return str(error)


def _onlyForThisHost(address: IAddress, more: str = "") -> None:
    """
    Let only this host's own programs use a proxy that asks nobody who they are.

    @param more: what else there is to say about it.
    @raise ConfigurationError: others could connect to C{address} too.
    """
    if isReachable(address):
        raise ConfigurationError(
            f"{describeAddress(address)} can be reached from elsewhere, and no --auth says who "
            f"may use it: {HOW_TO_SAY_WHO}{more}"
        )
