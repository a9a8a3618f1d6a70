"""
Proxies measured in turns, in the same minutes, on the same machine: what C{compare} is made of.

C{workloads} says what is asked for, C{proxies} starts and ends those who are asked, C{machine}
keeps the conditions alike, C{runs} measures, C{tables} draws the conclusions and C{page} writes
them down.  No part of it knows Twisted or this project's own server.
"""
