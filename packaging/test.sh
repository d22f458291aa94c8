#!/bin/bash
# Installs the package, runs the sensor as its own user in a network namespace, removes it again.
#
# usage: packaging/test.sh PACKAGE.deb
# Needs root and a Debian without shadowtap; says so and is skipped otherwise.
set -euo pipefail
package=$1
skip() { echo "dist: SKIPPED: $1"; exit 0; }
[ "$(id -u)" = 0 ] || skip "it takes root to install a package"
command -v dpkg >/dev/null || skip "dpkg is not installed"
command -v setpriv >/dev/null || skip "setpriv (util-linux) is not installed"
if dpkg -s shadowtap >/dev/null 2>&1; then skip "shadowtap is installed here already"; fi
space=st-dist-$$
ip netns add "$space" 2>/dev/null || skip "network namespaces cannot be made here"
sensor=
finish() {
    if [ -n "$sensor" ]; then kill -KILL "$sensor" 2>/dev/null || true; fi
    dpkg --purge shadowtap >/dev/null 2>&1 || true
    ip netns del "$space" 2>/dev/null || true
    rm -rf "${folder:-/nonexistent}"
}
trap finish EXIT
ok() { echo "dist: ok     $1"; }

dpkg --install "$package" >/dev/null
ok "installed: $(shadowtap --version)"
getent passwd shadowtap >/dev/null && ok "the service has a user of its own"
man --local-file /usr/share/man/man1/shadowtap-watch.1.gz >/dev/null 2>&1 || gzip -t /usr/share/man/man1/shadowtap-watch.1.gz
bash -n /usr/share/bash-completion/completions/shadowtap
ok "man pages and completions are there"
shadowtap config check --config /etc/shadowtap/shadowtap.toml >/dev/null
ok "the configuration of the package holds"
if command -v systemd-analyze >/dev/null; then
    systemd-analyze verify --man=no /lib/systemd/system/shadowtap.service && ok "the unit holds"
fi

ip -n "$space" link add tap0 type veth peer name peer0
ip -n "$space" link set tap0 up && ip -n "$space" link set peer0 up
folder=$(mktemp -d)
chown shadowtap "$folder"
# As the unit starts it: its user, and one capability.
ip netns exec "$space" setpriv --reuid=shadowtap --regid=shadowtap --clear-groups --no-new-privs \
    --inh-caps=-all,+net_raw --ambient-caps=-all,+net_raw --bounding-set=-all,+net_raw \
    shadowtap watch -i tap0 --no-view --store "$folder/ai.db" --socket "$folder/s.sock" 2>"$folder/said" >"$folder/out" &
sensor=$!
for _ in $(seq 100); do
    if grep -q watching "$folder/said"; then break; fi
    sleep 0.1
done
grep -q watching "$folder/said" || { cat "$folder/said"; exit 1; }
ok "it runs as its own user"
kill -TERM "$sensor"
wait "$sensor"
sensor=
grep -q "frames = " "$folder/said" && ok "it ends with its totals"
dpkg --purge shadowtap >/dev/null
if [ -e /usr/bin/shadowtap ] || [ -e /etc/shadowtap ] || getent passwd shadowtap >/dev/null; then
    echo "dist: FAILED something is left behind"
    exit 1
fi
ok "removed, and nothing is left"
