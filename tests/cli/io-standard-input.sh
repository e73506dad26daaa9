#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Without -c commands come from standard input, one per line, up to quit or the
# end; there is no prompt where nobody sits.
. "$(dirname "$0")/lib.sh"
img-create -q x.raw 1M

equal "output" "$(printf 'length\n\n  length  \nquit\nnonsense\n' | img-io -f raw x.raw)" \
    "$(printf '1 MiB\n1 MiB')"
equal "no last newline" "$(printf length | img-io -f raw x.raw)" "1 MiB"
status=0
printf 'nonsense\nlength\n' | img-io -f raw x.raw >output 2>message || status=$?
equal "status" "$status" 1
equal "output" "$(cat output)" "1 MiB"
