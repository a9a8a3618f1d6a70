"""
Names the C{socks5} subcommand for C{twistd} and C{twist}.

Every program that scans for plugins imports this file, so it names our modules
as strings and imports none of them.  There is no C{__init__.py} beside it:
L{twisted.plugins} collects its modules from every directory of that name.
"""

from twisted.application.service import ServiceMaker

socks5 = ServiceMaker(
    "SOCKS5",
    "twisted_socks5.tap",
    "A SOCKS5 proxy server (RFC 1928, 1929).",
    "socks5",
)
