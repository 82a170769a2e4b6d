"""Our policies in other people's evaluation harnesses: vla-eval (simulators) and inspect-robots (robot trials).

Import from the modules. Each needs the extra of its harness: `vla-eval` or `inspect-robots`.
"""
