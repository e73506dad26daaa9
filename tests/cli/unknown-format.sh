#!/bin/sh
# SPDX-License-Identifier: MIT
#
# A format nobody knows is named in the message.
. "$(dirname "$0")/lib.sh"
img-create -q x.raw 1M

refused 1 "*'nonsense'*" img-info -f nonsense x.raw
refused 1 "*'nonsense'*" img-convert -f nonsense x.raw y.raw
refused 1 "*'nonsense'*" img-convert -O nonsense x.raw y.raw
refused 1 "*'nonsense'*" img-create -f nonsense y.raw 1M
refused 1 "*'nonsense'*" img-io -f nonsense -c length x.raw
refused 2 "*'nonsense'*" img-compare -F nonsense x.raw x.raw
[ ! -e y.raw ] || fail "a target was made"
