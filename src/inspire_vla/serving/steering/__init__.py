"""A page that shows a policy at work in a benchmark and lets a person override its answers."""
