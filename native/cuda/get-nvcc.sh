#!/bin/sh
# Puts CUDA's compiler into a folder, from the Python packages that NVIDIA publishes, and prints the folder to put on the PATH: get-nvcc.sh FOLDER [--cublas-headers].
# For machines that build the CUDA kernels and have no CUDA toolkit; needs python3 with venv and pip. No GPU and no driver are needed. About 300 MB.
# --cublas-headers adds cuBLAS's headers, with which a test compares the bindings, to those of nvcc (their package has 420 MB, of which 0.6 stay).
set -eu
folder=$1
version="==13.0.*"
packages="nvidia-cuda-nvcc$version nvidia-nvvm$version nvidia-cuda-crt$version nvidia-cuda-runtime$version nvidia-cuda-cccl$version"

find_nvcc() { find "$folder" -path '*/bin/nvcc' -type f 2>/dev/null | head -n 1; }

if [ -z "$(find_nvcc)" ]; then
    [ -x "$folder/bin/python3" ] || python3 -m venv "$folder" >&2
    # shellcheck disable=SC2086 # the packages are words
    "$folder/bin/python3" -m pip install --quiet --disable-pip-version-check $packages >&2
fi
nvcc=$(find_nvcc)
[ -n "$nvcc" ] || { echo "get-nvcc.sh: the packages $packages brought no nvcc into $folder" >&2; exit 1; }

include=$(dirname "$nvcc")/../include
if [ "${2:-}" = --cublas-headers ] && [ ! -f "$include/cublasLt.h" ]; then
    "$folder/bin/python3" -m pip download --quiet --disable-pip-version-check --no-deps --dest "$folder/cublas" "nvidia-cublas$version" >&2
    "$folder/bin/python3" - "$folder/cublas" "$include" <<'PYTHON'
import pathlib, sys, zipfile

wheel = next(pathlib.Path(sys.argv[1]).glob("*.whl"))
with zipfile.ZipFile(wheel) as files:
    for name in files.namelist():
        if "/include/" in name and name.endswith(".h"):
            (pathlib.Path(sys.argv[2]) / pathlib.Path(name).name).write_bytes(files.read(name))
PYTHON
    rm -r "$folder/cublas"
fi
# Absolute: Maven looks for it from other folders.
cd "$(dirname "$nvcc")" && pwd
