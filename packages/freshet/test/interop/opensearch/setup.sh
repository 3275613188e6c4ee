#!/bin/sh
# Brings the jars of a real OpenSearch server by Maven, and prints the folder they are in. Made once, below node_modules/.cache, and
# made again when the version changes.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../../../.." && pwd)
home="$root/node_modules/.cache/freshet-opensearch"

need() {
  if ! command -v "$1" >/dev/null; then
    echo "The OpenSearch tests need $2." >&2
    exit 1
  fi
}

need java 'java (17 or newer, with its compiler)'
if ! cmp -s "$here/pom.xml" "$home/pom.xml"; then
  need mvn 'mvn (Maven), which brings OpenSearch'
  rm -rf "$home"
  mkdir -p "$home"
  mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies -DoutputDirectory="$home/jars" >&2
  cp "$here/pom.xml" "$home/pom.xml"
fi
printf '%s\n' "$home/jars"
