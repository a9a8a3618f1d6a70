"""
Whom to measure, as a file names them, or the command line.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from sidebyside.proxies import Proxy
from sidebyside.workloads import MEASURES, Failure, Workload

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def read_peers(path: str) -> tuple[list[Proxy], list[Workload]]:
    """
    Read a TOML or JSON file of proxies and workloads.

    @raise Failure: if a table in it is not right.
    """
    data = Path(path).read_text(encoding="utf-8")
    tables = json.loads(data) if path.endswith(".json") else tomllib.loads(data)
    proxies = []
    for table in tables.get("proxy", []):
        rest = tables.get("defaults", {}) | table
        lacks = tuple(rest.pop("lacks", ()))
        try:
            name, host, port = rest.pop("name"), rest.pop("host", "127.0.0.1"), rest.pop("port")
            proxies.append(Proxy(name, host, port, lacks=lacks, **rest))
        except (KeyError, TypeError) as error:
            raise Failure(f"{path}: a proxy table is not right: {error}") from None
    workloads = []
    for table in tables.get("workload", []):
        args = tuple(str(arg) for arg in table["args"])
        if args[0] not in MEASURES:
            raise Failure(f"{path}: workload {table['name']}: unknown mode {args[0]}")
        workloads.append(
            Workload(
                table["name"],
                args,
                table.get("title", " ".join(args)),
                timed=args[0] != "idle",
                together=table.get("together", False),
            )
        )
    return proxies, workloads


def parse_running(text: str) -> Proxy:
    """
    A proxy that runs already, from C{NAME=HOST:PORT[:PID]}.

    @raise Failure: if the text is not of that form.
    """
    name, _, address = text.partition("=")
    host, _, rest = address.rpartition("]:") if "]:" in address else address.partition(":")
    port, _, pid = rest.partition(":")
    if not (name and host and port.isdigit() and (not pid or pid.isdigit())):
        raise Failure(f"--proxy {text}: NAME=HOST:PORT or NAME=HOST:PORT:PID")
    return Proxy(name, host.lstrip("["), int(port), pid=int(pid) if pid else None)
