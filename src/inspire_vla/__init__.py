"""InSpire: vision-language-action models that say where things are before they act (arXiv 2505.13888)."""

__version__ = "0.1.0"
