#!/bin/sh
# Finds PostgreSQL and MariaDB, or unpacks them from Debian packages below node_modules/.cache, and prints a line for each:
# name, folder of its programs, folder of its libraries ("-" for those of the system), its root ("/" for the system's). No root is needed.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cache="$(cd "$here/../../../.." && pwd)/node_modules/.cache/freshet-sql-servers"

# Downloads packages with all that they need and the system lacks, and unpacks them in a folder of the first one's name.
unpack() {
  package=$1
  target="$cache/$package"
  if [ ! -e "$target/done" ]; then
    if ! command -v apt-get >/dev/null || ! command -v dpkg >/dev/null; then
      echo "The tests of sinks need $package, and this system has no Debian packages to take it from." >&2
      exit 1
    fi
    # Lists that were never fetched, or are old, name packages that cannot be had. It needs root; without, what is there has to do.
    apt-get update >&2 || true
    rm -rf "$target"
    mkdir -p "$target/packages"
    needed=$(apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances \
      "$@" | grep '^[a-z0-9]' | sort -u)
    for one in $needed; do
      case "$(dpkg-query -W -f '${Status}' "$one" 2>/dev/null || true)" in
        *' installed') continue ;;
      esac
      # Some are names that other packages stand for.
      (cd "$target/packages" && apt-get download "$one" >/dev/null 2>&1) || true
    done
    for file in "$target"/packages/*.deb; do dpkg -x "$file" "$target/root"; done
    rm -rf "$target/packages"
    touch "$target/done"
  fi
}

libraries() {
  echo "$1/usr/lib/$(dpkg --print-architecture | sed 's/amd64/x86_64/; s/arm64/aarch64/')-linux-gnu"
}

postgres=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1 || true)
if [ -n "$postgres" ] && [ -x "$postgres/initdb" ]; then
  echo "postgres $postgres - /"
else
  apt-get update >&2 || true
  package=$(apt-cache depends postgresql | sed -n 's/.*Depends: \(postgresql-[0-9]*\)$/\1/p' | head -n 1)
  unpack "$package"
  root="$cache/$package/root"
  echo "postgres $(ls -d "$root"/usr/lib/postgresql/*/bin) $(libraries "$root") $root"
fi

if [ -x /usr/sbin/mariadbd ] && [ -x /usr/bin/mariadb-install-db ]; then
  echo 'mariadb /usr/sbin - /'
else
  unpack mariadb-server-core mariadb-client-core
  root="$cache/mariadb-server-core/root"
  echo "mariadb $root/usr/sbin $(libraries "$root") $root"
fi
