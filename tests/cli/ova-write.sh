#!/bin/sh
# SPDX-License-Identifier: MIT
#
# img-convert --ova: a tar that others unpack, whose OVF comes first, whose sizes
# and digests are true, and whose disk importers take.
. "$(dirname "$0")/lib.sh"
need tar sha256sum
disk x.raw 9
if ! img-convert --ova x.raw m.ova 2>message; then
    case $(cat message) in
    *"made without"*) skip "$(cat message)" ;; # libdeflate or nettle
    esac
    fail "$(cat message)"
fi
[ -z "$(leftovers)" ] || fail "left over: $(leftovers)"

# attribute NAME: its value in the OVF.
attribute()
{
    sed -n "s/.*ovf:$1=\"\([^\"]*\)\".*/\1/p" "$name.ovf" | sed 's/&lt;/</g; s/&gt;/>/g; s/&amp;/\&/g'
}

# check OVA SOURCE: everything that can be said of it.
check()
{
    rm -rf unpacked
    mkdir unpacked
    (
        cd unpacked
        tar xf "../$1" 2>../message || fail "tar: $(cat ../message)"
        [ ! -s ../message ] || fail "tar: $(cat ../message)"
        name=$(basename "$1" .ova)
        equal "files" "$(tar tf "../$1" | tr '\n' ' ')" "$name.ovf $name.mf $name-disk1.vmdk "
        sed 's/^SHA256(\(.*\))= \(.*\)$/\2  \1/' "$name.mf" >sums
        equal "digests" "$(wc -l <sums)" 2
        sha256sum -c --quiet --strict sums >&2 || fail "digests"
        if command -v xmllint >/dev/null; then
            xmllint --noout "$name.ovf" || fail "xmllint"
        fi
        equal "size" "$(attribute size)" "$(stat -c %s "$name-disk1.vmdk")"
        equal "href" "$(attribute href)" "$name-disk1.vmdk"
        img-info --output=json "$name-disk1.vmdk" >info
        has info "\"virtual-size\": $(attribute capacity),"
        has info '"adapterType": "lsilogic"'
        grep -aq "SPARSE \"$name-disk1.vmdk\"" "$name-disk1.vmdk" || fail "recorded name"
        img-check --for vsphere-ovf "$name-disk1.vmdk" >&2 || fail "check"
    )
    quiet img-compare "$2" "$1"
    img-check --for aws "$1" >output || fail "check in place: $(cat output)"
    equal "blocks" "$(($(stat -c %s "$1") % 512))" 0
    equal "two blocks of zeros" "$(tail -c 1024 "$1" | tr -d '\0' | wc -c)" 0
}
check m.ova x.raw

# An empty disk; from an OVA, in place of the old one; several sources; verified.
truncate -s 1M empty.raw
quiet img-convert --ova empty.raw e.ova
check e.ova empty.raw
quiet img-convert --ova --verify m.ova e.ova
check e.ova x.raw
quiet img-convert --ova empty.raw empty.raw 2.ova
truncate -s 2M two.raw
check 2.ova two.raw
quiet img-convert --ova -o stream_layout=front,compression_level=1 --for aws x.raw f.ova
check f.ova x.raw

# Long names are cut to one that fits, and names are quoted where they stand.
long=$(printf '%0100d' 7).ova
quiet img-convert --ova empty.raw "$long"
equal "files of a long name" "$(tar tf "$long" | head -n 1)" machine.ovf
quiet img-convert --ova empty.raw "$(printf 'a\001')"
equal "files of a strange name" "$(tar tf "$(printf 'a\001')" | head -n 1)" machine.ovf
for last in '\276' '\277'; do # no XML may have these, and it was written
    # shellcheck disable=SC2059 # the format is the text
    name=$(printf "a\357\277$last")
    quiet img-convert --ova empty.raw "$name.ova"
    equal "files of $name" "$(tar tf "$name.ova" | head -n 1)" machine.ovf
done
quiet img-convert --ova empty.raw 'a&b <c>.ova'
check 'a&b <c>.ova' empty.raw

# The same bytes for the same disk, whatever the number of threads.
for threads in 1 2 8; do
    mkdir t$threads
    SOURCE_DATE_EPOCH=1700000000 img-convert -m $threads --ova x.raw t$threads/s.ova
    same_file t1/s.ova t$threads/s.ova
done
tar tvf t1/s.ova | grep -q 2023-11-14 || fail "time: $(tar tvf t1/s.ova)"

# The cache modes of -t and -T were passed over with OVA files.
cp m.ova source.ova
for mode in writeback unsafe writethrough drop-behind none directsync; do
    img-convert --verify -t $mode -T $mode --ova source.ova c.ova 2>message || {
        has message "direct I/O"
        continue
    }
    check c.ova x.raw
done
if command -v strace >/dev/null && strace -o trace true 2>/dev/null; then
    ASAN_OPTIONS="$ASAN_OPTIONS:detect_leaks=0" strace -f -o trace img-convert --ova -t writethrough x.raw c.ova
    grep -q 'open.*c\.ova.*O_DSYNC' trace || fail "-t writethrough: $(grep c.ova trace)"
    ASAN_OPTIONS="$ASAN_OPTIONS:detect_leaks=0" strace -f -o trace img-convert --ova -t none x.raw c.ova 2>message || has message "direct I/O"
    grep -q O_DIRECT trace || fail "-t none"
    ASAN_OPTIONS="$ASAN_OPTIONS:detect_leaks=0" strace -f -o trace img-convert -T none m.ova c.raw 2>message || has message "direct I/O"
    grep -q O_DIRECT trace || fail "-T none"
fi

# What cannot be; nothing is left of it.
refused 1 '*cannot be written to a pipe*' img-convert --ova x.raw -
refused 1 '*for vsphere-ovf or aws*' img-convert --ova --for qemu x.raw z.ova
refused 1 '*leave one of them out*' img-convert --ova -O raw x.raw z.ova
refused 1 '*leave one of them out*' img-convert --ova -o subformat=monolithicSparse x.raw z.ova
refused 1 '-n: the target exists*' img-convert --ova -n x.raw m.ova
refused 1 '*is the source*' img-convert --ova m.ova m.ova
check m.ova x.raw
(
    ulimit -f 100
    trap '' XFSZ
    if img-convert --ova x.raw z.ova 2>message; then
        fail "more was written than the limit allows"
    fi
)
[ ! -e z.ova ] || fail "z.ova is there"
[ -z "$(leftovers)" ] || fail "left over: $(leftovers)"
