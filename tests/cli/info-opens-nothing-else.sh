#!/bin/sh
# SPDX-License-Identifier: MIT
#
# img-info opens the image and the extents it consists of, and no other image
# unless --backing-chain asks for it.
. "$(dirname "$0")/lib.sh"
need strace
mkdir images
img-create -q -f vmdk images/base.vmdk 1M
img-create -q -f vmdk -b base.vmdk -F vmdk -o subformat=twoGbMaxExtentSparse \
    images/child.vmdk
cd images

# opened COMMAND...: the files of this directory that it opens.
opened()
{
    # LeakSanitizer is a tracer too, and there can be one only.
    ASAN_OPTIONS="$ASAN_OPTIONS:detect_leaks=0" strace -f -e trace=open,openat,openat2 -o ../trace "$@" >/dev/null
    sed -n 's/.*open[at2]*(.*"\([^"]*\.vmdk\)".*) = [0-9]*$/\1/p' ../trace |
        sed 's,.*/,,' | sort -u | tr '\n' ' '
}

equal "with a parent" "$(opened img-info child.vmdk)" "child-s001.vmdk child.vmdk "
equal "as JSON" "$(opened img-info --output=json child.vmdk)" "child-s001.vmdk child.vmdk "
equal "the chain" "$(opened img-info --backing-chain child.vmdk)" \
    "base.vmdk child-s001.vmdk child.vmdk "
