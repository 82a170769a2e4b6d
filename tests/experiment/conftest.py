"""Stages whose commands are Python code, so that experiments run in moments."""

import sys

import pytest

from inspire_vla.experiment import runner


@pytest.fixture
def _commands_are_python(monkeypatch):
    """A stage's command is Python code here."""
    real = runner.subprocess.Popen

    def popen(arguments, **options):
        return real([sys.executable, "-c", arguments[3]], **options)

    monkeypatch.setattr(runner.subprocess, "Popen", popen)
