#!/usr/bin/env bash
# What must be on the machine: a Rust toolchain, a C compiler, and libpcap's headers, which are
# installed where that is possible. With --test also what the live smoke test uses.
set -euo pipefail
cd "$(dirname "$0")/.."

install() { # PACKAGE…
    if ! command -v apt-get >/dev/null; then
        echo "deps: not a Debian machine: please install what these packages hold: $*" >&2
        return 1
    fi
    if [ "$(id -u)" != 0 ]; then
        echo "deps: please run: sudo apt-get install $*" >&2
        return 1
    fi
    echo "deps: installing $*"
    export DEBIAN_FRONTEND=noninteractive
    # Lists may be missing or old: fetch them, and go on with the old ones if that fails.
    apt-get update -qq || true
    apt-get install -qq -y --no-install-recommends "$@" >/dev/null
}

for tool in cargo gcc; do
    command -v $tool >/dev/null || { echo "deps: $tool is missing (rustup.rs, or the package gcc)" >&2; exit 2; }
done

have_headers() { printf '#include <pcap/pcap.h>\n' | gcc -E - >/dev/null 2>&1; }
have_headers || install libpcap-dev || exit 2

if [ "${1:-}" = --test ]; then
    missing=()
    while read -r tool package; do
        command -v "$tool" >/dev/null || missing+=("$package")
    done <<'LIST'
ip iproute2
tcpdump tcpdump
curl curl
openssl openssl
rsyslogd rsyslog
LIST
    # Receivers that the tests of sinks deliver to; neither brings a command of its own.
    compgen -G '/usr/lib/*/rsyslog/lmnsd_gtls.so' >/dev/null || missing+=(rsyslog-gnutls)
    /usr/bin/python3 -c 'import aiosmtpd' 2>/dev/null || missing+=(python3-aiosmtpd)
    # The smoke test says what it lacks and is skipped; the other tests do not need these.
    [ ${#missing[@]} = 0 ] || install "${missing[@]}" || true
fi
