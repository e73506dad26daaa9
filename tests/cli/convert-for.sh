#!/bin/sh
# SPDX-License-Identifier: MIT
#
# img-convert --for makes what img-check --for accepts, and contradictions are
# refused.
. "$(dirname "$0")/lib.sh"
img-create -q -f vmdk -o subformat=streamOptimized probe.vmdk 1M
img-info probe.vmdk >/dev/null 2>&1 && streams=yes || streams=no # without libdeflate
disk x.raw 3

for profile in $(img-convert --help | sed -n '/^Profiles:/,$ s/^  \([a-z-]*\) .*/\1/p'); do
    case $profile:$streams in
    azure:*) refused 1 '*cannot write VHD*' img-convert --for azure x.raw y; continue ;;
    gcp:*) name=disk.raw ;;
    stream:no | vsphere-ovf:no | aws:no) continue ;;
    *) name=$profile.vmdk ;;
    esac
    img-convert --for "$profile" x.raw $name >output 2>message ||
        fail "$profile: $(cat message)"
    img-check -q --for "$profile" $name || fail "$profile: $(img-check --for "$profile" $name)"
    img-compare -q x.raw $name || fail "$profile: the disk is another"
done
equal "length for gcp" "$(stat -c %s disk.raw)" 1073741824
img-convert -q --for gcp x.raw disk.raw >output
[ ! -s output ] || fail "-q: $(cat output)"
if command -v tar >/dev/null && command -v gzip >/dev/null; then
    command=$(img-convert --for gcp x.raw disk.raw | sed -n 's/^next: \(.*\), in its.*/\1/p')
    $command || fail "$command"
    tar tzf image.tar.gz | grep -qx disk.raw || fail "$command: no disk.raw"
fi
img-info esxi.vmdk >output
has output "create type: vmfs"
has output "adapterType: lsilogic"

refused 1 '*leave one of them out*' img-convert --for aws -O raw x.raw y
refused 1 '*leave one of them out*' img-convert --for aws -o adapter_type=ide x.raw y
refused 1 '*called disk.raw*' img-convert --for gcp x.raw y
refused 1 '*-n it exists*' img-convert -n --for qemu x.raw disk.raw
refused 1 '*stands alone*' img-convert --for qemu -B x.raw x.raw y
refused 1 "*no profile 'moon'*" img-convert --for moon x.raw y
quiet img-convert --for workstation -O vmdk -o hwversion=4,toolsversion=5 x.raw y.vmdk
img-info y.vmdk >output
has output "toolsVersion: 5"
