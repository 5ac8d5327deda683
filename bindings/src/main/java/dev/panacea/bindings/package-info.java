/**
 * The way from Java to the native library of the CPU kernels: finding and loading it, memory from it, and, in
 * {@code dev.panacea.bindings.generated}, what jextract makes of its header. Every restricted call of the FFM API is in this module, so
 * {@code --enable-native-access=dev.panacea.bindings} is all that a program on the module path has to grant.
 */
package dev.panacea.bindings;
