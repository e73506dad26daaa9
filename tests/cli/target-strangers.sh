#!/bin/sh
# SPDX-License-Identifier: MIT
#
# A file that the user had not named, but that had the name of a further file of the
# new image, was overwritten without a word, also if it was another image's.  It is
# refused now, unless it is a file of the image that is replaced.
. "$(dirname "$0")/lib.sh"
disk x.raw 3
flat=subformat=monolithicFlat
split=subformat=twoGbMaxExtentSparse,extent_size=64k

# untouched FILE: nothing of what is refused leaves a trace.
untouched()
{
    equal "$1" "$(cat "$1")" precious
    [ ! -e new.vmdk ] || fail "new.vmdk is there"
    equal "leftovers" "$(leftovers)" ""
}

for options in '' --no-atomic; do
    echo precious >new-flat.vmdk
    # shellcheck disable=SC2086 # no word, or one
    refused 1 '*new-flat.vmdk: exists, would be overwritten*new.vmdk; move it away*' \
        img-convert $options -O vmdk -o $flat x.raw new.vmdk
    untouched new-flat.vmdk
    rm new-flat.vmdk
    echo precious >new-s007.vmdk
    # shellcheck disable=SC2086
    refused 1 '*new-s007.vmdk: exists*' img-convert $options -O vmdk -o $split x.raw new.vmdk
    untouched new-s007.vmdk
    equal "files" "$(echo new*)" new-s007.vmdk
    rm new-s007.vmdk
done
echo precious >new-flat.vmdk
refused 1 '*new-flat.vmdk: exists*' img-create -f vmdk -o $flat new.vmdk 1M
untouched new-flat.vmdk
echo old >new.vmdk # which names no file
refused 1 '*new-flat.vmdk: exists*the image that is now new.vmdk*' img-convert -O vmdk -o $flat x.raw new.vmdk
refused 1 '*new-flat.vmdk: exists*' img-create -f vmdk -o $flat new.vmdk 1M
equal "old target" "$(cat new.vmdk new-flat.vmdk)" "$(printf 'old\nprecious')"
rm new.vmdk new-flat.vmdk

# Another image's.
quiet img-convert -O vmdk -o $flat x.raw a.vmdk
sed s/a-flat/b-flat/ a.vmdk >other.vmdk
cp a-flat.vmdk b-flat.vmdk
refused 1 '*b-flat.vmdk: exists*' img-convert -O vmdk -o $flat x.raw b.vmdk
quiet img-compare x.raw other.vmdk

# Its own are replaced, however many there are: also if one is lost.
for options in '' --no-atomic; do
    for kind in $flat $split; do
        rm -f own*
        for turn in 1 2; do
            # shellcheck disable=SC2086
            quiet img-convert $options -O vmdk -o "$kind" x.raw own.vmdk
            quiet img-compare x.raw own.vmdk
        done
        img-create -q -f vmdk -o "$kind" own.vmdk 20972032
        # shellcheck disable=SC2086
        quiet img-convert $options -O vmdk -o "$kind" x.raw own.vmdk
    done
done
rm own-s100.vmdk
quiet img-convert -O vmdk -o subformat=twoGbMaxExtentSparse x.raw own.vmdk
quiet img-compare x.raw own.vmdk

# -n writes into the files that the image has.
quiet img-convert -n -O vmdk x.raw own.vmdk
quiet img-compare x.raw own.vmdk
