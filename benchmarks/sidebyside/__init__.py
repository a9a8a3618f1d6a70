"""
Proxies measured in turns, in the same minutes, on the same machine: what C{compare} and C{costs}
are made of.

C{workloads} says what is asked for, C{peers} whom, C{proxies} starts and ends those who are asked,
C{machine} keeps the conditions alike, C{runs} measures, C{tables} draws the conclusions and
C{page} writes them down.  C{instruments} looks at a proxy more closely, and C{stacks} at what was
seen.  No part of it knows this project's own server.
"""
