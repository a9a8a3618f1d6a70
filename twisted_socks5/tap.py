"""
C{twistd socks5} and C{twist socks5}: options in, a running proxy or one clear line out.

Everything that belongs to the process and not to the server is here: exit codes, signals and
the number of file descriptors.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from functools import partial
from itertools import repeat
from typing import IO, TYPE_CHECKING, Any, TypeVar, cast

from twisted.cred.checkers import AllowAnonymousAccess
from twisted.cred.portal import Portal
from twisted.internet.endpoints import quoteStringArgument, serverFromString

from twisted_socks5.auth import SOCKS5Realm, checkUsable, combine
from twisted_socks5.auth.certificates import CertificateChecker
from twisted_socks5.auth.gssapi import PrincipalChecker
from twisted_socks5.auth.methods import checkMethods
from twisted_socks5.config import Settings
from twisted_socks5.descriptors import raiseDescriptorLimit
from twisted_socks5.errors import ConfigurationError
from twisted_socks5.limits import connections_for
from twisted_socks5.logs import (
    NAMESPACE,
    AccessLog,
    AccessRecord,
    FileAccessLog,
    TwistedAccessLog,
    appending,
    fieldsOf,
    formatDated,
    formatJSON,
    formatLikeTwisted,
    formatText,
)
from twisted_socks5.options import BACKLOG, COMMAND, Options
from twisted_socks5.processes import Proxy, Supervisor, Worker
from twisted_socks5.relay.splice import MAX_PIPES, PIPES
from twisted_socks5.rules import Rules
from twisted_socks5.server import SOCKS5ServerFactory
from twisted_socks5.service import SOCKS5Service, describeAddress, isReachable
from twisted_socks5.tls import TLSServerEndpoint, endpointFromString, isTLS
from twisted_socks5.workers import (
    LOG,
    OUTPUT,
    InheritedPorts,
    Job,
    Pipe,
    SharedPorts,
    Workers,
    asInherited,
    eventLine,
)

if TYPE_CHECKING:
    from twisted.cred.checkers import ICredentialsChecker
    from twisted.internet.interfaces import IAddress, IReactorTime, IStreamServerEndpoint

    from twisted_socks5.interfaces import IPAddress, IVia

Service = TypeVar("Service", bound=Proxy)

HOW_TO_SAY_WHO = (
    "name the users, as in --auth htpasswd:/etc/socks5-users (socks5-users makes that file; see "
    "--help-auth), or, if anybody may, say --auth anonymous"
)


def makeService(options: Options) -> SOCKS5Service:
    """
    Make the service that the options describe; called by C{twistd}.

    @raise SystemExit: an option can't be carried out, with one line that says which and why.
    """
    from twisted.internet import reactor

    return _orExit(lambda: _makeService(options, reactor))


def makeWorker(job: Job, reactor: Any) -> SOCKS5Service:
    """
    Make the service of a worker; called by the supervisor's, in the worker.

    @raise SystemExit: as by L{makeService}.
    """
    options = Options()
    options.parseOptions(job.arguments)
    options["workers"] = job.workers
    options["listen"] = [asInherited(each) for each in options["listen"]]
    ports = [InheritedPorts(reactor, each) for each in job.descriptors["ports"]]

    def make() -> SOCKS5Service:
        return _build(Worker, options, reactor, _workersAccessLog(options, reactor, job), ports)

    return _orExit(make)


def _orExit(make: Callable[[], SOCKS5Service]) -> SOCKS5Service:
    try:
        return make()
    except (ConfigurationError, OSError) as error:
        raise SystemExit(f"{COMMAND}: {error}") from None


def _makeService(options: Options, reactor: Any) -> SOCKS5Service:
    accessLog = _accessLog(options, reactor)
    if options["workers"] == 1:
        return _build(Proxy, options, reactor, accessLog, repeat(reactor))
    if (getattr(options, "parent", None) or {}).get("chroot"):
        raise ConfigurationError(
            "--workers cannot be with --chroot: there is no Python in there to start them with"
        )
    toOutput = options["access-log"] is None and _logsToStandardOutput(options)
    supervisor = _build(Supervisor, options, reactor, accessLog, repeat(SharedPorts(reactor)))

    def descriptors() -> dict[str, list[int]]:
        files = [accessLog] if isinstance(accessLog, FileAccessLog) and not toOutput else []
        return {
            "ports": [port.fileno() for port in supervisor.sharedPorts],
            "access log": [each.fileno() for each in files],
        }

    supervisor.workers = Workers(
        reactor,
        Job(
            make=f"{__name__}.{makeWorker.__name__}",
            arguments=list(options.arguments),
            workers=options["workers"],
            toOutput=toOutput,
            reactor=type(reactor).__module__,
        ),
        descriptors,
        output=sys.stdout if toOutput else None,
    )
    return supervisor


def _build(
    kind: type[Service],
    options: Options,
    reactor: Any,
    accessLog: AccessLog,
    listeningOn: Iterable[object],
) -> Service:
    """
    Make a service.

    @param listeningOn: the reactor that each endpoint listens on.
    """
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
    factory = SOCKS5ServerFactory(reactor, portal, settings=settings, via=via, accessLog=accessLog)
    try:
        checkMethods(portal, factory.settings.methods)
    except ConfigurationError as error:
        raise ConfigurationError(f"--methods: {error}") from None
    factory.descriptors = descriptors = raiseDescriptorLimit()
    PIPES.limit = min(MAX_PIPES // options["workers"], descriptors // 16)
    factory.rules = Rules(options["rules"], own=factory.isOwn, resolves=via is None)
    descriptions = options["listen"] or [
        f"tcp:{options['port']}:backlog={BACKLOG}:"
        f"interface={quoteStringArgument(options['interface'])}"
    ]
    for description in descriptions:
        if description.lower().startswith("haproxy:") and not checkers:
            raise ConfigurationError(
                f"--listen {description} is for clients from elsewhere, and no --auth says who "
                f"may use it: {HOW_TO_SAY_WHO}"
            )
    endpoints = [
        _endpoint(where, description)
        for where, description in zip(listeningOn, descriptions, strict=False)
    ]
    _checkCertificates(checkers, dict(zip(descriptions, endpoints, strict=True)))
    proxy = kind(
        factory,
        endpoints,
        drain=options["drain-timeout"],
        mayListen=None if checkers else partial(_onlyForThisHost, more=_more(endpoints)),
    )
    proxy.logsToStandardOutput |= _logsToStandardOutput(options)
    return proxy


def _settings(options: Options) -> Settings:
    """
    Read the settings of a process that serves, and make sure that the limit of file descriptors
    carries them.

    @raise ConfigurationError: more connections are asked for than there can be.
    """
    named = {field.name: options.get(field.name.replace("_", "-")) for field in fields(Settings)}
    given: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
    workers: int = options["workers"]
    each = connections_for(raiseDescriptorLimit())
    if not each:
        raise ConfigurationError(
            "this process may not have enough file descriptors for a single connection: raise "
            "the limit (ulimit -n, or systemd's LimitNOFILE)"
        )
    most = workers * each
    # 0 is no limit of ours; that of the process remains.
    wanted = given.get("max_connections", min(Settings.max_connections, most)) or most
    if wanted > most:
        raise ConfigurationError(
            f"--max-connections {wanted} needs more file descriptors than this process may have, "
            f"which are enough for {most}: raise the limit (ulimit -n, or systemd's LimitNOFILE)"
        )
    share = given["max_connections"] = wanted // workers
    if not share:
        raise ConfigurationError(
            f"--max-connections {wanted} is not even one for each of {workers} workers"
        )
    perClient = given.setdefault(
        "max_connections_per_client", Settings.max_connections_per_client // workers or 1
    )
    if options["max-connections-per-client"] is not None and perClient > share:
        among = f"in each of {workers} workers" if workers > 1 else "in all"
        raise ConfigurationError(
            f"--max-connections-per-client {perClient} cannot take effect: there can be {share} "
            f"connections {among}"
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


def _workersAccessLog(options: Options, clock: IReactorTime, job: Job) -> AccessLog:
    """
    Say where a worker's access log goes: where that of a single process would.

    @raise ConfigurationError: not there.
    """
    path, json = options["access-log"], options["access-log-format"] == "json"

    def numbered(toLine: Callable[[AccessRecord], str]) -> Callable[[AccessRecord], str]:
        if json:
            return lambda record: f'{formatJSON(record)[:-1]}, "worker": {job.number}}}'
        return lambda record: f"{toLine(record)} worker={job.number}"

    if path is not None:
        # The first is one that was opened before privileges were given up.
        files: list[str | int] = [*job.descriptors["access log"]]
        return FileAccessLog(
            clock, lambda: appending(files.pop() if files else path)(), numbered(formatDated)
        )
    if job.toOutput:
        output = cast("IO[str]", Pipe(OUTPUT))
        return FileAccessLog(clock, lambda: output, numbered(formatLikeTwisted))
    log, toText = cast("IO[str]", Pipe(LOG)), numbered(formatText)

    def toEvent(record: AccessRecord) -> str:
        when = record.started + record.seconds
        return eventLine(NAMESPACE, when, toText(record), dict(fieldsOf(record)))

    return FileAccessLog(clock, lambda: log, toEvent)


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
