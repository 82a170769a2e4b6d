"""The tests. Helpers are imported from the root of the repository: `from tests.backbones.tiny import tiny`."""
