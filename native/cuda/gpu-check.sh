#!/usr/bin/env bash
# What someone with an NVIDIA GPU (compute capability 8.0 or later, driver for CUDA 13) runs once: gpu-check.sh [FOLDER]. It builds the kernels, compares
# every operation with its definition in Java on the GPU, trains and decodes with the reference figures, looks for memory errors and races with compute-sanitizer
# where that is installed, and prints one table of timings beside cuBLASLt and the ceilings. What it prints, and the table as JSON, stay in FOLDER (default: gpu-check).
# cuBLASLt comes with the CUDA toolkit 13, or with the Python package nvidia-cublas (then set PANACEA_CUDA_CUBLASLT to its libcublasLt.so.13).
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=${1:-gpu-check}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
exec > >(tee "$folder/gpu-check.log") 2>&1

command -v nvidia-smi >/dev/null && nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm,clocks.max.mem --format=csv
if ! command -v nvcc >/dev/null; then
  nvcc_folder=$(native/cuda/get-nvcc.sh "$folder/nvcc")
  export PATH="$nvcc_folder:$PATH"
fi
nvcc --version | tail -n 2

failed=()
step() {
  local name=$1
  shift
  echo
  echo "==== $name"
  if "$@"; then echo "==== $name: passed"; else echo "==== $name: FAILED"; failed+=("$name"); fi
}

mvn -q -DskipTests package
step "operations on the GPU against their definition" mvn -q -pl kernels -am test -Dpanacea.device=cuda -Dtest='KernelsTest,Cuda*Test' -Dsurefire.failIfNoSpecifiedTests=false
step "reference figures of training and decoding on the GPU" mvn -q -pl core -am test -Dpanacea.device=cuda -Dtest=GoldenTest -Dsurefire.failIfNoSpecifiedTests=false

if command -v compute-sanitizer >/dev/null; then
  java=$(command -v java)
  classes=kernels/target/classes:kernels/target/cuda:kernels/target/test-classes:bindings/target/classes
  mvn -q -pl kernels dependency:build-classpath -Dmdep.outputFile="$folder/classpath" -Dmdep.includeScope=test
  for group in streaming gemm attention; do
    for tool in memcheck racecheck; do
      step "compute-sanitizer $tool, $group" compute-sanitizer --tool "$tool" --error-exitcode 9 "$java" --enable-native-access=ALL-UNNAMED -cp "$classes:$(cat "$folder/classpath")" \
        dev.panacea.kernels.CudaCounters "$group"
    done
  done
else
  echo "no compute-sanitizer: memory errors and races are not looked for"
fi

step "timings" java -jar benchmarks/target/benchmarks.jar --quick --device cuda --json "$folder/gpu-check.json"

echo
if [ ${#failed[@]} -eq 0 ]; then echo "gpu-check: passed; the table is in $folder/gpu-check.json"; else printf 'gpu-check: FAILED: %s\n' "${failed[@]}"; exit 1; fi
