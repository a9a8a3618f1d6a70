"""SOCKS5 on the wire."""

from __future__ import annotations

from .address import (
    UNSPECIFIED,
    Address,
    Host,
    describe_host,
    pack_address,
    parse_address,
)
from .constants import *  # noqa
from .errors import *  # noqa
from .gssapi import *  # noqa
from .messages import *  # noqa
from .server import *  # noqa
from .socks4 import *  # noqa
from .userpass import *  # noqa
