"""
Whether what was read can be used now: certificates and lists have their time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from twisted_socks5.tls.pem import subjectOf

if TYPE_CHECKING:
    from cryptography import x509

    from twisted_socks5.tls.pem import Authorities, Identity


def warnings(
    identities: Iterable[Identity], authorities: Authorities | None, now: datetime | None = None
) -> list[str]:
    """
    Tell what keeps clients from being served, though it can be used.

    @param now: when; default: now.
    @return: a line for each certificate and list that is expired, or not valid yet.
    """
    now = now or datetime.now(timezone.utc)
    found: list[str] = []
    for each in identities:
        who = f"the certificate in {each.path!r}, {subjectOf(each.certificate)},"
        found += _whenOf(who, each.certificate, now, "clients will refuse it; renew it")
    if authorities is not None:
        for one in authorities.certificates:
            who = f"the authority {subjectOf(one)}"
            found += _whenOf(who, one, now, "its clients are refused; name another one")
        for crl in authorities.revoked:
            until = crl.next_update_utc
            if until is not None and until < now:
                found.append(
                    f"the revocation list of {crl.issuer.rfc4514_string()} has expired at "
                    f"{_when(until)}: its clients are refused until there is a newer one"
                )
    return found


def isValid(certificate: x509.Certificate, now: datetime | None = None) -> bool:
    """Tell whether a certificate is neither expired nor to become valid later."""
    now = now or datetime.now(timezone.utc)
    return certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc


def _whenOf(who: str, certificate: x509.Certificate, now: datetime, so: str) -> Sequence[str]:
    if certificate.not_valid_after_utc < now:
        return [f"{who} has expired at {_when(certificate.not_valid_after_utc)}: {so}"]
    if certificate.not_valid_before_utc > now + timedelta(seconds=1):
        return [f"{who} is not valid before {_when(certificate.not_valid_before_utc)}"]
    return []


def _when(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")
