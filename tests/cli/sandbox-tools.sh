#!/bin/sh
# SPDX-License-Identifier: MIT
#
# A tool that is taken over after its images are open can open no other file, start
# no program, make no connection; what it has to do it can still do.
. "$(dirname "$0")/lib.sh"
case "${CFLAGS:-} ${LDFLAGS:-}" in *-fsanitize*) skip "a sanitizer's build has no sandbox" ;; esac
"${CC:-cc}" -D_GNU_SOURCE -shared -fPIC -o misbehaving.so "$tests/sandbox-misbehaving.c" ||
    skip "no shared library can be built"

mkdir mine other
echo secret >other/victim
export VICTIM="$work/other/victim"
cd mine

# taken_over COMMAND...: $could becomes what it could do besides its work, which it
# must have done.
taken_over()
{
    LD_PRELOAD="$work/misbehaving.so" "$@" >../output 2>../message 9>../report </dev/null ||
        fail "$*: status $?: $(cat ../output ../message)"
    could=$(tr '\n' ' ' <../report)
}

# nothing COMMAND...: it could do nothing else.
nothing()
{
    taken_over "$@"
    equal "what $* could do" "$could" ""
}

all="read write make chmod remove directory run connect signal code "
img-create -q -f vmdk disk.vmdk 1M
taken_over img-info --no-sandbox disk.vmdk
equal "without a sandbox" "$could" "$all"
taken_over img-info disk.vmdk
[ "$could" != "$all" ] || skip "this host has neither Landlock nor seccomp"

works()
{
    nothing img-io -c 'write -P 7 1M 64k' -c flush "$1"
    nothing img-io -s -c 'write -P 8 1M 64k' "$1"
    nothing img-info "$1"
    nothing img-info --backing-chain --output=json "$1"
    nothing img-map "$1"
    nothing img-hash "$1"
    nothing img-check "$1"
    nothing img-check -r all "$1"
    nothing img-compare "$1" "$1"
    nothing img-convert -O raw "$1" out.raw
    nothing img-convert -O raw "$1" out.raw
    nothing img-convert -O vmdk -o subformat=twoGbMaxExtentSparse,extent_size=1M "$1" out.vmdk
    nothing img-convert -n -O vmdk "$1" out.vmdk
    nothing img-convert -O raw -n "$1" out.raw
    nothing img-amend -o toolsversion=1 "$1"
    nothing img-compare "$1" out.raw
    nothing img-compare "$1" out.vmdk
}

nothing img-create -f vmdk base.vmdk 4M
works base.vmdk
nothing img-create -f vmdk -o subformat=twoGbMaxExtentSparse,extent_size=1M split.vmdk 4M
works split.vmdk
nothing img-create -f vmdk -b split.vmdk -F vmdk child.vmdk
works child.vmdk
nothing img-info --open-option open_files=1 out.vmdk
nothing img-convert --open-option open_files=1 -O raw out.vmdk out.raw
nothing img-hash base.vmdk split.vmdk
nothing img-convert -O vmdk -o subformat=streamOptimized base.vmdk stream.vmdk
nothing img-check --for=stream stream.vmdk
nothing img-commit child.vmdk
nothing img-rebase -b base.vmdk -F vmdk child.vmdk
nothing img-rebase -b "" child.vmdk
nothing img-resize split.vmdk 5M
nothing img-resize -f raw out.raw +1M

# One that makes its target aside, taken over in somebody's home, could read and change all
# that is there, in directories too.  It needs to move its own files there: so files can be
# made (empty ones), moved and removed, but none can be read or written.  Directories could
# be made too, and moved away with all that is in them.
moves_only()
{
    taken_over "$@"
    equal "what $* could do" "$could" "remove "
}

mkdir private
echo secret >private/victim
VICTIM="$work/mine/private/victim"
moves_only img-convert -O raw base.vmdk fresh.raw
moves_only img-convert -O raw base.vmdk fresh.raw
moves_only img-convert -O vmdk -o subformat=twoGbMaxExtentSparse,extent_size=1M --verify base.vmdk new.vmdk
moves_only img-convert -O vmdk -o subformat=twoGbMaxExtentFlat,extent_size=1M base.vmdk new.vmdk
taken_over img-convert --open-option open_files=1 -O vmdk -o subformat=monolithicFlat new.vmdk other.vmdk
equal "with a source whose files come and go" "$could" "read remove "
ln -s new.vmdk link.vmdk
moves_only img-convert -O vmdk base.vmdk link.vmdk
nothing img-convert -O raw base.vmdk -
equal "the secret" "$(cat private/victim)" secret
