"""Which addresses are this host's own, by its kernel."""

from __future__ import annotations

from ipaddress import ip_address

from twisted.trial.unittest import SynchronousTestCase

from twisted_socks5.server.localhost import isLocalAddress


class LocalAddressTests(SynchronousTestCase):
    """Addresses that are this host's, and that are not."""

    def test_own(self) -> None:
        """Loopback and unspecified addresses always are."""
        for text in ("127.0.0.1", "127.1.2.3", "0.0.0.0"):
            self.assertTrue(isLocalAddress(ip_address(text)), text)

    def test_foreign(self) -> None:
        """Addresses for documentation never are, in either family."""
        for text in ("203.0.113.9", "2001:db8::9"):
            self.assertFalse(isLocalAddress(ip_address(text)), text)
