"""
A Kerberos realm of the tests' own, on loopback: MIT's KDC, unprivileged, on ports that were free.

Nothing of it is in any place of the machine's: configuration, database, keytabs, tickets and
replay cache are in one directory, which goes away with it.  Programs learn of it by L{Realm.env};
libkrb5 in this very process by L{Realm.enter}, which puts that into the environment until
L{Realm.leave}.  The KDC ends with this process, however that ends.
"""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.interop.programs import SECONDS, environment, find, run
from tests.interop.proxy import Output

HOME = "EXAMPLE.TEST"
FOREIGN = "FOREIGN.TEST"
"""A realm that L{HOME} does not know, unless L{Realm.trust} introduces them."""

#: Becomes a program, which is ended with standard input, and so with whoever started it.
_WHILE_WE_ARE = """
exec 3<&0
(read -r _ <&3; kill $$) >/dev/null 2>&1 &
exec "$@" </dev/null 3<&-
"""

#: A port may be taken by another between its choice and the start.
_ATTEMPTS = 5

_KRB5_CONF = """\
[libdefaults]
    default_realm = {home}
    dns_lookup_kdc = false
    dns_lookup_realm = false
    dns_canonicalize_hostname = false
    rdns = false
    qualify_shortname = ""
[realms]
{realms}
[domain_realm]
    .foreign.test = {foreign}
    localhost = {home}
"""

_KDC_CONF = """\
[kdcdefaults]
    kdc_listen = 127.0.0.1:{port}
    kdc_tcp_listen = 127.0.0.1:{port}
[realms]
{realms}
[logging]
    kdc = FILE:{place}/kdc.log
"""

_KDC_REALM = """\
    {name} = {{
        database_name = {place}/{name}.db
        key_stash_file = {place}/{name}.stash
        supported_enctypes = aes256-cts-hmac-sha1-96:normal
    }}
"""


class Realm:
    """
    A running KDC, with the realm L{HOME} and, where wanted, L{FOREIGN}.

    @ivar place: the directory with all that belongs to it.
    @ivar env: what tells a program of it.
    """

    def __init__(self, *principals: str) -> None:
        """
        Make the realm, with these principals in it, and start its KDC.

        @param principals: with random keys; those whose realm is named go there.
        """
        self.place = Path(tempfile.mkdtemp(prefix="realm-"))
        self.env = {
            "KRB5_CONFIG": str(self.place / "krb5.conf"),
            "KRB5_KDC_PROFILE": str(self.place / "kdc.conf"),
            "KRB5CCNAME": f"FILE:{self.place / 'no.ccache'}",
            "KRB5_KTNAME": f"FILE:{self.place / 'no.keytab'}",
            "KRB5_CLIENT_KTNAME": f"FILE:{self.place / 'no.client.keytab'}",
            "KRB5RCACHEDIR": str(self.place),
        }
        self._kept: dict[str, str | None] = {}
        self._count = 0
        self._kdc: subprocess.Popen[bytes] | None = None
        try:
            self._make(principals)
        except BaseException:
            self.stop()
            raise

    def keytab(self, *principals: str) -> str:
        """Write a new keytab with the keys of these principals, and give its path."""
        path = self._new("keytab")
        for realm, names in _byRealm(principals).items():
            self._admin(realm, *(f"ktadd -k {path} -norandkey {_quote(name)}" for name in names))
        return str(path)

    def ticket(self, principal: str, *options: str) -> str:
        """
        Get a ticket-granting ticket, and give the name of the ccache that it is in.

        @param options: further ones of kinit: C{-l 1m} for a lifetime of one minute.
        """
        ccache = f"FILE:{self._new('ccache')}"
        keytab = self.keytab(principal)
        self.run("kinit", *options, "-c", ccache, "-k", "-t", keytab, principal)
        return ccache

    def trust(self) -> None:
        """Have L{HOME} trust L{FOREIGN}: who is known there can get tickets for services here."""
        shared = f"addprinc -pw shared krbtgt/{HOME}@{FOREIGN}"
        for realm in (HOME, FOREIGN):
            self._admin(realm, shared)

    def run(self, name: str, *words: str, env: dict[str, str] | None = None) -> str:
        """
        Run one of Kerberos' programs.

        @return: what it said.
        @raise AssertionError: it failed.
        """
        done = run(
            find(name, "krb5-user"), *words, cwd=self.place, env={**self.env, **(env or {})}
        )
        if done.returncode:
            raise AssertionError(f"{name} failed: {done.stdout}{done.stderr}")
        return done.stdout

    def enter(self) -> None:
        """Let this process, too, know of the realm and of no other."""
        for name, value in self.env.items():
            self._kept[name] = os.environ.get(name)
            os.environ[name] = value

    def leave(self) -> None:
        """Give the process back the environment that it had."""
        for name, value in self._kept.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        self._kept.clear()

    def stop(self) -> None:
        """End the KDC, and leave nothing behind."""
        self.leave()
        self._end()
        shutil.rmtree(self.place, ignore_errors=True)

    def _make(self, principals: tuple[str, ...]) -> None:
        byRealm = _byRealm((f"krbtgt/{HOME}@{HOME}", *principals))
        self._configure(_freePort(), byRealm)
        for realm, names in byRealm.items():
            create = ("-r", realm, "create", "-s", "-W", "-P", "of the tests' own")
            program = find("kdb5_util", "krb5-kdc")
            done = run(program, *create, cwd=self.place, env=self.env)
            if done.returncode:
                raise AssertionError(f"no database for {realm}: {done.stdout}{done.stderr}")
            new = [name for name in names if not name.startswith("krbtgt/")]
            self._admin(realm, *(f"addprinc -randkey {_quote(name)}" for name in new))
        self._start(byRealm)

    def _configure(self, port: int, realms: dict[str, list[str]]) -> None:
        """Write the files that krb5's library and the KDC read."""
        places = (f"    {name} = {{\n        kdc = 127.0.0.1:{port}\n    }}" for name in realms)
        conf = _KRB5_CONF.format(home=HOME, foreign=FOREIGN, realms="\n".join(places))
        Path(self.env["KRB5_CONFIG"]).write_text(conf)
        kdc = "".join(_KDC_REALM.format(name=name, place=self.place) for name in realms)
        Path(self.env["KRB5_KDC_PROFILE"]).write_text(
            _KDC_CONF.format(port=port, place=self.place, realms=kdc)
        )

    def _start(self, realms: dict[str, list[str]]) -> None:
        """Start the KDC; it says when it listens."""
        command = [find("krb5kdc", "krb5-kdc"), "-n"]
        for name in realms:
            command += ["-r", name]
        for attempt in range(_ATTEMPTS):
            if attempt:
                self._configure(_freePort(), realms)
            self._kdc = subprocess.Popen(
                ["/bin/sh", "-c", _WHILE_WE_ARE, "sh", *command],
                cwd=self.place,
                env=environment(self.env),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            self._output = Output(self._kdc)
            try:
                self._output.waitFor("starting")
            except AssertionError:
                self._end()
                if attempt == _ATTEMPTS - 1:
                    raise
            else:
                return

    def _end(self) -> None:
        """End the KDC, if there is one."""
        kdc, self._kdc = self._kdc, None
        if kdc is None or kdc.stdin is None:
            return
        kdc.stdin.close()
        kdc.wait(SECONDS)
        self._output.finish()

    def _admin(self, realm: str, *queries: str) -> None:
        """Have something changed in a realm's database."""
        done = subprocess.run(
            [find("kadmin.local", "krb5-admin-server"), "-r", realm],
            cwd=self.place,
            env=environment(self.env),
            input="".join(f"{query}\n" for query in queries),
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=SECONDS,
        )
        # It ends well even if a query of many failed; then it says what it was doing "while".
        if done.returncode or " while " in done.stderr:
            raise AssertionError(f"kadmin.local failed: {done.stderr}")

    def _new(self, kind: str) -> Path:
        self._count += 1
        return self.place / f"{self._count}.{kind}"


class RealmTestCase(SynchronousTestCase):
    """
    Tests in a realm, which all that want the same principals have in common.

    @cvar principals: who is in it.
    @ivar realm: the realm; during the test this process knows of it.
    """

    principals: tuple[str, ...] = ("alice", "rcmd/localhost")
    realm: Realm

    def setUp(self) -> None:
        """Enter the realm."""
        self.realm = sharedRealm(*self.principals)
        self.realm.enter()
        self.addCleanup(self.realm.leave)


@cache
def sharedRealm(*principals: str) -> Realm:
    """Give the realm with these principals; it lasts as long as this process."""
    realm = Realm(*principals)
    atexit.register(realm.stop)
    return realm


def _byRealm(principals: tuple[str, ...]) -> dict[str, list[str]]:
    """Sort principals by the realm they name."""
    sorted_: dict[str, list[str]] = {}
    for name in principals:
        realm = name.rpartition("@")[2] if "@" in name else HOME
        sorted_.setdefault(realm, []).append(name)
    return sorted_


def _quote(name: str) -> str:
    """Write a principal as kadmin.local reads it."""
    return '"' + name.replace('"', '""') + '"'


def _freePort() -> int:
    """Find a port on loopback that is free for TCP and for UDP."""
    for _ in range(_ATTEMPTS):
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            tcp.bind(("127.0.0.1", 0))
            port: int = tcp.getsockname()[1]
            try:
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free for TCP and for UDP")
