#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Once a target written in place that failed left its further files full of data,
# and its further files were written over the sources' without a look.
. "$(dirname "$0")/lib.sh"
disk x.raw 4

# fails OPTION...: 1 MiB of a file goes, and no more.
fails()
{
    status=0
    (
        ulimit -f 2048 # of 512 bytes
        exec img-convert "$@" 2>message
    ) || status=$?
    equal "status for $*" "$status" 1
    has message "File too large"
}

split=subformat=twoGbMaxExtentSparse
fails -O vmdk --no-atomic -o $split x.raw new.vmdk
equal "files" "$(echo new*)" "new*"
img-create -q -f vmdk -o $split new.vmdk 20M # is there before
fails -O vmdk --no-atomic -o $split x.raw new.vmdk
equal "files" "$(echo new*)" "new-s001.vmdk new.vmdk"
equal "size of what was there" "$(stat -c %s new-s001.vmdk)" 0
rm new*
img-create -q -f vmdk -o $split new.vmdk 20M
ln new.vmdk other.vmdk
fails -O vmdk -o $split x.raw new.vmdk
equal "size of what has two names" "$(stat -c %s new.vmdk other.vmdk new-s001.vmdk | tr '\n' ' ')" "0 0 0 "

# What goes well is as always, and in one piece at no time.
quiet img-convert --no-atomic -O vmdk -o $split x.raw place.vmdk
quiet img-compare x.raw place.vmdk
equal "files" "$(echo place*)" "place-s001.vmdk place.vmdk"

# The sources are spared, whichever way the target would reach them.
quiet img-convert -O vmdk -o $split x.raw cx.vmdk
cp cx-s001.vmdk sum
img-create -q -f vmdk parent.vmdk 20972032
mv cx.vmdk source.vmdk # whose extent is cx-s001.vmdk
refused 1 '*cx-s001.vmdk: is the source, or part of it (source.vmdk)*' \
    img-convert --no-atomic -O vmdk -o $split source.vmdk cx.vmdk
refused 1 '*cx-s001.vmdk: is the source*' \
    img-convert -B parent.vmdk -O vmdk -o $split source.vmdk cx.vmdk
ln new.vmdk cx.vmdk
refused 1 '*cx-s001.vmdk: is the source*' img-convert -O vmdk -o $split source.vmdk cx.vmdk
sed 's/CID=.*/CID=12345678/' source.vmdk >same.vmdk
refused 1 '*cx-s001.vmdk: is the source*' img-convert -n -O vmdk source.vmdk same.vmdk
same_file sum cx-s001.vmdk
quiet img-compare x.raw source.vmdk
