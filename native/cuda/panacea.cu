// panacea.cu: all kernels in one translation unit, which becomes one fat binary: no device linker, and one module to load.
#include "copy.cu"
#include "gemm_few_rows.cu"
#include "gemv.cu"
