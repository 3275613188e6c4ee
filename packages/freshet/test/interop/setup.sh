#!/bin/sh
# Makes the Python environment that reads our tables as other engines do, and prints the path of its interpreter.
# It is made once, below node_modules/.cache, and made again when requirements.txt changes.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../../.." && pwd)
venv="$root/node_modules/.cache/freshet-interop"
stamp="$venv/requirements.txt"

if ! cmp -s "$here/requirements.txt" "$stamp"; then
  if ! command -v python3 >/dev/null; then
    echo 'The interoperability tests need python3 (3.10 or newer) with venv and pip.' >&2
    exit 1
  fi
  rm -rf "$venv"
  python3 -m venv "$venv" >&2
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$here/requirements.txt" >&2
  cp "$here/requirements.txt" "$stamp"
fi
echo "$venv/bin/python"
