"""The names of `import inspire_vla`."""

import subprocess
import sys

import pytest

import inspire_vla


def test_every_name_resolves():
    for name in inspire_vla.__all__:
        assert getattr(inspire_vla, name) is not None
    assert set(inspire_vla.__all__) <= set(dir(inspire_vla))
    with pytest.raises(AttributeError, match="no attribute 'nobody'"):
        _ = inspire_vla.nobody


def test_the_import_loads_only_the_standard_library():
    code = (
        "import sys; before = set(sys.modules); import inspire_vla; "
        "print([m for m in sys.modules if m not in before and m.split('.')[0] not in sys.stdlib_module_names])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "['inspire_vla']"


def test_windows_can_import_what_it_is_supported_for():
    """Without fcntl, and without a simulator or torch: PLATFORMS in cli/doctor.py."""
    modules = ("serving.client", "labels", "evaluation", "resumable_job", "cli")
    code = (
        "import filelock, psutil, multiprocessing, sys; sys.modules['fcntl'] = None; "
        f"import {', '.join(f'inspire_vla.{module}' for module in modules)}"
    )
    subprocess.run([sys.executable, "-c", code], timeout=60, check=True)
