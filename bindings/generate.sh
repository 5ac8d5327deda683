#!/bin/sh
# Generates dev.panacea.bindings.generated from native/include/panacea.h with jextract. The result is checked in, so a
# build never needs jextract; GeneratedBindingsTest fails when the header has moved on without it. Needs
#   JEXTRACT        the jextract program (https://jdk.java.net/jextract, or built from openjdk/jextract), version 25
#   CLANG_INCLUDE   the include folder of clang's own headers (the one with stddef.h), such as lib/clang/16/include
set -eu
cd "$(dirname "$0")"

fail() { echo "generate.sh: $1" >&2; exit 1; }
[ -n "${JEXTRACT:-}" ] || fail "set JEXTRACT to the jextract program"
command -v "$JEXTRACT" >/dev/null || fail "JEXTRACT=$JEXTRACT is not a program"
[ -n "${CLANG_INCLUDE:-}" ] || fail "set CLANG_INCLUDE to the include folder of clang (the one with stddef.h)"
[ -f "$CLANG_INCLUDE/stddef.h" ] || fail "CLANG_INCLUDE=$CLANG_INCLUDE has no stddef.h"

header=../native/include/panacea.h
output=target/generated-bindings
checked_in=src/main/java/dev/panacea/bindings/generated

# Filters: everything that the header itself declares, nothing of the system headers it includes.
includes="--include-struct pan_weight"
for f in $(sed -n 's/^PAN_API .*[ *]\(pan_[a-z0-9_]*\)(.*/\1/p' "$header"); do includes="$includes --include-function $f"; done
for c in $(sed -n 's/^#define \(PAN_[A-Z0-9_]*\) [-(0-9].*/\1/p' "$header"); do includes="$includes --include-constant $c"; done

rm -rf "$output"
# No -l: NativeLibrary loads the library before the first use, and knows where its symbols are.
# shellcheck disable=SC2086 # the filters are words
"$JEXTRACT" --output "$output" --target-package dev.panacea.bindings.generated --header-class-name PanaceaCpu -I "$CLANG_INCLUDE" $includes "$header"
[ -f "$output/dev/panacea/bindings/generated/PanaceaCpu.java" ] || fail "jextract wrote no PanaceaCpu.java"
# Two edits: findOrThrow exists from JDK 23 on only, and its message would not say what to do.
sed -i -e '/static final SymbolLookup SYMBOL_LOOKUP/,/defaultLookup());/d' -e 's/SYMBOL_LOOKUP\.findOrThrow(/dev.panacea.bindings.NativeLibrary.symbol(/' \
    "$output/dev/panacea/bindings/generated/PanaceaCpu.java"
rm -rf "$checked_in"
mkdir -p "$(dirname "$checked_in")"
mv "$output/dev/panacea/bindings/generated" "$checked_in"
echo "$checked_in:"
ls -l "$checked_in"
