"""Steering by word: a page that shows what the policy sees and says, and lets a person overrule its answers."""
