#!/bin/sh
# Builds the native library and puts it where the jar takes it from, and the libraries that tests use: build-native.sh SOURCE BUILD CLASSES. Run by Maven.
set -eu
source=$(cd "$1" && pwd)
build=$2; mkdir -p "$build"
classes=$3

missing=""
command -v cmake >/dev/null || missing="cmake"
command -v "${CXX:-c++}" >/dev/null || command -v g++ >/dev/null || missing="${missing:+$missing and }a C++ compiler (g++ or \$CXX)"
if [ -n "$missing" ]; then
    echo "The native kernels need $missing: install cmake and g++ (Debian and Ubuntu: apt install cmake g++), or build with" >&2
    echo "-DskipTests -Dpanacea.native.skip=true for the plain Java kernels alone, which are far slower." >&2
    exit 1
fi

# CMake refuses a build folder that was made for another source folder, such as one that came with a copied tree.
if [ -f "$build/CMakeCache.txt" ] && ! grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$source" "$build/CMakeCache.txt"; then
    rm -rf "$build"
fi
cmake --log-level=NOTICE -S "$source" -B "$build" -DCMAKE_BUILD_TYPE=Release >"$build.log" 2>&1 || { cat "$build.log" >&2; exit 1; }

build_quietly() {
    cmake --build "$build" --target "$@" --parallel "$(getconf _NPROCESSORS_ONLN)" >"$build.log" 2>&1 || { cat "$build.log" >&2; exit 1; }
    grep "warning:" "$build.log" >&2 || true
}

# The names of dev.panacea.bindings.Platform.
case "$(uname -s)" in
    Linux) os=linux library=libpanacea_cpu.so ;;
    Darwin) os=macos library=libpanacea_cpu.dylib ;;
    *) echo "The native kernels are not built on $(uname -s); use -Dpanacea.native.skip=true." >&2; exit 1 ;;
esac
case "$(uname -m)" in
    x86_64 | amd64) arch=x86_64 ;;
    aarch64 | arm64) arch=aarch64 ;;
    *) arch=$(uname -m) ;;
esac

[ -f "$build/$library" ] || echo "Compiling the CPU kernels, once per instruction set: one to two minutes on two cores ..."
build_quietly panacea_cpu
# What takes the place of NVIDIA's libraries in tests.
build_quietly deferred_cuda cublaslt_stand_in
mkdir -p "$classes/native/$os-$arch"
cmake -E copy_if_different "$build/$library" "$classes/native/$os-$arch/$library"
