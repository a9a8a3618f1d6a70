"""
A service in several processes: a supervisor that opens the ports, and workers that serve::

    supervisor ── opens each port once, accepts nobody ─── ports.SharedPorts
        │  starts each worker with the interpreter it runs on itself, and again if it ends
        ├── worker 1 ── inherits the ports, runs the service ── ports.InheritedPorts
        └── worker 2 ── …

Between the supervisor and a worker there are four pipes: orders go in by one, of which the first
is the L{Job<twisted_socks5.workers.job.Job>}, and whose end is the supervisor's; what the worker
logs comes out by another, as JSON; and its standard output and standard error by one each.

What is served, nobody here knows.
"""

from twisted_socks5.workers.job import LOG, OUTPUT, Job
from twisted_socks5.workers.ports import InheritedPorts, SharedPort, SharedPorts, asInherited
from twisted_socks5.workers.reports import Pipe, eventLine
from twisted_socks5.workers.supervisor import Workers

__all__ = [
    "LOG",
    "OUTPUT",
    "InheritedPorts",
    "Job",
    "Pipe",
    "SharedPort",
    "SharedPorts",
    "Workers",
    "asInherited",
    "eventLine",
]
