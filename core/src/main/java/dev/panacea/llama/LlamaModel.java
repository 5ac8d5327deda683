package dev.panacea.llama;

import dev.panacea.autograd.Checkpointed;
import dev.panacea.autograd.Embedding;
import dev.panacea.autograd.GatherRows;
import dev.panacea.autograd.LinearCrossEntropy;
import dev.panacea.autograd.LoraLinear;
import dev.panacea.autograd.RmsNorm;
import dev.panacea.autograd.Tape;
import dev.panacea.autograd.Var;
import dev.panacea.io.Checkpoint;
import dev.panacea.io.PeftAdapter;
import dev.panacea.kernels.DType;
import dev.panacea.kernels.DeviceBuffer;
import dev.panacea.kernels.DeviceMemory;
import dev.panacea.kernels.Kernels;
import dev.panacea.kernels.PanaceaException;
import dev.panacea.kernels.Weight;
import dev.panacea.quant.WeightLoader;
import dev.panacea.tensor.PlanningKernels;
import dev.panacea.tensor.StackRoom;
import dev.panacea.tensor.StepArena;
import dev.panacea.tensor.UseGuard;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.Consumer;
import java.util.function.Function;
import java.util.function.Supplier;

/**
 * A Llama: embedding, layers, norm and head, with frozen weights on a device and, when attached, a LoRA adapter. It also owns the memory
 * of the step that runs on it; results that stay on the device are gone with the next call.
 *
 * <p>Threads: any thread may use a model, but one at a time. A call while another thread's is running is an {@link IllegalStateException}, as is closing the model, its adapter, or
 * the checkpoint that it reads; the running one goes on unharmed. Calls that belong together are made {@link #exclusively}. Threads that are to work side by side get a model
 * each; with {@link Quantization#KEEP} these share the mapped weights of one checkpoint. What only tells how a model is made may be asked at any time.
 */
public final class LlamaModel implements AutoCloseable {
    private static final int REMEMBERED_SHAPES = 256;

    private final Kernels kernels;
    private final LlamaConfig config;
    private final LoadOptions options;
    private final String description;
    private final PeftAdapter.TrainedOn trainedOn;
    private final WeightLoader weights;
    private final Weight embedding;
    private final Weight head;
    private final DeviceBuffer finalNorm;
    private final List<LlamaLayer> layers;
    private final RopeTable rope;
    private final StepArena arena;
    private final Map<StepShape, Long> stepBytes = new LinkedHashMap<>();
    private final Checkpoint checkpoint;
    private final UseGuard guard = new UseGuard("the model", "load one for each thread that is to compute at the same time, or have them take turns");
    /** The attached adapter's, and the one that is being held while a call runs. */
    private Optional<UseGuard> adapter = Optional.empty();
    private Optional<UseGuard> held = Optional.empty();
    private int depth;
    private long computations;
    private Optional<DecodeStep> decode = Optional.empty();
    private Optional<DeviceMemory> results = Optional.empty();

    private LlamaModel(Kernels kernels, Checkpoint checkpoint, LoadOptions options, WeightLoader weights) {
        this.kernels = kernels;
        this.checkpoint = checkpoint;
        this.config = checkpoint.config();
        this.description = checkpoint.description();
        this.trainedOn = new PeftAdapter.TrainedOn(description + ", " + options.inWords(checkpoint), checkpoint.ggufFile());
        this.options = options;
        this.weights = weights;
        this.embedding = table("model.embed_tokens.weight");
        this.head = config.tieWordEmbeddings() ? embedding : table("lm_head.weight");
        this.finalNorm = weights.values("model.norm.weight", DType.F32);
        List<LlamaLayer> all = new ArrayList<>();
        for (int i = 0; i < config.numHiddenLayers(); i++) {
            all.add(layer(i));
        }
        this.layers = List.copyOf(all);
        this.rope = new RopeTable(kernels, config);
        this.arena = new StepArena(kernels);
    }

    /**
     * Brings a checkpoint to the device, after which it may be closed; but with {@link Quantization#KEEP} the model reads the mapped file for
     * as long as it is used, so close it after the model. A model whose checkpoint has been closed throws {@link IllegalStateException}, and one whose file has been
     * changed {@link PanaceaException}. Several threads may load models of one checkpoint at the same time.
     *
     * @throws PanaceaException if it lacks a tensor, one holds values that are not finite, or memory does not suffice; nothing stays allocated then
     */
    public static LlamaModel load(Kernels kernels, Checkpoint checkpoint, LoadOptions options) {
        return checkpoint.reading(() -> read(kernels, checkpoint, options));
    }

    private static LlamaModel read(Kernels kernels, Checkpoint checkpoint, LoadOptions options) {
        WeightLoader weights = new WeightLoader(kernels, checkpoint);
        boolean done = false;
        try {
            LlamaModel model = new LlamaModel(kernels, checkpoint, options, weights);
            done = true;
            return model;
        } finally {
            weights.finish();
            if (!done) {
                weights.close();
            }
        }
    }

    private LlamaLayer layer(int i) {
        String p = "model.layers." + i + ".";
        return new LlamaLayer(i, weights.values(p + "input_layernorm.weight", DType.F32), linear(p + "self_attn.q_proj"), linear(p + "self_attn.k_proj"),
                linear(p + "self_attn.v_proj"), linear(p + "self_attn.o_proj"), weights.values(p + "post_attention_layernorm.weight", DType.F32), linear(p + "mlp.gate_proj"),
                linear(p + "mlp.up_proj"), linear(p + "mlp.down_proj"));
    }

    /** Embedding and head are quantized only where the file holds them so. */
    private Weight table(String name) {
        return options.quantization() == Quantization.KEEP ? weights.kept(name, options.activations()) : weights.dense(name, options.activations());
    }

    private Linear linear(String name) {
        return new Linear(name, switch (options.quantization()) {
            case NONE -> weights.dense(name + ".weight", options.activations());
            case NF4 -> weights.nf4(name + ".weight", options.activations());
            case KEEP -> weights.kept(name + ".weight", options.activations());
        });
    }

    public LlamaConfig config() {
        return config;
    }

    /** The checkpoint that the weights are from, in words: {@link Checkpoint#description()}. */
    public String description() {
        return description;
    }

    /** The weights that an adapter is trained on, for its model card. */
    public PeftAdapter.TrainedOn trainedOn() {
        return trainedOn;
    }

    public LoadOptions options() {
        return options;
    }

    public Kernels kernels() {
        return kernels;
    }

    /** Bytes of all weights, those in the mapped file included. */
    public long weightBytes() {
        return weights.bytes() + weights.mappedBytes();
    }

    /** Bytes of the weights that are used where they are, in the mapped file: memory that the system may take back and read again. */
    public long mappedWeightBytes() {
        return weights.mappedBytes();
    }

    /** Most bytes of activations, gradients and temporaries that a step has needed so far. */
    public long peakStepBytes() {
        return arena.peakBytes();
    }

    /** Bytes of the logits and their gradient that a training step over so many targets has at a time. */
    public long logitBytes(int targets) {
        return LinearCrossEntropy.logitBytes(head, targets, options.activations());
    }

    /** Bytes of the tables of rotary angles once they reach this far. */
    public long rotaryBytes(int positions) {
        return rope.bytes(positions);
    }

    /** Every linear layer that an adapter may target, in the order of the layers. */
    public List<Linear> linears() {
        return layers.stream().flatMap(l -> l.linears().stream()).toList();
    }

    /**
     * Adds an adapter's pairs to the layers they name, in place of what was attached before; by module path.
     *
     * @param of keeps the memory of the pairs from being closed, or used by another thread, while the model computes
     * @throws IllegalStateException if the adapter has been closed, or another thread uses it or the model
     */
    public void attach(Map<String, LoraLinear.Slot> slots, UseGuard of) {
        replaceAdapter(slots, Optional.of(of));
    }

    /** Takes the adapter off, a closed one too: the model is the base again. */
    public void detach() {
        replaceAdapter(Map.of(), Optional.empty());
    }

    /** Whether the model computes with the adapter whose memory is kept by this guard. */
    public boolean isAttached(UseGuard of) {
        return guard.during(() -> adapter.filter(a -> a == of).isPresent());
    }

    private void replaceAdapter(Map<String, LoraLinear.Slot> slots, Optional<UseGuard> of) {
        run(() -> {
            hold(of);
            adapter = of;
            stepBytes.clear();
            computations++;
            forgetDecodeStep();
            linears().forEach(l -> l.attach(Optional.ofNullable(slots.get(l.name()))));
            return null;
        });
    }

    // ---- one thread at a time ----------------------------------------------------------------------------------------

    /**
     * Calls that belong together, such as those of one answer: no other thread can use or close the model, its adapter or its checkpoint in between.
     *
     * @throws IllegalStateException if one of them is in use by another thread, or the model or the checkpoint has been closed
     * @throws PanaceaException if the file of mapped weights was changed: nothing that was computed counts
     */
    public <T> T exclusively(Supplier<T> calls) {
        // Another adapter may be attached in place of a closed one.
        return run(() -> {
            if (held.isEmpty()) {
                hold(adapter.filter(UseGuard::isOpen));
            }
            return calls.get();
        });
    }

    /** A call that computes with the attached adapter. */
    private <T> T computing(Supplier<T> call) {
        return run(() -> {
            if (held.isEmpty()) {
                hold(adapter);
            }
            return call.get();
        });
    }

    private <T> T run(Supplier<T> calls) {
        // Of a call by a listener too, which may be much deeper in the stack than the one that it listens to.
        StackRoom.require();
        guard.enter();
        depth++;
        try {
            return weights.mappedBytes() > 0 ? checkpoint.reading(calls) : calls.get();
        } finally {
            depth--;
            if (depth == 0) {
                hold(Optional.empty());
            }
            guard.exit();
        }
    }

    private void hold(Optional<UseGuard> next) {
        next.ifPresent(UseGuard::enter);
        held.ifPresent(UseGuard::exit);
        held = next;
    }

    /** For predictions: something that reads no weights. @throws IllegalStateException if the model has computed something else since */
    <T> T afterwards(long computation, Supplier<T> calls) {
        return guard.during(() -> {
            if (computation != computations) {
                throw new IllegalStateException("these predictions are gone: the model has computed something else since; ask for what is needed of them before that");
            }
            return calls.get();
        });
    }

    // ---- training and evaluation -------------------------------------------------------------------------------------

    /**
     * Loss of whole sequences; with {@code training}, gradients of the attached adapter are added to what its slots hold.
     *
     * @param sequences token ids
     * @param targetRows for each target, the row of the concatenated sequences that predicts it
     * @param targets ids of the target tokens
     * @param gradScale factor of the gradient: 1 / target tokens of the optimizer step
     * @return negative log-likelihood of every target, in nats
     * @throws IllegalArgumentException if a sequence is empty, an id is not in the vocabulary, or a row not in the sequences
     */
    public float[] losses(List<int[]> sequences, int[] targetRows, int[] targets, float gradScale, boolean training) {
        return losses(sequences, targetRows, targets, gradScale, training ? Pass.TRAINING : Pass.EVALUATION);
    }

    /** As {@link #losses(List, int[], int[], float, boolean)}, where training may go with less memory. */
    public float[] losses(List<int[]> sequences, int[] targetRows, int[] targets, float gradScale, Pass pass) {
        return computing(() -> read(lossesOnDevice(sequences, targetRows, targets, gradScale, pass)));
    }

    /**
     * As {@link #losses(List, int[], int[], float, Pass)}, without waiting for the device.
     *
     * @param into a part of {@link #roomForLosses}, for as many as there are targets
     */
    public void losses(List<int[]> sequences, int[] targetRows, int[] targets, float gradScale, Pass pass, DeviceBuffer into) {
        computing(() -> {
            kernels.copy(lossesOnDevice(sequences, targetRows, targets, gradScale, pass), into, targets.length, false);
            return null;
        });
    }

    /**
     * Memory of the device for the losses of some micro-batches, which stand there until it is asked for again, or tokens are predicted.
     *
     * @return F32 [targets]
     */
    public DeviceBuffer roomForLosses(int targets) {
        return computing(() -> results(4L * targets).view(DType.F32, 0, targets));
    }

    /** Memory that outlives a step of the arena; what was in it is gone. */
    DeviceMemory results(long bytes) {
        if (results.isEmpty() || results.get().byteSize() < bytes) {
            results.ifPresent(DeviceMemory::close);
            results = Optional.empty();
            results = Optional.of(kernels.allocate(bytes));
        }
        return results.get();
    }

    private DeviceBuffer lossesOnDevice(List<int[]> sequences, int[] targetRows, int[] targets, float gradScale, Pass pass) {
        rope.ensure(longest(checked(sequences)));
        checkTargets(tokens(sequences), targetRows, targets);
        return step(lossShape(sequences, targetRows.length, pass), pass, tape -> losses(tape, sequences, targetRows, targets, gradScale, pass, layers));
    }

    /**
     * What {@link #losses} will need for activations, gradients and temporaries, to the byte; nothing is computed or allocated. The values
     * of the tokens do not matter, only how many there are.
     */
    public long stepBytes(List<int[]> sequences, int[] targetRows, int[] targets, Pass pass) {
        return computing(() -> plan(lossShape(sequences, targetRows.length, pass), pass, tape -> losses(tape, sequences, targetRows, targets, 1, pass, layers)));
    }

    /**
     * Trains the first layer and a part of the head on sequences, so that the kernels have taken all the memory of their own that such a step
     * needs ({@link Kernels#scratchBytes()}). What the adapter's slots of that layer hold as gradients is of no use afterwards.
     */
    public void rehearse(List<int[]> sequences, int[] targetRows, int[] targets) {
        computing(() -> {
            rope.ensure(longest(checked(sequences)));
            checkTargets(tokens(sequences), targetRows, targets);
            int n = Math.min(targets.length, LinearCrossEntropy.rowsAtATime(config.vocabSize()));
            Pass pass = Pass.TRAINING_CHECKPOINTED;
            step(new StepShape("rehearsal", tokens(sequences), sequences.size(), n), pass,
                    tape -> losses(tape, sequences, Arrays.copyOf(targetRows, n), Arrays.copyOf(targets, n), 1, pass, layers.subList(0, 1)));
            releaseStepBytes();
            return null;
        });
    }

    /**
     * Memory for steps of up to this size, so that no later step has to ask for more.
     *
     * @throws PanaceaException if there is not so much
     */
    public void reserveStepBytes(long bytes) {
        guard.during(() -> {
            computations++;
            arena.reset();
            arena.reserve(bytes);
            return null;
        });
    }

    /** Gives the memory of past steps back to the system; the next one takes its own. */
    public void releaseStepBytes() {
        guard.during(() -> {
            computations++;
            arena.close();
            return null;
        });
    }

    private DeviceBuffer losses(Tape tape, List<int[]> sequences, int[] targetRows, int[] targets, float gradScale, Pass pass, List<LlamaLayer> through) {
        TokenBatch batch = TokenBatch.of(tape.arena(), sequences);
        List<DeviceBuffer> predictions = tape.arena().ints(targetRows, targets);
        Var hidden = hidden(tape, batch, through, pass == Pass.TRAINING_CHECKPOINTED);
        Var predicting = GatherRows.apply(tape, hidden, predictions.getFirst(), targetRows.length);
        tape.release(hidden);
        Var normed = RmsNorm.apply(tape, predicting, finalNorm, config.rmsNormEps());
        tape.release(predicting);
        DeviceBuffer losses = LinearCrossEntropy.apply(tape, normed, head, predictions.getLast(), gradScale);
        if (tape.isTraining()) {
            tape.backward();
        }
        return losses;
    }

    /** Logits of every position of one sequence, [length * vocab]; for comparisons, not for long texts. */
    public float[] logits(int[] sequence) {
        return computing(() -> {
            List<int[]> sequences = checked(List.of(sequence));
            rope.ensure(sequence.length);
            return read(step(new StepShape("logits", sequence.length, 1, sequence.length), Pass.EVALUATION,
                    tape -> logits(tape, hidden(tape, TokenBatch.of(tape.arena(), sequences), layers, false))));
        });
    }

    /** The residual stream after the embedding and after each layer, the last one normalised: transformers' {@code output_hidden_states}. */
    public List<float[]> hiddenStates(int[] sequence) {
        return computing(() -> hiddenStates(checked(List.of(sequence)), sequence.length));
    }

    private List<float[]> hiddenStates(List<int[]> sequences, int length) {
        rope.ensure(length);
        return step(new StepShape("hidden states", length, 1, 0), Pass.EVALUATION, tape -> {
            List<DeviceBuffer> states = new ArrayList<>();
            Var hidden = hidden(tape, TokenBatch.of(tape.arena(), sequences), layers, Optional.empty(), false, h -> states.add(floats(tape, h.value())));
            states.set(states.size() - 1, floats(tape, RmsNorm.apply(tape, hidden, finalNorm, config.rmsNormEps()).value()));
            return states;
        }).stream().map(this::read).toList();
    }

    // ---- generation --------------------------------------------------------------------------------------------------

    /**
     * A cache for {@code slots} sequences of up to {@code capacity} tokens.
     *
     * @throws IllegalArgumentException if one of them is not positive
     * @throws PanaceaException if the model does not take so many tokens, or there is not enough memory
     */
    public KvCache newCache(int slots, int capacity) {
        guard.requireOpen();
        if (capacity > config.maxPositionEmbeddings()) {
            throw new PanaceaException("a text of " + capacity + " tokens is longer than the " + config.maxPositionEmbeddings() + " that the model can take");
        }
        return new KvCache(kernels, config, options.activations(), slots, capacity);
    }

    /**
     * Appends tokens to some slots of a cache and predicts what follows each.
     *
     * @param active numbers of the slots
     * @param tokens new tokens of each, at least one
     * @return what follows the last token of each
     * @throws IllegalArgumentException if a slot is out of range, named twice or full, a token is not in the vocabulary, or the cache is of another model's shape or kernels
     * @throws IllegalStateException if the cache has been closed, another thread uses it or the model, or a slot holds what another model, or this one with another adapter, has computed
     */
    public Predictions next(KvCache cache, int[] active, List<int[]> tokens) {
        return computing(() -> cache.during(() -> {
            cache.requireFor(kernels, config, options.activations());
            KvCache.Source source = new KvCache.Source(this, adapter);
            KvCache.Append append = cache.append(active, checked(tokens), source);
            rope.ensure(append.longest());
            DeviceBuffer logits = append.tokens() == active.length ? oneEach(cache, append) : several(cache, append);
            cache.appended(active, tokens, source);
            return new Predictions(this, logits, computations);
        }));
    }

    private DeviceBuffer several(KvCache cache, KvCache.Append append) {
        int[] last = new int[append.table().length / 4];
        Arrays.setAll(last, i -> append.table()[4 * i] + append.table()[4 * i + 1] - 1);
        return step(new StepShape("next", append.tokens(), last.length, last.length), Pass.EVALUATION, tape -> {
            Var hidden = hidden(tape, cache, append.place(tape.arena()));
            return logits(tape, GatherRows.apply(tape, hidden, tape.arena().ints(last), last.length));
        });
    }

    /** One token for each slot, which comes again and again: the same calls on the same buffers as the last time, unless something has moved. */
    private DeviceBuffer oneEach(KvCache cache, KvCache.Append append) {
        int n = append.tokens();
        reserveStepBytes(plan(new StepShape("next one", n, n, n), Pass.EVALUATION, tape -> logits(tape, hidden(tape, cache, DecodeStep.planned(n)))));
        DecodeStep.Place place = new DecodeStep.Place(cache, n, arena.blocks(), rope.cos());
        if (decode.isEmpty() || !decode.get().place().equals(place)) {
            forgetDecodeStep();
            decode = Optional.of(new DecodeStep(kernels, place, inputs -> {
                arena.reset();
                Tape tape = tape(kernels, arena, Pass.EVALUATION);
                return logits(tape, hidden(tape, cache, inputs));
            }));
        }
        return decode.get().run(append);
    }

    private Var hidden(Tape tape, KvCache cache, KvCache.Placed inputs) {
        return hidden(tape, inputs.batch(), layers, Optional.of(new LlamaLayer.Cached(cache, inputs.rows())), false, h -> {});
    }

    private void forgetDecodeStep() {
        decode.ifPresent(DecodeStep::close);
        decode = Optional.empty();
    }

    // ---- steps and their memory --------------------------------------------------------------------------------------

    /** What a step's need of memory depends on, next to the model and its adapter. */
    private record StepShape(String what, int tokens, int sequences, int targets) {}

    private static StepShape lossShape(List<int[]> sequences, int targets, Pass pass) {
        return new StepShape(pass.name(), tokens(sequences), sequences.size(), targets);
    }

    private static int tokens(List<int[]> sequences) {
        return sequences.stream().mapToInt(s -> s.length).sum();
    }

    private static int longest(List<int[]> sequences) {
        return sequences.stream().mapToInt(s -> s.length).max().orElse(0);
    }

    /** Runs a computation with the memory that it needs. It is run once without computing when a step of this shape is new, to learn how much that is. */
    private <T> T step(StepShape shape, Pass pass, Function<Tape, T> computation) {
        reserveStepBytes(plan(shape, pass, computation));
        return computation.apply(tape(kernels, arena, pass));
    }

    private <T> long plan(StepShape shape, Pass pass, Function<Tape, T> computation) {
        Long known = stepBytes.get(shape);
        if (known != null) {
            return known;
        }
        StepArena counting = StepArena.counting();
        computation.apply(tape(PlanningKernels.INSTANCE, counting, pass));
        if (stepBytes.size() >= REMEMBERED_SHAPES) {
            stepBytes.clear();
        }
        stepBytes.put(shape, counting.peakBytes());
        return counting.peakBytes();
    }

    private Tape tape(Kernels on, StepArena in, Pass pass) {
        return pass == Pass.EVALUATION ? Tape.inference(on, in, options.activations()) : Tape.training(on, in, options.activations());
    }

    // ---- the forward pass --------------------------------------------------------------------------------------------

    private Var hidden(Tape tape, TokenBatch batch, List<LlamaLayer> through, boolean checkpointed) {
        return hidden(tape, batch, through, Optional.empty(), checkpointed, h -> {});
    }

    private Var hidden(Tape tape, TokenBatch batch, List<LlamaLayer> through, Optional<LlamaLayer.Cached> cached, boolean checkpointed, Consumer<Var> each) {
        Var x = Embedding.apply(tape, embedding, batch.ids(), batch.tokens());
        each.accept(x);
        for (LlamaLayer layer : through) {
            x = checkpointed ? Checkpointed.apply(tape, x, (t, in) -> layer.forward(t, in, batch, config, rope, cached)) : layer.forward(tape, x, batch, config, rope, cached);
            each.accept(x);
        }
        return x;
    }

    private DeviceBuffer logits(Tape tape, Var hidden) {
        Var normed = RmsNorm.apply(tape, hidden, finalNorm, config.rmsNormEps());
        DeviceBuffer logits = tape.arena().allocate(DType.F32, (long) hidden.rows() * config.vocabSize());
        tape.kernels().linear(head, normed.value(), hidden.rows(), logits, false);
        return logits;
    }

    /** A copy in F32. */
    private static DeviceBuffer floats(Tape tape, DeviceBuffer buffer) {
        DeviceBuffer floats = tape.arena().allocate(DType.F32, buffer.length());
        tape.kernels().copy(buffer, floats, buffer.length(), false);
        return floats;
    }

    private float[] read(DeviceBuffer floats) {
        float[] out = new float[Math.toIntExact(floats.length())];
        kernels.download(floats, MemorySegment.ofArray(out));
        return out;
    }

    private void checkTargets(int tokens, int[] rows, int[] targets) {
        if (rows.length != targets.length) {
            throw new IllegalArgumentException(rows.length + " rows for " + targets.length + " targets");
        }
        for (int i = 0; i < rows.length; i++) {
            if (rows[i] < 0 || rows[i] >= tokens) {
                throw new IllegalArgumentException("row " + rows[i] + " of a target is not one of the " + tokens + " tokens");
            }
            if (targets[i] < 0 || targets[i] >= config.vocabSize()) {
                throw new IllegalArgumentException("target " + targets[i] + " is not in the model's vocabulary of " + config.vocabSize());
            }
        }
    }

    private List<int[]> checked(List<int[]> sequences) {
        for (int[] s : sequences) {
            if (s.length == 0) {
                throw new IllegalArgumentException("a sequence without tokens");
            }
            if (s.length > config.maxPositionEmbeddings()) {
                throw new PanaceaException("a text of " + s.length + " tokens is longer than the " + config.maxPositionEmbeddings() + " that the model can take");
            }
            for (int id : s) {
                if (id < 0 || id >= config.vocabSize()) {
                    throw new IllegalArgumentException("token id " + id + " is not in the model's vocabulary of " + config.vocabSize());
                }
            }
        }
        return sequences;
    }

    /**
     * Frees all memory; an attached adapter and the checkpoint stay. Closing twice does nothing.
     *
     * @throws IllegalStateException if the model is in use
     */
    @Override
    public void close() {
        if (guard.close()) {
            forgetDecodeStep();
            results.ifPresent(DeviceMemory::close);
            arena.close();
            rope.close();
            weights.close();
        }
    }
}
