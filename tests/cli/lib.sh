# SPDX-License-Identifier: MIT
# shellcheck shell=sh
#
# tests/cli/lib.sh - what the tests of the tools share.
#
# A test is one script about one behaviour.  It starts with
#     . "$(dirname "$0")/lib.sh"
# which leaves it in an empty directory of its own that goes at the end.  The
# tools come from PATH, real images from $IMAGES.  Status 77 means skipped; the
# last line printed is the reason.
set -eu

tests=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/bdrv-cli.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
cd "$work"
: "${IMAGES:=$tests/../../../shared/images}"

fail()
{
    echo "failed: $*" >&2
    exit 1
}

skip()
{
    echo "$*"
    exit 77
}

# need PROGRAM...: skips where one of them is not installed.
need()
{
    for program in "$@"; do
        command -v "$program" >/dev/null || skip "no $program"
    done
}

need_images()
{
    [ -r "$IMAGES/MANIFEST.tsv" ] || skip "no images: IMAGES=$IMAGES"
}

# equal WHAT FOUND WANTED
equal()
{
    [ "$2" = "$3" ] || fail "$1: found '$2', wanted '$3'"
}

# same_file A B: the same bytes.
same_file()
{
    cmp "$1" "$2" >/dev/null || fail "$1 and $2 differ"
}

# refused STATUS PATTERN COMMAND...: it ends with that status and says one line
# on stderr, which starts with the program's name and matches the pattern (of
# case).  The line is kept in the file "message".
refused()
{
    wanted=$1 pattern=$2
    shift 2
    status=0
    "$@" >output 2>message </dev/null || status=$?
    equal "status of $* ($(head -n 3 message))" "$status" "$wanted"
    equal "lines on stderr of $* ($(cat message))" "$(wc -l <message)" 1
    # shellcheck disable=SC2254 # the pattern is one
    case $(cat message) in
    "$(basename "$1"): "$pattern) ;;
    *) fail "$*: said '$(cat message)', wanted '$(basename "$1"): $pattern'" ;;
    esac
}

# quiet COMMAND...: succeeds and has nothing to say on stderr.
quiet()
{
    "$@" >output 2>message </dev/null || fail "$*: status $?: $(cat message)"
    [ ! -s message ] || fail "$*: said '$(cat message)'"
}

# has FILE TEXT: a line of the file holds that text.
has()
{
    grep -qF -e "$2" "$1" || fail "$1 has no '$2': $(cat "$1")"
}

# leftovers: what a conversion may have left in this directory.
leftovers()
{
    find . -name '.img-*'
}

sha256()
{
    sha256sum "$1" | cut -d ' ' -f 1
}

# noise BYTES SEED: bytes that do not compress, the same ones every time: the upper 24 bits
# of a well-known generator's 31.
noise()
{
    awk -v bytes="$1" -v seed="$2" 'BEGIN {
        x = seed % 2147483646 + 1
        for (n = 0; n < bytes; n += 3) {
            x = x * 16807 % 2147483647
            printf "%06X", int(x / 128)
        }
    }' | basenc --base16 -d | head -c "$1"
}

# put FILE OFFSET: writes stdin into the file there.
put()
{
    dd of="$1" bs=64k seek="$2" oflag=seek_bytes conv=notrunc status=none
}

# disk FILE SEED: a raw disk of 20 MiB + 1 sector with data of many shapes: at
# the start, in the midst of a cluster, over several, stored zeros, holes, and in
# the partial last cluster.
disk()
{
    truncate -s 20972032 "$1"
    noise 70000 "$2" | put "$1" 0
    noise 512 "$2" | put "$1" 1049088
    noise 3000000 "$2" | put "$1" 5000000
    head -c 300000 /dev/zero | put "$1" 9000000
    noise 65536 "$2" | put "$1" 12582912
    noise 1000 "$2" | put "$1" 20971032
}

# manifest CLASS FORMAT: "path subformat size sha256" of those images.
manifest()
{
    awk -F '\t' -v class="class=$1" -v format="$2" \
        '$2 == format && index($7, class) == 1 { print $1 "\t" $3 "\t" $4 "\t" $5 }' \
        "$IMAGES/MANIFEST.tsv"
}

# image PATH: the name of that image of the manifest; where something in its
# directory is compressed, of a copy of all that is there, unpacked.
image()
{
    directory=$(dirname "$1")
    case $(echo "$IMAGES/$directory"/*.xz) in
    *'/*.xz') echo "$IMAGES/$1" && return ;;
    esac
    if [ ! -d "images/$directory" ]; then
        mkdir -p "images/$directory"
        for file in "$IMAGES/$directory"/*; do
            case $file in
            *.xz) xz -dc "$file" >"images/$directory/$(basename "$file" .xz)" ;;
            *) cp "$file" "images/$directory" ;;
            esac
        done
    fi
    echo "images/${1%.xz}"
}

# The sanitizers' own exit status must not look like ours.
export ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}exitcode=99"
export UBSAN_OPTIONS="${UBSAN_OPTIONS:+$UBSAN_OPTIONS:}exitcode=99"
export TSAN_OPTIONS="${TSAN_OPTIONS:+$TSAN_OPTIONS:}exitcode=99"
export LC_ALL=C.UTF-8
