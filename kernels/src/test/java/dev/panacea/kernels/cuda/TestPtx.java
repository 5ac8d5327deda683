package dev.panacea.kernels.cuda;

import java.nio.charset.StandardCharsets;

/** Kernels for the tests of this package, as text, so that these need no compiler. */
final class TestPtx {
    /**
     * {@code add(int *y, int value, int n)}: y[i] += value, for blocks of at most 128 threads. {@code sum(int *y, const int *x, int n)}: y[0] = sum of x[0..n), by one
     * thread. {@code stage(int *y, int n)}: y[i] = i by way of dynamic shared memory of 4 n bytes, in one block.
     * {@code kinds(void *y, float f, double d, long l)}: y = f; y + 8 = d; y + 16 = l.
     */
    static final byte[] IMAGE = """
            .version 7.0
            .target sm_80
            .address_size 64
            .extern .shared .align 4 .b8 staged[];
            .visible .entry add(.param .u64 y, .param .u32 value, .param .u32 n) .maxntid 128, 1, 1 {
                .reg .pred %p<2>; .reg .b32 %r<8>; .reg .b64 %d<4>;
                ld.param.u64 %d1, [y]; ld.param.u32 %r1, [value]; ld.param.u32 %r2, [n];
                mov.u32 %r3, %ctaid.x; mov.u32 %r4, %ntid.x; mov.u32 %r5, %tid.x;
                mad.lo.s32 %r6, %r3, %r4, %r5;
                setp.ge.s32 %p1, %r6, %r2;
                @%p1 bra END;
                mul.wide.s32 %d2, %r6, 4;
                add.s64 %d3, %d1, %d2;
                ld.global.u32 %r7, [%d3];
                add.s32 %r7, %r7, %r1;
                st.global.u32 [%d3], %r7;
            END: ret;
            }
            .visible .entry sum(.param .u64 y, .param .u64 x, .param .u32 n) {
                .reg .pred %p<2>; .reg .b32 %r<6>; .reg .b64 %d<4>;
                ld.param.u64 %d1, [y]; ld.param.u64 %d2, [x]; ld.param.u32 %r1, [n];
                mov.u32 %r2, 0; mov.u32 %r3, 0;
            NEXT: setp.ge.s32 %p1, %r3, %r1;
                @%p1 bra DONE;
                ld.global.u32 %r4, [%d2];
                add.s32 %r2, %r2, %r4;
                add.s64 %d2, %d2, 4;
                add.s32 %r3, %r3, 1;
                bra NEXT;
            DONE: st.global.u32 [%d1], %r2;
                ret;
            }
            .visible .entry stage(.param .u64 y, .param .u32 n) {
                .reg .pred %p<2>; .reg .b32 %r<8>; .reg .b64 %d<4>;
                ld.param.u64 %d1, [y]; ld.param.u32 %r1, [n];
                mov.u32 %r2, %tid.x; mov.u32 %r3, %ntid.x; mov.u32 %r6, staged;
            AGAIN: setp.ge.s32 %p1, %r2, %r1;
                @%p1 bra OUT;
                mad.lo.s32 %r4, %r2, 4, %r6;
                st.shared.u32 [%r4], %r2;
                ld.shared.u32 %r5, [%r4];
                mul.wide.s32 %d2, %r2, 4;
                add.s64 %d3, %d1, %d2;
                st.global.u32 [%d3], %r5;
                add.s32 %r2, %r2, %r3;
                bra AGAIN;
            OUT: ret;
            }
            .visible .entry kinds(.param .u64 y, .param .f32 f, .param .f64 d, .param .u64 l) {
                .reg .b32 %r<3>; .reg .b64 %d<4>; .reg .f32 %f<2>; .reg .f64 %g<2>;
                ld.param.u64 %d1, [y]; ld.param.f32 %f1, [f]; ld.param.f64 %g1, [d]; ld.param.u64 %d2, [l];
                st.global.f32 [%d1], %f1;
                st.global.f64 [%d1+8], %g1;
                st.global.u64 [%d1+16], %d2;
                ret;
            }
            """.getBytes(StandardCharsets.US_ASCII);

    private TestPtx() {}
}
