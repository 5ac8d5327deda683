package dev.panacea.llama;

import dev.panacea.autograd.Attention;
import dev.panacea.autograd.LoraLinear;
import dev.panacea.autograd.RmsNorm;
import dev.panacea.autograd.Rope;
import dev.panacea.autograd.SwiGlu;
import dev.panacea.autograd.Tape;
import dev.panacea.autograd.Var;
import dev.panacea.kernels.AttentionShape;
import dev.panacea.kernels.DeviceBuffer;
import java.util.List;
import java.util.Optional;

/** One transformer layer: attention and MLP, each on the normalised residual stream and added to it. */
record LlamaLayer(int index, DeviceBuffer inputNorm, Linear q, Linear k, Linear v, Linear o, DeviceBuffer postAttentionNorm, Linear gate, Linear up, Linear down) {

    /** Where the new keys and values go and what attention reads, when there is a cache. */
    record Cached(KvCache cache, DeviceBuffer rows) {}

    List<Linear> linears() {
        return List.of(q, k, v, o, gate, up, down);
    }

    Var forward(Tape tape, Var x, TokenBatch batch, LlamaConfig config, RopeTable rope, Optional<Cached> cached) {
        Var attended = o.forward(tape, attention(tape, x, batch, config, rope, cached), Optional.of(x));
        tape.release(x);
        Var y = down.forward(tape, mlp(tape, attended, config), Optional.of(attended));
        tape.release(attended);
        return y;
    }

    private Var attention(Tape tape, Var x, TokenBatch batch, LlamaConfig config, RopeTable rope, Optional<Cached> cached) {
        int d = config.headDim();
        Var n = RmsNorm.apply(tape, x, inputNorm, config.rmsNormEps());
        Var queries = q.forward(tape, n, Optional.empty());
        Var keys = k.forward(tape, n, Optional.empty());
        Var values = v.forward(tape, n, Optional.empty());
        tape.release(n);
        Rope.apply(tape, queries, batch.positions(), rope.cos(), rope.sin(), d);
        Rope.apply(tape, keys, batch.positions(), rope.cos(), rope.sin(), d);
        AttentionShape shape = new AttentionShape(config.numAttentionHeads(), config.numKeyValueHeads(), d, (float) (1 / Math.sqrt(d)));
        Var out = cached.isPresent() ? overCache(tape, queries, keys, values, batch, shape, cached.get())
                : Attention.apply(tape, queries, keys, values, batch.sequences(), batch.count(), shape);
        tape.release(queries);
        tape.release(keys);
        tape.release(values);
        return out;
    }

    private Var overCache(Tape tape, Var queries, Var keys, Var values, TokenBatch batch, AttentionShape shape, Cached c) {
        DeviceBuffer allKeys = c.cache().keys(index);
        DeviceBuffer allValues = c.cache().values(index);
        tape.kernels().scatterRows(keys.value(), c.rows(), keys.rows(), keys.cols(), allKeys, false);
        tape.kernels().scatterRows(values.value(), c.rows(), values.rows(), values.cols(), allValues, false);
        return Attention.cached(tape, queries, allKeys, allValues, batch.sequences(), batch.count(), shape);
    }

    private Var mlp(Tape tape, Var x, LlamaConfig config) {
        Var n = RmsNorm.apply(tape, x, postAttentionNorm, config.rmsNormEps());
        Var g = gate.forward(tape, n, Optional.empty());
        Var u = up.forward(tape, n, Optional.empty());
        tape.release(n);
        Var h = SwiGlu.apply(tape, g, u);
        tape.release(g);
        tape.release(u);
        return h;
    }
}
