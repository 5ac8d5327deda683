// panacea.cu: all kernels in one translation unit, which becomes one fat binary: no device linker, and one module to load.
#include "copy.cu"
#include "dequantize.cu"
#include "gather.cu"
#include "gemm_bf16.cu"
#include "quant4.cu"
