"""A policy on a robot: openpi's web-socket protocol, a server, a client, and steering by word.

Import what you need from the modules. `client` needs only numpy, msgpack and websockets.
"""
