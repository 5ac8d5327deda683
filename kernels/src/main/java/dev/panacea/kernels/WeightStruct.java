package dev.panacea.kernels;

import dev.panacea.bindings.generated.PanaceaCpu;
import dev.panacea.bindings.generated.pan_weight;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/** The one {@code pan_weight} of a {@link CpuKernels}, filled anew for each call, so that a call allocates nothing. */
final class WeightStruct {
    private final MemorySegment struct;

    WeightStruct(Arena arena) {
        struct = pan_weight.allocate(arena);
    }

    MemorySegment of(Weight weight) {
        pan_weight.rows(struct, weight.rows());
        pan_weight.cols(struct, weight.cols());
        pan_weight.pair_dim(struct, 0);
        switch (weight) {
            case DenseWeight w -> {
                pan_weight.format(struct, w.data().type() == DType.F32 ? PanaceaCpu.PAN_F32() : PanaceaCpu.PAN_BF16());
                pan_weight.data(struct, address("weight data", w.data()));
            }
            case Q4Weight w -> {
                pan_weight.format(struct, PanaceaCpu.PAN_Q4());
                pan_weight.block(struct, w.blockSize());
                pan_weight.data(struct, address("packed codes", w.packed()));
                pan_weight.levels(struct, address("levels", w.levels()));
                MemorySegment absmax = address("absmax", w.absmax());
                if (w.nested().isPresent()) {
                    Q4Weight.Nested nested = w.nested().get();
                    pan_weight.absmax(struct, MemorySegment.NULL);
                    pan_weight.absmax_code(struct, absmax);
                    pan_weight.absmax_scale(struct, address("nested scale", nested.scale()));
                    pan_weight.code_levels(struct, address("nested levels", nested.levels()));
                    pan_weight.absmax_offset(struct, nested.offset());
                } else {
                    pan_weight.absmax(struct, absmax);
                }
            }
            case BlockWeight w -> {
                pan_weight.format(struct, format(w.type()));
                pan_weight.pair_dim(struct, w.pairDim());
                pan_weight.data(struct, address("weight data", w.data()));
            }
        }
        return struct;
    }

    private static int format(GgmlType type) {
        return switch (type) {
            case F32 -> PanaceaCpu.PAN_F32();
            case F16 -> PanaceaCpu.PAN_F16();
            case BF16 -> PanaceaCpu.PAN_BF16();
            case Q4_0 -> PanaceaCpu.PAN_Q4_0();
            case Q4_1 -> PanaceaCpu.PAN_Q4_1();
            case Q5_0 -> PanaceaCpu.PAN_Q5_0();
            case Q5_1 -> PanaceaCpu.PAN_Q5_1();
            case Q8_0 -> PanaceaCpu.PAN_Q8_0();
            case Q4_K -> PanaceaCpu.PAN_Q4_K();
            case Q5_K -> PanaceaCpu.PAN_Q5_K();
            case Q6_K -> PanaceaCpu.PAN_Q6_K();
            case Q2_K, Q3_K, IQ4_NL -> throw new IllegalArgumentException("the kernels do not read " + type);
        };
    }

    /** As {@link CpuBuffers#in}, and what a segment passed to the call itself is checked for: an address in the struct is not. */
    private static MemorySegment address(String name, DeviceBuffer b) {
        MemorySegment segment = CpuBuffers.in(name, b);
        if (!segment.scope().isAlive()) {
            throw new IllegalStateException(name + ": its memory has been closed");
        }
        if (!segment.isAccessibleBy(Thread.currentThread())) {
            throw new WrongThreadException(name + ": its memory is confined to another thread");
        }
        return segment;
    }
}
