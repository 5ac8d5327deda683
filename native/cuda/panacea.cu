// panacea.cu: all kernels in one translation unit, which becomes one fat binary: no device linker, and one module to load.
#include "attention.cu"
#include "attention_backward.cu"
#include "attention_few.cu"
#include "copy.cu"
