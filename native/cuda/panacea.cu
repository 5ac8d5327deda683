// panacea.cu: all kernels in one translation unit, which becomes one fat binary: no device linker, and one module to load.
#include "attention_generic.cu"
#include "copy.cu"
#include "norm.cu"
#include "rope.cu"
#include "rows.cu"
#include "swiglu.cu"
