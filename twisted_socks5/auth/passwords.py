"""
Users of a file of hashed passwords: who is one, by name and password.

The story of a login::

    the file is looked at -> its line is found -> known again -> in
       (in a thread)          (or a decoy's)  \\
                                               -> verified, in a thread -> in, or not

Hashes are slow, which is their purpose, so they are computed beside the reactor, in a few
threads that the system favours less than it; clients take turns there, each address one
(L{FairThreads}), so a client that guesses waits for itself.  An unknown user takes the same way
as a wrong password: some other user's hash is computed, and the result thrown away.

What was refused is known again, too, for the same client: where several files are asked in turn,
who is in the second is unknown to the first at each of his logins.

Knows nothing of SOCKS.
"""

from __future__ import annotations

import os
from functools import lru_cache, partial
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_socks5.auth.credentials import toOctets
from twisted_socks5.auth.hashes import PasswordHash
from twisted_socks5.auth.passwordfile import BadFile, PasswordFile, View
from twisted_socks5.auth.sharing import Shared
from twisted_socks5.auth.successes import Successes
from twisted_socks5.errors import ConfigurationError
from twisted_socks5.fairthreads import Busy, FairThreads
from twisted_socks5.limits import client_key

HELP = """
Users of a file of hashed passwords, with lines of the form NAME:HASH.

    --auth htpasswd:/etc/socks5-users

Make the file, change it and list it with socks5-users, which asks for the
password and stores it as argon2id:

    socks5-users /etc/socks5-users add alice
    socks5-users /etc/socks5-users delete alice

Hashes of argon2 (id and i), bcrypt (as Apache's "htpasswd -B" writes them)
and scrypt can be verified.  Those of MD5 (apr1), SHA and DES crypt are
refused: passwords can be guessed from them.

The file is read again when it changes.  Only its owner may write to it:

    chmod 600 /etc/socks5-users
"""

INTERFACES = (IUsernamePassword,)

MAX_THREADS = 4
"""Hashes computed at a time, however many processors there are: each takes some memory."""

NICE = 5
"""
How much less than the reactor the system favours the threads that compute hashes.

Measured by C{benchmarks/logins.py} where more wants to run than there are processors: with 0, the
99th percentile of an open session's times is ten times as long; with 10, logins wait until their
deadline.
"""

#: How often a login waits for a file to settle that is being written to again and again.
_WAITS = 4


class LoginThreads:
    """
    The threads that logins take.

    @ivar looking: looks at files; a thread for that alone, or else whoever is known again would
        wait behind the hashes of those who are not.
    @ivar verifying: computes hashes, and leaves the reactor a processor if there are several.
    """

    def __init__(self, reactor: Any) -> None:
        """
        @param reactor: as L{FairThreads} takes it, and the clock.
        """
        self.clock = reactor
        self.looking = FairThreads(reactor, 1, name="socks5-users")
        size = min(MAX_THREADS, max(1, _processors() - 1))
        self.verifying = FairThreads(reactor, size, nice=NICE, name="socks5-hashes")

    def stop(self) -> None:
        """End them."""
        self.looking.stop()
        self.verifying.stop()


def _processors() -> int:
    """Count the processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@lru_cache(maxsize=1)
def installedThreads() -> LoginThreads:
    """Make the threads of the installed reactor, once: all files share them."""
    from twisted.internet import reactor

    return LoginThreads(reactor)


@implementer(ICredentialsChecker)
class PasswordFileChecker:
    """
    Knows the users of a file of lines C{NAME:HASH}.

    The file is looked at for each login, and read when it has changed: see L{passwordfile
    <twisted_socks5.auth.passwordfile>}.

    @ivar file: the file.
    @ivar credentialInterfaces: user name and password; those that say which C{client} they come
        from (L{OctetCredentials<twisted_socks5.auth.OctetCredentials>}) keep no other waiting.
    """

    credentialInterfaces = INTERFACES
    _log = Logger()

    def __init__(
        self,
        path: str,
        *,
        threads: LoginThreads | None = None,
        successes: Successes | None = None,
    ) -> None:
        """
        @param path: where the file is; nothing is read yet, see L{check}.
        @param threads: where hashes are computed; by default, threads of the installed reactor,
            which is not looked for before the first login.
        @param successes: the logins that need not be computed again.
        """
        self.file = PasswordFile(path)
        self._given = threads
        self._successes = Successes() if successes is None else successes
        self._refusals = Successes()
        self._looking = False
        self._askers: list[Deferred[View]] = []
        self._verifications: dict[tuple[int | None, bytes], Shared[bool]] = {}

    def check(self) -> None:
        """
        Read the file: at the start, and again whenever it may no longer be readable.

        @raise ConfigurationError: it cannot be used, or there is nobody in it; with one line
            that says where and why.
        """
        try:
            self._tell(self.file.load())
        except BadFile as error:
            raise ConfigurationError(f"password file {self.file.path!r}: {error}") from None

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        """
        Ask who a client is.

        @param credentials: its user name and password.
        @return: fires with the name in octets, or fails with L{UnauthorizedLogin}: at once, in
            comparison to a hash, only where too many others are waiting.  Cancel it, and the
            login gives up its place among them.
        """
        name, password = toOctets(credentials.username), toOctets(credentials.password)
        client = client_key(getattr(credentials, "client", None))
        asked: Deferred[bytes | tuple[()]] = Deferred.fromCoroutine(
            self._ask(name, password, client)
        )
        interest = getattr(credentials, "interest", None)
        if interest is not None:
            interest.whenLost(asked.cancel)
        return asked

    @property
    def _threads(self) -> LoginThreads:
        if self._given is None:
            self._given = installedThreads()
        return self._given

    async def _ask(self, name: bytes, password: bytes, client: int | None) -> bytes | tuple[()]:
        try:
            known = await self._knows(name, password, client)
        except Busy:
            known = None
        if not known:
            reason = "too many logins wait to be checked" if known is None else ""
            raise UnauthorizedLogin(reason)
        return name

    async def _knows(self, name: bytes, password: bytes, client: int | None) -> bool:
        """
        Tell whether a password is a user's.

        @raise Busy: too many others are waiting to know.
        """
        users = (await self._viewFor(name)).users
        if not users.hashes:
            return False  # There is nobody whom the time that this takes could tell of.
        found = users.hashes.get(name)
        # Whose hash it is that is computed for an unknown name, nobody outside can tell: where
        # hashes differ in what they cost, unknown names differ in the same way.
        checked = users.pick(self._successes.number(name)) if found is None else found
        mark = self._successes.mark(name, password, checked.text)
        # Asked for a decoy, too, so that nothing is different up to here; it has none.
        if self._successes.has(mark, self._threads.clock.seconds()) and found is not None:
            return True
        refusal = self._refusals.mark(name, password, b"%b %r" % (checked.text, client))
        if self._refusals.has(refusal, self._threads.clock.seconds()):
            return False
        matches = await self._verify(client, mark, checked, password)
        if not matches or found is None:
            self._refusals.add(refusal, self._threads.clock.seconds())
            return False
        self._successes.add(mark, self._threads.clock.seconds())
        return True

    def _verify(
        self, client: int | None, mark: bytes, checked: PasswordHash, password: bytes
    ) -> Deferred[bool]:
        """Compute a hash, or wait for one that is being computed for the same client's login."""
        key = client, mark
        verification = self._verifications.get(key)
        if verification is None:
            verification = Shared(partial(self._verifications.pop, key))
            self._verifications[key] = verification
            work = partial(checked.matches, password)
            verification.begin(self._threads.verifying.run(client, work))
        return verification.join()

    # The file.

    async def _viewFor(self, name: bytes) -> View:
        """Look at the file, until it tells about a user what it will tell in a moment, too."""
        for _ in range(_WAITS):
            view = await self._look()
            if view.isLastWord(name):
                break
            await deferLater(self._threads.clock, view.wait)
        return view

    def _look(self) -> Deferred[View]:
        """Look at the file: once for all who ask while somebody else's look is under way."""
        asker: Deferred[View] = Deferred()
        self._askers.append(asker)
        if not self._looking:
            self._beginLook()
        return asker

    def _beginLook(self) -> None:
        askers, self._askers = self._askers, []
        self._looking = True
        look = partial(self.file.look, self._threads.clock.seconds())
        self._threads.looking.run(self, look).addBoth(self._looked, askers)

    def _looked(self, result: View | Failure, askers: list[Deferred[View]]) -> None:
        self._looking = False
        if isinstance(result, View):
            if result.taken:
                # Or else the time would tell whose line has changed, and who has none.
                self._refusals = Successes()
                count = len(result.users.hashes)
                self._log.info(
                    "Password file {path} has changed: {count} users",
                    path=self.file.path,
                    count=count,
                )
            self._tell(result)
        if self._askers:
            self._beginLook()
        for asker in askers:
            if not asker.called:  # It was cancelled otherwise.
                asker.callback(result)

    def _tell(self, view: View) -> None:
        """Log what is new about the file."""
        path = self.file.path
        if view.readable:
            self._log.warn("Password file {path} is readable by others: chmod o-r", path=path)
        if view.complaint:
            self._log.error(
                "Password file {path} cannot be used, the users of before remain: {complaint}",
                path=path,
                complaint=view.complaint,
            )


def checkerFor(path: str) -> PasswordFileChecker:
    """
    Make a checker of what stands behind C{htpasswd:}.

    @param path: the file's path; it is read when the server starts.
    @raise ConfigurationError: there is none.
    """
    if not path:
        raise ConfigurationError("--auth htpasswd takes the path of a file: htpasswd:PATH")
    return PasswordFileChecker(path)
