"""The real C{twistd socks5}, driven by programs that were not written here."""
