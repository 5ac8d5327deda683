#!/bin/sh
# Puts CUDA's compiler into a folder, from the Python packages that NVIDIA publishes, and prints the folder to put on the PATH: get-nvcc.sh FOLDER.
# For machines that build the CUDA kernels and have no CUDA toolkit; needs python3 with venv and pip. No GPU and no driver are needed. About 400 MB.
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
# Absolute: Maven looks for it from other folders.
cd "$(dirname "$nvcc")" && pwd
