#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Bad usage is refused with one line that names the way out.
. "$(dirname "$0")/lib.sh"
img-create -q x.raw 1M

refused 1 '*no command*--help*' img
refused 1 "*'nonsense'*--help*" img nonsense
refused 1 '*-Q*--help*' img-convert -Q x.raw y.raw
refused 1 '*--nonsense*' img-convert --nonsense x.raw y.raw
refused 1 '*argument*-S*' img-convert x.raw y.raw -S
refused 1 '*SOURCE... TARGET*' img-convert x.raw
refused 1 '*SOURCE... TARGET*' img-convert
refused 1 '*FILE*' img-info
refused 1 '*unexpected operand c*' img-create a.raw 1M c
refused 1 '*size*' img-create a.raw
refused 1 "*'1q'*not a size*" img-create a.raw 1q
refused 1 "*'-1'*" img-create -- a.raw -1
refused 1 "*'99999999E'*too large*" img-create a.raw 99999999E
refused 1 "*'xml'*json*" img-info --output=xml x.raw
refused 1 '*beyond*' img-map -s 2M x.raw
refused 1 '*-c*compressed*' img-convert -c x.raw y.raw
refused 1 '*-l*snapshot*' img-convert -l s x.raw y.raw
refused 1 "*cache mode 'fast'*writeback*drop-behind*" img-convert -t fast x.raw y.raw
refused 1 "*cache mode 'fast'*" img-convert -T fast x.raw y.raw
refused 1 "-C: *without -S" img-convert -C -S 4k x.raw y.raw
refused 1 "-C: *without --salvage" img-convert -C --salvage x.raw y.raw
refused 1 "-r: *" img-convert -r 0 x.raw y.raw
refused 1 "--max-memory: *8M*" img-convert --max-memory=1M x.raw y.raw
refused 1 "*-m*'0'*" img-convert -m 0 x.raw y.raw
refused 1 '*--target-is-zero*-n*' img-convert --target-is-zero x.raw y.raw
refused 1 '*-F*-B*' img-convert -F raw x.raw y.raw
refused 1 '*-n*-o*' img-convert -n -o a=b x.raw y.raw
refused 2 '*FILE FILE*' img-compare x.raw
refused 2 '*-Q*' img-compare -Q x.raw x.raw
equal "files" "$(echo ./*.raw)" "./x.raw"
