#!/bin/sh
# Builds the CUDA kernels into one fat binary: build-cuda.sh SOURCE BUILD RESOURCES. Run by Maven. Where nvcc is missing it says so and builds
# nothing; a fat binary of other sources is removed then. nvcc is $NVCC, or on the PATH, or in /usr/local/cuda; it is also in the pip packages nvidia-cuda-nvcc nvidia-nvvm nvidia-cuda-crt
# nvidia-cuda-runtime nvidia-cuda-cccl (13.0).
set -eu
source=$(cd "$1" && pwd)
build=$2; mkdir -p "$build"
out=$3/native/cuda

nvcc=${NVCC:-}
[ -n "$nvcc" ] || nvcc=$(command -v nvcc || true)
[ -n "$nvcc" ] || ! [ -x /usr/local/cuda/bin/nvcc ] || nvcc=/usr/local/cuda/bin/nvcc
# What the fat binary depends on: the sources and this script, and the compiler.
stamp=$(cat "$0" "$source"/*.cu "$source"/*.cuh | cksum)
if [ -z "$nvcc" ]; then
    if [ "$(head -n 1 "$build/stamp" 2>/dev/null)" = "$stamp" ]; then exit 0; fi
    rm -f "$out/panacea.fatbin" "$build/stamp"
    echo "The jars are for the CPU; kernels for NVIDIA GPUs need nvcc (README.md, \"On an NVIDIA GPU\")."
    exit 0
fi

mkdir -p "$out"
stamp=$(echo "$stamp"; "$nvcc" --version | cksum)
if [ -f "$out/panacea.fatbin" ] && [ "$(cat "$build/stamp" 2>/dev/null)" = "$stamp" ]; then exit 0; fi
echo "Compiling the CUDA kernels with $nvcc: a few minutes ..."
# Code for sm_80 and sm_90, and PTX for what comes after; uncompressed, since the jar is compressed itself.
"$nvcc" -fatbin -std=c++17 -O3 -Xptxas -v,-warn-spills -gencode arch=compute_80,code=sm_80 -gencode arch=compute_90,code=sm_90 -gencode arch=compute_80,code=compute_80 \
    -compress-mode=none --threads 0 -o "$build/panacea.fatbin" "$source/panacea.cu" >"$build/ptxas.log" 2>&1 || { cat "$build/ptxas.log" >&2; exit 1; }
cp "$build/panacea.fatbin" "$out/panacea.fatbin"
echo "$stamp" >"$build/stamp"
