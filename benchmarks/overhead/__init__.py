"""Parts of `benchmarks/reasoning_overhead.py` and `benchmarks/gpu.py`.

timing.py        one decision by every method, timed      nano_replay.py     decisions of real rollouts
per_question.py  the paper's method, as a baseline        real_sizes.py      published models' sizes
report.py        table and figure of the docs             memory.py          10,000 decisions
history_drafts.py  drafts from an answer history      gpu_page.py        the GPU's section of the docs
"""
