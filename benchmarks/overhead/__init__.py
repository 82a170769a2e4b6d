"""What `benchmarks/reasoning_overhead.py` is made of.

ways.py            one decision, every way, timed        nano_replay.py   decisions of real rollouts
official_style.py  the paper's way, a baseline           real_sizes.py    the published models' sizes
report.py          table and figure of docs/performance  memory.py        ten thousand decisions
habit.py           would other drafts be better?
"""
