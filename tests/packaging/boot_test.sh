#!/bin/bash
# Boots a minimal Debian in a container and takes the package of `make package` through its life
# there: what package_test.py cannot see, the unit's sandbox above all. Needs root, Debian's
# archive, mmdebstrap and systemd-container; run it by `make package-boot-test`. Takes a minute.
set -euo pipefail
cd "$(dirname "$0")/../.."

place=$(mktemp -d --tmpdir dflockd-boot-test.XXXXXX)
trap 'rm -rf "$place"' EXIT
root=$place/root

depends=$(dpkg-deb -f build/package/dflockd_*.deb Depends | sed 's/ *|[^,]*//g; s/([^)]*)//g; s/ //g')
mmdebstrap --quiet --variant=minbase --include="dbus,openssl,$depends" bookworm "$root"

cp build/package/dflockd_*.deb "$root/root/one.deb"
(cd build/package && cpack -D CPACK_DEBIAN_PACKAGE_RELEASE=999 -D CPACK_COMPONENTS_ALL=server -B "$place/later" >/dev/null 2>&1)
cp "$place"/later/*.deb "$root/root/two.deb"
DESTDIR=$root/root/source cmake --install build/package --prefix /usr/local >/dev/null

cp tests/packaging/boot_test_inside.sh "$root/root/"
cat >"$root/etc/systemd/system/test.service" <<'UNIT'
[Unit]
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/bin/bash -c '/root/boot_test_inside.sh >/root/report 2>&1; systemctl poweroff --force --no-block'
UNIT
mkdir -p "$root/etc/systemd/system/default.target.wants"
ln -s ../test.service "$root/etc/systemd/system/default.target.wants/test.service"

timeout 120 systemd-nspawn --quiet --directory="$root" --private-network --boot --register=no \
  --keep-unit </dev/null >"$place/console" 2>&1 || true
cat "$root/root/report"
[[ $(tail -1 "$root/root/report") == '-- passed' ]]
