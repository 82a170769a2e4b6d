"""LIBERO: its tasks as a benchmark, its scenes as truth, its demonstrations as data. A sibling of `tabletop`.

bddl.py reads task files, grounding.py ties mentions to the things in them: both without LIBERO's code. simulation.py
asks a running simulator where things are; benchmark.py and demonstrations.py are built on it. LIBERO itself (the
extra `libero`) is imported only when a simulator is needed.
"""
