"""A policy on a robot: a server and a client of openpi's web-socket protocol, and a page to steer a policy.

Import from the modules. `client` needs only numpy, msgpack and websockets.
"""
