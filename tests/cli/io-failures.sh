#!/bin/sh
# SPDX-License-Identifier: MIT
#
# A command of img-io that fails says why, does not keep the next from running,
# and makes the status 1.
. "$(dirname "$0")/lib.sh"
img-create -q x.raw 1M

refused 1 "*'nonsense'*help*" img-io -f raw -c nonsense x.raw
refused 1 '*OFFSET LENGTH*' img-io -f raw -c 'read 1' x.raw
refused 1 '*unexpected operand 3*' img-io -f raw -c 'read 1 2 3' x.raw
refused 1 "*'x'*not a size*" img-io -f raw -c 'read x 1' x.raw
refused 1 '*-Z*' img-io -f raw -c 'read -Z 1 1' x.raw
refused 1 "*'300'*byte*" img-io -f raw -c 'read -P 300 0 1' x.raw
refused 1 '*-P*' img-io -f raw -c 'read -s 1 0 5' x.raw
refused 1 '*-z*-P*' img-io -f raw -c 'write -z -P 1 0 5' x.raw
refused 1 'read failed*beyond*' img-io -f raw -c 'read 1M 1' x.raw
refused 1 'write failed*' img-io -f raw -c 'write 1048575 2' x.raw
refused 1 'write failed*' img-io -r -f raw -c 'write 0 1' x.raw
refused 1 'read failed*' img-io -r -f raw -c 'read 5M 1' -c length x.raw
equal "the next command" "$(cat output)" "1 MiB"

status=0
img-io -f raw -c 'read -P 1 0 512' x.raw >output 2>message || status=$?
equal "status" "$status" 1
has output "Pattern verification failed at offset 0, 512 bytes"
