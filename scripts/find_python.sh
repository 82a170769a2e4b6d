#!/bin/sh
# Print the path of a Python >= 3.12 that can make virtual environments; explain and exit 2 if there is none.
# PYTHON=/path/to/python overrides the search.

usable() {
    "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 12))' >/dev/null 2>&1
}

if [ -n "${PYTHON:-}" ]; then
    usable "$PYTHON" && { command -v "$PYTHON"; exit 0; }
    echo "PYTHON=$PYTHON is not a Python >= 3.12 with the venv module." >&2
    exit 2
fi

pyenv=${PYENV_ROOT:-$HOME/.pyenv}

# Tested versions first, then whatever else is there. A pyenv shim may exist and yet not run: each is tried.
for candidate in \
    python3.12 python3.13 python3 python \
    "$pyenv"/versions/3.12*/bin/python "$pyenv"/versions/3.13*/bin/python \
    /opt/homebrew/bin/python3.12 /opt/homebrew/bin/python3.13 /usr/local/bin/python3.12 /usr/local/bin/python3.13 \
    python3.14 "$pyenv"/versions/3.1[4-9]*/bin/python
do
    path=$(command -v "$candidate" 2>/dev/null) || continue
    if usable "$path"; then echo "$path"; exit 0; fi
done

if command -v uv >/dev/null 2>&1; then
    path=$(uv python find '>=3.12' 2>/dev/null) && usable "$path" && { echo "$path"; exit 0; }
fi

cat >&2 <<'MESSAGE'
No Python >= 3.12 with the venv module was found.
Looked for: python3.12, python3.13, python3, python, python3.14, those of pyenv and Homebrew, and uv's.
What to do, any one of:
    Debian/Ubuntu   apt-get install python3.12 python3.12-venv
    macOS           brew install python@3.12
    pyenv           pyenv install 3.12
    uv              uv python install 3.12
or name one:        make PYTHON=/path/to/python3.12 demo
MESSAGE
exit 2
