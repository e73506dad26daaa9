#!/bin/sh
# SPDX-License-Identifier: MIT
#
# "-" is standard input and output: what can be written and read without going
# back is; the rest is refused, and half a stream is never taken for a whole.
. "$(dirname "$0")/lib.sh"
disk x.raw 24

img-convert x.raw - | cat >y.raw
same_file x.raw y.raw
refused 1 '*only*streamOptimized*' img-convert -O vmdk x.raw -
refused 1 '*stream_layout=end*' img-convert -O vmdk -o subformat=streamOptimized,stream_layout=front x.raw -
refused 1 '*-n*-B*' img-convert -n x.raw -
refused 1 '*-f*' img-convert - y.raw
refused 1 '*no length*' img-convert -f raw - y.raw
refused 1 '*standard input is empty' img-convert -f vmdk - y.raw </dev/null
refused 1 '*only once*' img-convert -f vmdk - - y.raw
mkfifo fifo
refused 1 '*fifo: is a FIFO*, or - for standard input' img-convert -f vmdk fifo y.raw
refused 1 '*fifo: is a FIFO*, or - for standard output' img-convert x.raw fifo

# Closed output is not where the bar goes, let alone the target.
img-convert -p x.raw z.raw >&- 2>message || fail "closed output: $(cat message)"
same_file x.raw z.raw
! img-info x.raw >&- 2>message || fail "closed output: success"
has message "standard output: "

img-create -q -f vmdk -o subformat=streamOptimized probe.vmdk 1M
img-info probe.vmdk >/dev/null 2>message || exit 0 # no libdeflate

options=subformat=streamOptimized,seed=1
img-convert -O vmdk -o $options x.raw - | cat >x.vmdk
mkdir file
quiet img-convert -O vmdk -o $options x.raw file/disk.vmdk
# But for the CID: in a file it changes when the stream is written.
LC_ALL=C sed 's/^CID=.*//; s/^\(ddb.longContentID = "\).*/\1/' x.vmdk >a
LC_ALL=C sed 's/^CID=.*//; s/^\(ddb.longContentID = "\).*/\1/' file/disk.vmdk >b
same_file a b

cat x.vmdk | img-convert -q -f vmdk - y.raw
truncate -s 20972032 y.raw
same_file x.raw y.raw
img-convert -f vmdk - - <x.vmdk | cat >y.raw
truncate -s 20972032 y.raw
same_file x.raw y.raw

# Whoever sends the image can send all, and more.
(cat x.vmdk && head -c 300000 /dev/zero && : >sent) | img-convert -f vmdk - y.raw 2>message
[ ! -s message ] || fail "said $(cat message)"
[ -e sent ] || fail "zeros behind the stream were not read"
truncate -s 20972032 y.raw
same_file x.raw y.raw
(cat x.vmdk && head -c 300000 x.raw) | img-convert -f vmdk - y.raw 2>message
has message "warning: standard input goes on for 300000 bytes behind the image"
truncate -s 20972032 y.raw
same_file x.raw y.raw

# A stream with its tables in front can be read so too.
quiet img-convert -O vmdk -o $options,stream_layout=front x.raw front.vmdk
img-convert -f vmdk - y.raw <front.vmdk
quiet img-compare x.raw y.raw

# Cut anywhere.
rm y.raw
size=$(stat -c %s x.vmdk)
for bytes in 100 70000 $((size / 2)) $((size - 6144)) $((size - 1024)) $((size - 512)); do
    head -c "$bytes" x.vmdk >cut.vmdk
    ! img-convert -f vmdk - y.raw <cut.vmdk 2>message || fail "cut at $bytes"
    [ ! -e y.raw ] || fail "cut at $bytes: y.raw is there"
    has message "standard input ends at byte $bytes, before"
done

# Of two sources, of which the second could not be joined, the first went out as a whole image.
! img-convert -O vmdk -o $options x.raw x.raw - >half.vmdk 2>message || fail "joined"
has message "inside of one"
refused 1 '*not completely transferred*' img-info half.vmdk

# Another kind of image.
quiet img-convert -O vmdk x.raw sparse.vmdk
! img-convert -f vmdk - y.raw <sparse.vmdk 2>message || fail "monolithicSparse"
has message "only streamOptimized"
