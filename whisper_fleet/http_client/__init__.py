"""A client of the HTTP server, for machines that reach neither Redis nor the fleet's disks.

It needs nothing but what the light installation brings: requests go through urllib, which knows proxies.
"""
