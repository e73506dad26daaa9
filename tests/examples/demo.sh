#!/bin/sh
# SPDX-License-Identifier: MIT
#
# `make demo`: the main job, on a real image.  A VMDK that VMware wrote is
# converted to a raw disk, whose SHA-256 other tools agree on, and back to a
# VMDK, which is compared with the original.  Without the folder of real images
# it makes one of its own.  Needs B (the build) and IMAGES in the environment.
set -eu
PATH=$B/bin:$PATH
work=$(mktemp -d "${TMPDIR:-/tmp}/bdrv-demo.XXXXXX")
trap 'rm -rf "$work"' EXIT
name=vmdk/vmware-hw7-monolithicSparse/monolithicSparse.vmdk.xz

say() { printf '\n# %s\n' "$*"; }
run() { printf '$ %s\n' "$*"; "$@"; }

get_real_image() {
    say "a real image, written by VMware: $name"
    xz -dc "$IMAGES/$name" >"$work/disk.vmdk"
    expected=$(awk -F '\t' -v name="$name" '$1 == name { print $5 }' "$IMAGES/MANIFEST.tsv")
}

make_own_image() {
    say "no real image here ($IMAGES), so we make one"
    run img-create -q -f vmdk disk.vmdk 10M
    run img-io -c 'write -q -P 0x5a 0 64k' -c 'write -q -P 0xa5 5M 1M' disk.vmdk
    expected=$({
        head -c 65536 /dev/zero | tr '\0' '\132'
        head -c $((5 * 1048576 - 65536)) /dev/zero
        head -c 1048576 /dev/zero | tr '\0' '\245'
        head -c $((4 * 1048576)) /dev/zero
    } | sha256sum | cut -d ' ' -f 1)
}

cd "$work"
if [ -r "$IMAGES/$name" ] && command -v xz >/dev/null; then
    get_real_image
else
    make_own_image
fi

say "what is it?"
run img-info disk.vmdk

say "to raw, and what the guest sees is what others found in it"
run img-convert -O raw disk.vmdk disk.raw
printf '$ sha256sum disk.raw\n'
found=$(sha256sum disk.raw | cut -d ' ' -f 1)
printf 'found    %s\nexpected %s\n' "$found" "$expected"
[ "$found" = "$expected" ]

say "back to VMDK, and compare"
run img-convert -O vmdk disk.raw again.vmdk
run img-compare disk.vmdk again.vmdk
run ls -ls disk.vmdk disk.raw again.vmdk

say "It works."
