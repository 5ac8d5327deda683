#!/bin/sh
# Generates dev.panacea.bindings.cuda from NVIDIA's headers with jextract: Cuda.java from cuda.h (the driver API) and CublasLt.java from
# cublasLt.h, of both only what is used. The result is checked in, so a build needs neither jextract nor a CUDA toolkit;
# CudaBindingsTest compares it with the headers where they are installed. Needs
#   JEXTRACT        the jextract program, version 25
#   CLANG_INCLUDE   the include folder of clang's own headers (the one with stddef.h)
#   CUDA_INCLUDE    the include folder of CUDA 13.0, with cuda.h (package nvidia-cuda-runtime) and cublasLt.h (package nvidia-cublas)
set -eu
cd "$(dirname "$0")"

fail() { echo "generate-cuda.sh: $1" >&2; exit 1; }
[ -n "${JEXTRACT:-}" ] && command -v "$JEXTRACT" >/dev/null || fail "set JEXTRACT to the jextract program"
[ -f "${CLANG_INCLUDE:-}/stddef.h" ] || fail "set CLANG_INCLUDE to the include folder of clang (the one with stddef.h)"
[ -f "${CUDA_INCLUDE:-}/cuda.h" ] || fail "set CUDA_INCLUDE to the include folder of CUDA (the one with cuda.h)"
[ -f "$CUDA_INCLUDE/cublasLt.h" ] || fail "CUDA_INCLUDE=$CUDA_INCLUDE has no cublasLt.h"

package=dev.panacea.bindings.cuda
output=target/generated-cuda
checked_in=src/main/java/dev/panacea/bindings/cuda

# name, header, then the filters of jextract; the loader of its symbols is NAMELibrary.
generate() {
    name=$1 header=$2
    shift 2
    "$JEXTRACT" --output "$output" --target-package $package --header-class-name "$name" -I "$CLANG_INCLUDE" -I "$CUDA_INCLUDE" "$@" "$CUDA_INCLUDE/$header"
    # Two edits: findOrThrow exists from JDK 23 on only, and the library is found by us, at the path that a setting names.
    sed -i -e '/static final SymbolLookup SYMBOL_LOOKUP/,/defaultLookup());/d' -e "s/SYMBOL_LOOKUP\.findOrThrow(/dev.panacea.bindings.${name}Library.symbol(/" \
        "$output/dev/panacea/bindings/cuda/$name.java"
}

functions="cuInit cuDriverGetVersion cuGetErrorName cuGetErrorString
    cuDeviceGetCount cuDeviceGet cuDeviceGetName cuDeviceGetAttribute cuDeviceTotalMem_v2
    cuDevicePrimaryCtxRetain cuDevicePrimaryCtxRelease_v2 cuCtxSetCurrent
    cuMemGetInfo_v2 cuMemAlloc_v2 cuMemFree_v2 cuMemHostAlloc cuMemFreeHost cuMemcpyHtoDAsync_v2 cuMemcpyDtoHAsync_v2 cuMemsetD8Async
    cuStreamCreate cuStreamDestroy_v2 cuStreamSynchronize cuStreamBeginCapture_v2 cuStreamEndCapture
    cuEventCreate cuEventDestroy_v2 cuEventRecord cuEventSynchronize
    cuGraphInstantiateWithFlags cuGraphLaunch cuGraphDestroy cuGraphExecDestroy
    cuModuleLoadData cuModuleUnload cuModuleGetFunction
    cuFuncGetAttribute cuFuncSetAttribute cuFuncGetParamInfo cuLaunchKernel"
constants="CUDA_ERROR_INVALID_VALUE CUDA_ERROR_OUT_OF_MEMORY CUDA_ERROR_NO_DEVICE CUDA_ERROR_NOT_FOUND CUDA_ERROR_NO_BINARY_FOR_GPU CUDA_ERROR_UNSUPPORTED_PTX_VERSION
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT CU_DEVICE_ATTRIBUTE_CLOCK_RATE
    CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
    CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
    CU_STREAM_NON_BLOCKING CU_STREAM_CAPTURE_MODE_THREAD_LOCAL CU_EVENT_DISABLE_TIMING CU_MEMHOSTALLOC_PORTABLE"
lt_functions="cublasLtCreate cublasLtDestroy cublasLtGetVersion cublasLtGetStatusString cublasLtMatmul cublasLtMatmulAlgoGetHeuristic
    cublasLtMatmulDescCreate cublasLtMatmulDescDestroy cublasLtMatmulDescSetAttribute cublasLtMatrixLayoutCreate cublasLtMatrixLayoutDestroy
    cublasLtMatmulPreferenceCreate cublasLtMatmulPreferenceDestroy cublasLtMatmulPreferenceSetAttribute"
lt_constants="CUBLAS_STATUS_SUCCESS CUBLAS_STATUS_NOT_SUPPORTED CUBLAS_COMPUTE_32F CUBLAS_OP_N CUBLAS_OP_T CUDA_R_32F CUDA_R_16BF CUBLASLT_MATMUL_DESC_TRANSA CUBLASLT_MATMUL_DESC_TRANSB
    CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE
    CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES"

filters() {
    kind=$1
    shift
    for name in "$@"; do printf -- '--include-%s %s ' "$kind" "$name"; done
}

rm -rf "$output"
# shellcheck disable=SC2046,SC2086 # the filters are words
generate Cuda cuda.h $(filters function $functions) $(filters constant $constants)
# shellcheck disable=SC2046,SC2086
generate CublasLt cublasLt.h $(filters function $lt_functions) $(filters constant $lt_constants) --include-struct cublasLtMatmulHeuristicResult_t --include-typedef cublasLtMatmulHeuristicResult_t \
    --include-struct cublasLtMatmulAlgo_t --include-typedef cublasLtMatmulAlgo_t
rm -rf "$checked_in"
mkdir -p "$(dirname "$checked_in")"
mv "$output/dev/panacea/bindings/cuda" "$checked_in"
ls -l "$checked_in"
