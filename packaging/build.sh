#!/bin/bash
# Makes dist/: the release binary, man pages, completions, and a Debian package of them.
#
# usage: packaging/build.sh TARGET_BINARY
set -euo pipefail
cd "$(dirname "$0")/.."
binary=$1
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
machine=$(dpkg --print-architecture)
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p dist

install -Dm755 "$binary" "$root/usr/bin/shadowtap"
strip --strip-unneeded "$root/usr/bin/shadowtap"
install -m755 "$root/usr/bin/shadowtap" dist/shadowtap
"$binary" internal-manuals "$root/usr/share/man/man1"
gzip -9n "$root"/usr/share/man/man1/*.1
install -d "$root/usr/share/bash-completion/completions" "$root/usr/share/zsh/vendor-completions" "$root/usr/share/fish/vendor_completions.d"
"$binary" internal-completions bash > "$root/usr/share/bash-completion/completions/shadowtap"
"$binary" internal-completions zsh > "$root/usr/share/zsh/vendor-completions/_shadowtap"
"$binary" internal-completions fish > "$root/usr/share/fish/vendor_completions.d/shadowtap.fish"
install -Dm644 packaging/shadowtap.service "$root/lib/systemd/system/shadowtap.service"
install -Dm644 packaging/shadowtap.default "$root/etc/default/shadowtap"
install -d "$root/etc/shadowtap"
"$binary" config init --output "$root/etc/shadowtap/shadowtap.toml" >/dev/null
chmod 644 "$root/etc/shadowtap/shadowtap.toml"
install -Dm644 README.md "$root/usr/share/doc/shadowtap/README.md"
install -Dm644 THIRD-PARTY-NOTICES.md "$root/usr/share/doc/shadowtap/THIRD-PARTY-NOTICES.md"
cat LICENSE-MIT LICENSE-APACHE > "$root/usr/share/doc/shadowtap/copyright"
gzip -9nc CHANGELOG.md > "$root/usr/share/doc/shadowtap/changelog.gz"

install -d "$root/DEBIAN"
install -m755 packaging/debian/{postinst,prerm,postrm} "$root/DEBIAN/"
printf '%s\n' /etc/default/shadowtap /etc/shadowtap/shadowtap.toml > "$root/DEBIAN/conffiles"
cat > "$root/DEBIAN/control" <<CONTROL
Package: shadowtap
Version: $version
Architecture: $machine
Maintainer: shadowtap contributors <shadowtap@example.org>
Section: net
Priority: optional
Depends: libc6, libpcap0.8, passwd
Installed-Size: $(du -sk "$root" | cut -f1)
Description: passive sensor: which AI services are in use that nobody approved
 Reads mirrored traffic or captures, decrypts nothing, and says which AI services, agents and
 models are used on a network, by whom, and how much data goes there.
CONTROL
dpkg-deb --build --root-owner-group "$root" "dist/shadowtap_${version}_${machine}.deb" >/dev/null
ls -1 dist
