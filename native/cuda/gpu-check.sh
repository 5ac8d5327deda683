#!/usr/bin/env bash
# What someone with an NVIDIA GPU (compute capability 8.0 or later, driver for CUDA 13) runs once: --help says how. This one script has two places. In the project it builds, and gathers
# all that the checks need into a folder, of which it is part itself, the kit. In the kit it runs the checks, for which Java is enough: no Maven, no compiler, no network.
set -euo pipefail

help() {
  cat <<'TEXT'
gpu-check.sh [--small] [--only PATTERN] [--limit SECONDS] [--golden FOLDER] [FOLDER]
    Checks the kernels on the GPU of this machine. FOLDER (gpu-check) gets a log of each step, the summary, and the table of timings as JSON.
    In the project it builds first (needs Maven and, where there is no nvcc, the network); what it has built is in FOLDER/kit.
gpu-check.sh --pack FILE.tar.gz [--java]
    In the project: packs the kit for a machine without Maven, compilers or network. There: tar xzf FILE.tar.gz && gpu-check/gpu-check.sh
    --java packs a Java runtime with it (that of JAVA_HOME or the PATH, cut down); else the other machine needs Java 22 or newer.

    --small          a part of the tests, and tiny shapes, whose timings mean nothing: a first look, also for a simulated driver (PANACEA_CUDA_DRIVER)
    --only PATTERN   only the steps whose name matches: device, operations, training, timings, sanitizer
    --limit SECONDS  a step that takes longer is cut off, instead of after its usual time
    --golden FOLDER  reference figures that training is compared with, besides those in the project

cuBLASLt, for the comparison, comes with the CUDA toolkit 13 or the Python package nvidia-cublas, where it is found; or PANACEA_CUDA_CUBLASLT names its file.
Exit code 0: all steps passed, 1: one failed, 2: wrong options.
TEXT
}
wrong() { echo "gpu-check.sh: $1; --help tells more" >&2; exit 2; }
fail() { echo "gpu-check.sh: $1" >&2; exit 1; }

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder='' pack='' with_java=false small=false only=. limit='' golden='' options=()
while [ $# -gt 0 ]; do
  case $1 in
    --help) help; exit 0 ;;
    --small) small=true; options+=("$1"); shift ;;
    --java) with_java=true; shift ;;
    --only | --limit | --golden | --pack)
      [ $# -ge 2 ] || wrong "$1 needs a value"
      case $1 in --only) only=$2 ;; --limit) limit=$2 ;; --golden) golden=$(cd "$2" && pwd) ;; --pack) pack=$2 ;; esac
      case $1 in --only | --limit) options+=("$1" "$2") ;; esac
      shift 2 ;;
    -*) wrong "there is no option $1" ;;
    *) [ -z "$folder" ] || wrong "one folder only, not $folder and $1"; folder=$1; shift ;;
  esac
done
[[ $limit =~ ^[0-9]{0,6}$ ]] || wrong "--limit $limit: a number of seconds is needed"
! $with_java || [ -n "$pack" ] || wrong "--java goes with --pack"

# The first of the usual places that has a Java of at least version 22.
find_java() {
  local home version
  for home in "$here/java" "${JAVA_HOME:-}" "$(dirname "$(dirname "$(readlink -f "$(command -v java || true)")")")" /usr/lib/jvm/*; do
    [ -x "$home/bin/java" ] || continue
    version=$("$home/bin/java" -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p')
    if [ "${version:-0}" -ge 22 ]; then echo "$home"; return; fi
  done
  fail "there is no Java 22 or newer: not in JAVA_HOME (${JAVA_HOME:-not set}), on the PATH or in /usr/lib/jvm"
}

# ---- in the project: build, and gather the kit -----------------------------------------------------------------------

# Everything that a run needs, into a folder: kit FOLDER.
gather() {
  local kit=$1
  cd "$here/../.."
  if ! command -v nvcc >/dev/null && [ -z "${NVCC:-}" ] && ! [ -x /usr/local/cuda/bin/nvcc ]; then
    nvcc_folder=$(native/cuda/get-nvcc.sh "$PWD/target/nvcc")
    export PATH="$nvcc_folder:$PATH"
  fi
  rm -rf "$kit"
  mkdir -p "$kit"
  # The programs' jar holds the library and all that it needs; what tests need besides goes into lib.
  mvn -q -DskipTests package dependency:copy-dependencies -DincludeScope=test -DoutputDirectory="$kit/lib" \
    -DincludeGroupIds=org.junit.jupiter,org.junit.platform,org.opentest4j,org.apiguardian,org.assertj
  [ -f kernels/target/cuda/native/cuda/panacea.fatbin ] || fail "the build has made no CUDA kernels; it says why above"
  cp native/cuda/gpu-check.sh "$kit"
  cp benchmarks/target/benchmarks.jar "$kit"
  mkdir -p "$kit/kernels" "$kit/core/src/test/resources"
  cp -r kernels/target/test-classes "$kit/kernels/classes"
  cp -r core/target/test-classes "$kit/core/classes"
  # Read as files, from the folder that tests are run in.
  mv "$kit/core/classes/golden" "$kit/core/src/test/resources"
}

if ! [ -f "$here/benchmarks.jar" ]; then
  [ -f "$here/../../pom.xml" ] || fail "there is neither a kit nor the project around $here"
  if [ -n "$pack" ]; then
    [ -z "$folder" ] || wrong "--pack FILE goes without a folder"
    mkdir -p "$(dirname "$pack")"
    pack=$(cd "$(dirname "$pack")" && pwd)/$(basename "$pack")
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    gather "$work/gpu-check"
    if $with_java; then
      home=$(find_java)
      "$home/bin/jlink" --add-modules java.base,java.logging,java.management,java.naming,java.sql,java.xml,jdk.management,jdk.unsupported --compress zip-6 --strip-debug --no-header-files --no-man-pages --output "$work/gpu-check/java"
    fi
    # A tokenizer's native code for other systems is half of the jar.
    if command -v zip >/dev/null; then
      zip -q -d "$work/gpu-check/benchmarks.jar" 'native/lib/osx-*' 'native/lib/win-*' 'native/lib/linux-aarch64/*'
    fi
    tar -C "$work" -czf "$pack.part" gpu-check
    mv "$pack.part" "$pack"
    echo "$pack: $(($(stat -c %s "$pack") >> 20)) MiB"
    exit 0
  fi
  folder=${folder:-gpu-check}
  mkdir -p "$folder"
  folder=$(cd "$folder" && pwd)
  gather "$folder/kit"
  if [ -z "$golden" ] && [ -d ../shared/golden ]; then golden=$(cd ../shared/golden && pwd); fi
  exec "$folder/kit/gpu-check.sh" "${options[@]}" ${golden:+--golden "$golden"} "$folder"
fi

# ---- in the kit: run -------------------------------------------------------------------------------------------------

[ -z "$pack" ] || wrong "--pack is for the project; this is the kit"
folder=${folder:-gpu-check}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
java=$(find_java)/bin/java
table=("$java" -jar "$here/benchmarks.jar" --device cuda --json "$folder/gpu-check.json")
$small && table+=(--small)

# cuBLASLt where a setting, the dynamic linker, the toolkit or Python's packages have it.
find_cublaslt() {
  local file
  {
    echo "${PANACEA_CUDA_CUBLASLT:-}"
    PATH=$PATH:/sbin ldconfig -p | sed -n 's/.*libcublasLt\.so\.13 .*=> //p' | head -n 1
    ls /usr/local/cuda*/lib64/libcublasLt.so.13
    python3 -c 'import glob, sys; [print(f) for p in sys.path for f in glob.glob(p + "/nvidia/*/lib/libcublasLt.so.13")]'
  } 2>/dev/null | while read -r file; do
    if [ -f "$file" ]; then echo "$file"; break; fi
  done
}
cublaslt=$(find_cublaslt)

{
  date
  "$java" -version 2>&1 | head -n 1
  if command -v nvidia-smi >/dev/null; then
    timeout 60 nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm,clocks.max.mem --format=csv || echo "nvidia-smi failed"
  else
    echo "no nvidia-smi"
  fi
  echo "cuBLASLt: ${cublaslt:-none found}"
} | tee "$folder/machine.log"

failed=0
: >"$folder/summary.txt"
note() { printf '%-28s %6s  %s\n' "$1" "$2" "$3" | tee -a "$folder/summary.txt"; }

# Runs a step with its time limit: step NAME SECONDS COMMAND... Its output goes to NAME.log; the tests that failed, and its end, are shown where it fails.
step() {
  local name=$1 seconds=${limit:-$2} code=0 begun=$SECONDS
  shift 2
  [[ $name =~ $only ]] || return 0
  echo "==== $name (at most $seconds s; $folder/$name.log)"
  timeout -k 10 "$seconds" "$@" >"$folder/$name.log" 2>&1 </dev/null || code=$?
  local took="$((SECONDS - begun)) s"
  case $code in
    0) note "$name" "$took" passed; return ;;
    124 | 137) code="cut off after $seconds s" ;;
    *) code="exit code $code" ;;
  esac
  grep ':: FAILED$' "$folder/$name.log" | head -n 20 || true
  tail -n 20 "$folder/$name.log"
  note "$name" "$took" "FAILED: $code"
  failed=1
}

# Tests of a module, run in its folder: tests NAME SECONDS MODULE CLASSES [PROPERTY...]
tests() {
  local name=$1 seconds=$2 module=$3 classes=$4
  shift 4
  step "$name" "$seconds" env -C "$here/$module" "$java" --enable-native-access=ALL-UNNAMED -Xmx3g -Dpanacea.device=cuda "$@" \
    -cp "$here/$module/classes:$here/benchmarks.jar:$here/lib/*" org.junit.platform.console.ConsoleLauncher execute --disable-banner --disable-ansi-colors \
    --details=testfeed --fail-if-no-tests --scan-classpath "$here/$module/classes" --include-classname ".*\\.($classes)"
}

step device 300 "$java" -jar "$here/benchmarks.jar" --device cuda --small --only '^linear bf16'
if [ "$failed" -ne 0 ]; then
  echo "gpu-check: FAILED: the GPU cannot be used, so nothing else was tried"
  exit 1
fi

# Our own kernels by themselves; what is known of the build, or only of a simulated driver, is left to Maven.
if $small; then
  PANACEA_CUDA_CUBLASLT=off tests operations 300 kernels 'KernelsTest|CudaIndexTest' -Dpanacea.cases=swiGlu
  tests training 300 core GeneratorTest
else
  PANACEA_CUDA_CUBLASLT=off tests operations 900 kernels 'KernelsTest|Cuda(?!Build|Counters).*Test'
  [ -z "$cublaslt" ] || PANACEA_CUDA_CUBLASLT=$cublaslt tests operations-cublaslt 600 kernels KernelsTest -Dpanacea.cases=linear
  tests training 600 core 'GoldenTest|KeptWeightsTest|GeneratorTest|DeviceMemoryTest' -Dpanacea.golden="${golden:-none}"
fi

PANACEA_CUDA_CUBLASLT=$cublaslt step timings 1500 "${table[@]}"
if grep -q '^timings .* passed$' "$folder/summary.txt"; then grep -v INFO "$folder/timings.log"; fi

sanitizer=$(PATH=$PATH:/usr/local/cuda/bin command -v compute-sanitizer || true)
if [ -n "$sanitizer" ]; then
  groups=(streaming gemm single lora attention)
  $small && groups=(streaming)
  for tool in memcheck racecheck; do
    for group in "${groups[@]}"; do
      step "sanitizer-$tool-$group" 300 "$sanitizer" --tool "$tool" --error-exitcode 9 "$java" --enable-native-access=ALL-UNNAMED \
        -cp "$here/kernels/classes:$here/benchmarks.jar:$here/lib/*" dev.panacea.kernels.CudaCounters "$group"
    done
  done
else
  note sanitizer - "not run: there is no compute-sanitizer"
fi

echo
cat "$folder/summary.txt"
if [ "$failed" -ne 0 ]; then echo "gpu-check: FAILED; the logs are in $folder"; exit 1; fi
echo "gpu-check: passed; the table is in $folder/gpu-check.json"
