"""CALVIN as a benchmark, where its own packages are installed. A sibling of `tabletop` and `libero`."""

from inspire_vla.calvin.benchmark import CalvinBenchmark, CalvinMissing, CalvinTask

__all__ = ["CalvinBenchmark", "CalvinMissing", "CalvinTask"]
