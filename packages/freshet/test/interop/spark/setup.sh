#!/bin/sh
# Makes the Spark that reads and writes our tables: pyspark brings Spark itself, Maven brings Iceberg's runtime for it. Prints the path
# of its Python interpreter and that of the runtime's jar. Made once, below node_modules/.cache, and made again when the versions change.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../../../.." && pwd)
home="$root/node_modules/.cache/freshet-spark"
versions="$home/versions"

need() {
  if ! command -v "$1" >/dev/null; then
    echo "The Spark tests need $2." >&2
    exit 1
  fi
}

if ! cat "$here/requirements.txt" "$here/pom.xml" | cmp -s - "$versions"; then
  need python3 'python3 (3.9 or newer) with venv and pip'
  need java 'java (17 or newer)'
  need mvn 'mvn (Maven), which brings the Iceberg runtime'
  rm -rf "$home"
  mkdir -p "$home"
  python3 -m venv "$home/venv" >&2
  "$home/venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$here/requirements.txt" >&2
  mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies -DexcludeTransitive=true -DoutputDirectory="$home/jars" >&2
  cat "$here/requirements.txt" "$here/pom.xml" >"$versions"
fi
need java 'java (17 or newer)'
printf '%s\n' "$home/venv/bin/python" "$home"/jars/iceberg-spark-runtime-*.jar
