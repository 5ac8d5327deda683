#!/bin/sh
# Builds the kernels with AddressSanitizer and UndefinedBehaviorSanitizer and runs native/tests on every tier of this CPU: sanitized.sh BUILD-FOLDER
set -eu
source=$(cd "$(dirname "$0")/.." && pwd)
build=$1
mkdir -p "$build"
compiler=${CXX:-$(command -v c++ || echo g++)}
echo 'int main() { return 0; }' >"$build/probe.cpp"
if ! { "$compiler" -fsanitize=address,undefined "$build/probe.cpp" -o "$build/probe" && "$build/probe"; } >"$build/probe.log" 2>&1; then
    echo "native tests with sanitizers: skipped, since $compiler cannot make a program with -fsanitize=address,undefined that runs here: $(head -n 1 "$build/probe.log")"
    exit 0
fi
cmake --log-level=NOTICE -S "$source" -B "$build" -DPANACEA_SANITIZE=ON >"$build/cmake.log" 2>&1 || { cat "$build/cmake.log" >&2; exit 1; }
cmake --build "$build" --parallel "$(getconf _NPROCESSORS_ONLN)"
for test in kernels_test mapped_test; do
    ASAN_OPTIONS=detect_leaks=1:abort_on_error=0 UBSAN_OPTIONS=print_stacktrace=1 "$build/$test"
done
echo "native tests with sanitizers: passed"
