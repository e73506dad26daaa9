#!/bin/sh
# SPDX-License-Identifier: MIT
#
# img-check: statuses, what a dry run and a repair do, and what JSON says.
. "$(dirname "$0")/lib.sh"

damage()
{
    printf '\377\377\377\177' | dd of="$1" bs=1 seek="$2" conv=notrunc 2>/dev/null
}

# status WANTED COMMAND...
status()
{
    wanted=$1
    shift
    found=0
    "$@" >output 2>message </dev/null || found=$?
    equal "status of $* ($(cat message))" "$found" "$wanted"
}

img-create -q -f vmdk d.vmdk 8M
img-io -c 'write -P 7 0 1M' d.vmdk >/dev/null
status 0 img-check d.vmdk
has output 'No errors were found on the image.'
has output '16/128 = 12.50% allocated, 0.00% fragmented, 0.00% compressed clusters'
img-create -q d.raw 1M
status 63 img-check d.raw
has message 'does not support checks'
status 1 img-check missing.vmdk
refused 1 "*'some'*leaks and all*" img-check -r some d.vmdk
refused 1 "*cache mode 'sometimes'*" img-check -T sometimes d.vmdk

# The third entry of the primary table, whose copy is sound.
damage d.vmdk $((27 * 512 + 8))
cp d.vmdk damaged
status 2 img-check d.vmdk
has output 'corruption: d.vmdk: The GTE [2] in GT [0] is invalid (2147483647)'
status 2 img-check --dry-run d.vmdk
has output '    repair: taken from the other set'
same_file d.vmdk damaged
status 2 img-check --output=json d.vmdk
has output '"corruptions": 1'
has output '"kind": "corruption"'
has output '"check-errors": 0'
status 2 img-check -r leaks d.vmdk
same_file d.vmdk damaged
status 0 img-check -r all d.vmdk
has output 'The following inconsistencies were found and repaired:'
status 0 img-check --output=json d.vmdk
img-io -c 'read -P 7 0 1M' d.vmdk >output || fail "$(cat output)"

# A leak, and nothing else.
truncate -s +1M d.vmdk
status 3 img-check -q d.vmdk
[ ! -s output ] || fail "-q prints $(cat output)"
status 0 img-check -r leaks --output=json d.vmdk
has output '"leaks-fixed": 1'
