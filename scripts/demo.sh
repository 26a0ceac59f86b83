#!/bin/sh
# Builds Towpath, gets a MySQL server if there is none, and shows a pipeline surviving kill -9.
# Needs Rust and a shell, no root; leaves nothing behind but the build (target/ and .build/).
# Arguments go to the demo: --seconds N, --kills K, --rate R.
set -eu
cd "$(dirname "$0")/.."

say() { echo "demo: $*"; }

command -v cargo >/dev/null || { echo "demo: cargo is missing: install Rust from https://rustup.rs" >&2; exit 1; }

scripts/find-mysql || scripts/get-mysql .build/mysql || {
    PATH=$PATH:/usr/sbin command -v mariadbd >/dev/null || exit 1
    say "going on with MariaDB, which is installed here"
}

say "building (some minutes the first time)"
cargo build --locked --package towpath --package towpath-testing --bins
target=$(cargo metadata --locked --no-deps --format-version 1 | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
exec "$target/debug/towpath-demo" "$@"
