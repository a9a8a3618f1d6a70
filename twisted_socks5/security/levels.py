"""
Which protection level two sides agree on (RFC 1961, section 4).

The client asks for one, the server answers with the one that it has chosen, and a client that
does not like that goes away.  Nobody here ever gives less protection than was asked for: a
client that does not look at the answer would believe itself protected.

Pure: no context, no frame, no connection.
"""

from __future__ import annotations

from collections.abc import Collection

from twisted_socks5.wire import ProtectionLevel

_NONE = ProtectionLevel.NONE
_INTEGRITY = ProtectionLevel.INTEGRITY
_CONFIDENTIALITY = ProtectionLevel.CONFIDENTIALITY
_PER_MESSAGE = ProtectionLevel.PER_MESSAGE

#: What a server may give to who asks for a level, the best answer first.
_ANSWERS: dict[int, tuple[ProtectionLevel, ...]] = {
    _NONE: (_NONE,),
    _INTEGRITY: (_INTEGRITY, _CONFIDENTIALITY),
    _CONFIDENTIALITY: (_CONFIDENTIALITY,),
    # "Selective": which message gets what is for each side to say, so all may be confidential.
    _PER_MESSAGE: (_PER_MESSAGE, _CONFIDENTIALITY),
}


def grant(asked: int, allowed: Collection[ProtectionLevel]) -> ProtectionLevel | None:
    """
    Choose the level to answer with, as a server.

    @param asked: the octet that the client has sent.
    @param allowed: the levels that the operator allows.
    @return: what was asked for if it is allowed, or else a level with more protection that is;
        L{None}: neither, or an octet that is no level.  No protection is given only to who asks
        for it: who would be protected for nothing cannot do it.
    """
    for level in _ANSWERS.get(asked, ()):
        if level in allowed:
            return level
    return None


def accept(granted: int, wanted: Collection[ProtectionLevel]) -> ProtectionLevel | None:
    """
    Judge the level that the server has answered with, as a client.

    @param granted: the octet that the server has sent.
    @param wanted: the levels that will do, whichever of them was asked for.
    @return: the level; L{None}: it is not one of these.
    """
    for level in wanted:
        if level == granted:
            return level
    return None


def seals(level: ProtectionLevel) -> bool:
    """
    Tell whether what is sent at a level is confidential.

    At level 3 that is for the sender to say, message by message, and we know no message that
    would rather be read.
    """
    return level in (_CONFIDENTIALITY, _PER_MESSAGE)


def suffices(level: ProtectionLevel, sealed: bool) -> bool:
    """
    Tell whether what was received has the protection of its level.

    More than it asks for is no offence: what is confidential is whole as well.
    """
    return sealed or level is not _CONFIDENTIALITY
