"""
What the rest asks of a GSS-API security context (RFC 2743), whatever mechanism is behind it.

A context comes about by an exchange of tokens, one step for each that arrives; once it stands,
both sides protect what they send with it, octets becoming tokens and tokens octets again::

    token = context.step(b"")              # the initiator begins; the acceptor waits for a token
    while not context.established: ...     # send the token, and step with what is answered
    protected = context.wrap(b"octets", True)

There is no GSS library here, and no SOCKS: which frames tokens travel in, when, and in which
thread, is the business of L{encapsulation<twisted_socks5.security.encapsulation>}.
"""

from __future__ import annotations

from zope.interface import Attribute, Interface


class ContextError(Exception):
    """
    Why a security context failed: its text is fit for a line in a log, and has no secrets.

    It is final for the octets in question, and mostly for the context: what follows a token that
    was tampered with, replayed or left out cannot be trusted to be in its place.
    """


class ISecurityContext(Interface):
    """
    One side of a security context (RFC 1961, section 3; RFC 2743, sections 2.2 and 2.3).

    Any method may block, for there may be files and servers behind it, and so belongs in a
    thread; that of a small piece of a context that stands is as good as a memory copy.  Never
    may two be called at the same time.
    """

    established: bool = Attribute("""Whether it stands: what follows can be protected.""")
    peer: str = Attribute(
        """The other side's principal, once it stands: C{"alice@EXAMPLE.COM"}; else empty."""
    )
    lifetime: float | None = Attribute(
        """Seconds from now that it remains valid; L{None}: without end."""
    )

    def step(token: bytes) -> bytes:
        """
        Take what the peer has sent, and make what it is to be sent (RFC 1961, section 3.3).

        @param token: the peer's token; C{b""} at the initiator's first step.
        @return: the token to send.  C{b""}: there is none; a peer that waits for an answer is
            owed a frame with nothing in it all the same.
        @raise ContextError: there will be no context.
        """

    def wrap(octets: bytes, confidential: bool) -> bytes:
        """
        Protect octets: against change, and if C{confidential} against being read.

        @return: the token, which is longer than the octets.
        @raise ContextError: the context does not stand, or no longer; or does not know how.
        """

    def unwrap(token: bytes) -> tuple[bytes, bool]:
        """
        Take octets out of the peer's token.

        @return: the octets, and whether they were confidential.
        @raise ContextError: the token is not the peer's, was changed, comes again or out of its
            turn (where the context knows turns), or the context stands no longer.
        """

    def wrapSizeLimit(confidential: bool, size: int = 65535) -> int:
        """
        Tell how many octets fit into a token (RFC 2743, section 2.2.7).

        @param size: the longest token, in octets.
        @return: the most octets whose token has at most C{size}; not above 0 if there are none.
        @raise ContextError: the context does not stand.
        """

    def dispose() -> None:
        """Let go of keys and memory.  The context stands no more; again, it does nothing."""
