"""LIBERO: its tasks as a benchmark, labels from its simulator's state, demonstrations by an expert or from HDF5 files.

tasks.py reads task files and grounding.py grounds mentions in them, both without LIBERO's code. LIBERO (the extra
`libero`) is imported only when a simulation is made.
"""
