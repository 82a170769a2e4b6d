"""Our policies in other people's evaluation harnesses: vla-eval (simulators) and inspect-robots (robot trials).

Import from the modules. Each needs the extra of its harness: `vla-eval` or `inspect-robots`.
"""


def how_to_install(harness: str) -> str:
    """What to say where a harness is not installed."""
    return f"{harness} is not installed: pip install -c constraints.txt -e '.[{harness}]' in the repository."
