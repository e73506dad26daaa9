#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Ctrl-C wherever it meets us: a target written in place goes with all of its
# files, one that is being verified gets no name, and a hash is not printed.
. "$(dirname "$0")/lib.sh"
env --default-signal=INT true 2>/dev/null || skip "env knows no --default-signal"
disk x.raw 4
img-create -q -f vmdk -o subformat=streamOptimized probe.vmdk 1M
img-info probe.vmdk >/dev/null 2>message || skip "no libdeflate"
img-hash -q probe.vmdk 2>message || skip "$(cat message)" # no nettle
quiet img-convert -O vmdk -o subformat=streamOptimized x.raw x.vmdk
half=$(($(stat -c %s x.vmdk) / 2))

# interrupted FILE COMMAND...: it gets half of x.vmdk on its standard input, and is
# interrupted once FILE has something in it.
interrupted()
{
    file=$1
    shift
    rm -f pipe
    mkfifo pipe
    : >output
    env --default-signal=INT "$@" <pipe >output 2>message &
    pid=$!
    exec 9>pipe
    head -c $half x.vmdk >&9
    while [ ! -s "$file" ]; do kill -0 $pid || fail "$* ended: $(cat message)"; done
    kill -INT $pid
    tail -c +$((half + 1)) x.vmdk >&9 || : # it may be gone by then
    exec 9>&-
    status=0
    wait $pid || status=$?
    equal "status of $*" "$status" 130
}

interrupted place.vmdk img-convert --no-atomic -f vmdk -O vmdk \
    -o subformat=twoGbMaxExtentSparse - place.vmdk
equal "message" "$(cat message)" "img-convert: stopped, place.vmdk was not written"
equal "files" "$(echo place*)" "place*"
interrupted output img-hash -f vmdk --progress=json --progress-fd 1 -
! grep -q sha256 output || fail "it says $(cat output)"

# Blocked on a pipe whose other side does nothing, it could not be stopped at all.
# new_pipe: that nobody else reads or writes.
new_pipe()
{
    exec 9>&-
    rm -f pipe
    mkfifo pipe
    exec 9<>pipe
}

# stopped SIGNAL STATUS: the command that is process $pid; nothing is left of it.
stopped()
{
    sleep 0.3 # to be where it waits; if it is not yet there, it is stopped all the same
    kill -s "$1" $pid
    status=0
    wait $pid || status=$?
    equal "status after $1" "$status" "$2"
    [ ! -e y.raw ] || fail "y.raw is there"
    equal "leftovers" "$(leftovers)" ""
}

truncate -s 20M zeros.raw
for bytes in 0 $half; do
    new_pipe
    env --default-signal=INT img-convert -f vmdk - y.raw <pipe 2>message &
    pid=$!
    head -c "$bytes" x.vmdk >&9
    stopped TERM 143
    has message "stopped, "
done
new_pipe
env --default-signal=INT img-hash -f vmdk - <pipe >output 2>message &
pid=$!
stopped INT 130
new_pipe
env --default-signal=INT img-convert -S 0 zeros.raw - >pipe 2>message &
pid=$!
stopped INT 130
equal "message" "$(cat message)" "img-convert: stopped, - was not written"
new_pipe
env --default-signal=INT img-convert -O vmdk -o subformat=streamOptimized -m 2 x.raw - >pipe 2>message &
pid=$!
stopped TERM 143
equal "message" "$(cat message)" "img-convert: stopped, - was not written"
exec 9>&-

# A hash of zeros that nobody reads went on to its end: for an empty disk of 8 TiB, hours.
img-create -q -f vmdk -o subformat=twoGbMaxExtentSparse,extent_size=2T empty.vmdk 8T
env --default-signal=INT img-hash empty.vmdk >output 2>message &
pid=$!
stopped INT 130
[ ! -s output ] || fail "it says $(cat output)"

# While it verifies: the first line of that phase is the sign.
noise 3000000 4 >part
cat part part part part part part part part part part >x.raw
rm pipe
mkfifo pipe
env --default-signal=INT img-convert --verify --progress=json --progress-fd 8 -f raw x.raw y.raw \
    8>pipe 2>message &
pid=$!
while read -r line; do
    case $line in
    *'"verify"'*)
        kill -INT $pid
        break
        ;;
    esac
done <pipe
status=0
wait $pid || status=$?
if [ ! -s message ]; then
    same_file x.raw y.raw # it was done before the signal came
    skip "this machine verifies too fast to be interrupted"
fi
equal "status" "$status" 130
equal "message" "$(cat message)" "img-convert: stopped, y.raw was not written"
[ ! -e y.raw ] || fail "y.raw is there"
equal "leftovers" "$(leftovers)" ""
