"""
Half a context in a process whose clock is wrong; run under C{faketime}.

C{elsewhen.py accept KEYTAB} takes one token in hexadecimal on standard input, C{elsewhen.py
initiate CCACHE} makes one; either says in a line what came of it.
"""

from __future__ import annotations

import sys

from twisted_socks5.security.contexts import ContextError
from twisted_socks5.security.kerberos import Acceptor, initiate


def main(what: str, where: str) -> str:
    """Do one step."""
    try:
        if what == "accept":
            context = Acceptor(keytab=where).context()
            context.step(bytes.fromhex(sys.stdin.read()))
            return f"it is {context.peer}"
        initiate("rcmd@localhost", ccache=where).step(b"")
    except ContextError as error:
        return f"refused: {error}"
    return "there is a token"


if __name__ == "__main__":
    print(main(*sys.argv[1:]))  # noqa: T201  # what it is asked for
