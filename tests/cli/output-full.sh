#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Output that cannot be written is a failure: a list cut short looks whole.
. "$(dirname "$0")/lib.sh"
[ -c /dev/full ] || skip "no /dev/full"
img-create -q x.raw 1M

for command in "img-info x.raw" "img-map --output=json x.raw" "img --help" "img-info --help"; do
    status=0
    $command >/dev/full 2>message || status=$?
    equal "status of $command" "$status" 1
    has message "standard output: "
done
