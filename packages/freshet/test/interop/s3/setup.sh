#!/bin/sh
# Builds the Versity S3 Gateway, which serves a folder as S3 does, below node_modules/.cache, and prints the path of its program.
set -eu
version=v1.8.0
cache="$(cd "$(dirname "$0")/../../../../.." && pwd)/node_modules/.cache/freshet-s3-server/$version"

if [ ! -x "$cache/versitygw" ]; then
  if ! command -v go >/dev/null; then
    echo 'The tests of buckets need Go 1.25 or newer, to build an S3 server.' >&2
    exit 1
  fi
  mkdir -p "$cache"
  # Put in place by a rename: a build that was cut short leaves no program.
  GOBIN="$cache/building" GOFLAGS=-buildvcs=false go install "github.com/versity/versitygw/cmd/versitygw@$version" >&2
  mv "$cache/building/versitygw" "$cache/versitygw"
  rmdir "$cache/building"
fi
echo "$cache/versitygw"
