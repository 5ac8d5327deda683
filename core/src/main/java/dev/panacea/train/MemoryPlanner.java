package dev.panacea.train;

import dev.panacea.data.Batches;
import dev.panacea.data.Targets;
import dev.panacea.data.TokenizedExample;
import dev.panacea.io.ByteCount;
import dev.panacea.kernels.MemoryUse;
import dev.panacea.kernels.PanaceaException;
import dev.panacea.llama.LlamaModel;
import dev.panacea.llama.Pass;
import dev.panacea.lora.LoraAdapter;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;

/** Finds out what a training run will need and whether that is there, and decides on gradient checkpointing. */
final class MemoryPlanner {
    /** Share of the available memory that is left to other programs. */
    private static final double MARGIN = 0.1;
    /** Steps whose micro-batches are all looked at; of longer runs a bound is planned for. */
    private static final int STEPS_LOOKED_AT = 100_000;

    private final LlamaModel model;
    private final LoraAdapter adapter;
    private final SftConfig config;
    private final ProcessMemory process;
    /** What the run will leave on Java's heap, in bytes. */
    private long garbage;

    MemoryPlanner(LlamaModel model, LoraAdapter adapter, SftConfig config, ProcessMemory process) {
        this.model = model;
        this.adapter = adapter;
        this.config = config;
        this.process = process;
    }

    /**
     * The plan. With it the kernels have their scratch memory, and the model that of its steps; the adapter's gradients are zero.
     *
     * @param optimizerBytes of states that are allocated; in RAM they come to be only when they are written
     * @throws PanaceaException if the run does not fit into the available memory
     */
    MemoryPlan plan(List<TokenizedExample> examples, Batches batches, int steps, long optimizerBytes) {
        List<Targets> largest = largest(examples, batches, steps);
        model.roomForLosses(mostTargets(examples));
        model.releaseStepBytes();
        // Once without knowing the scratch memory, so that nothing runs at all where the rest is too much already.
        decide(largest, optimizerBytes);
        largest.stream().max(Comparator.comparingInt(MemoryPlanner::longest)).ifPresent(this::rehearse);
        long allocated = ProcessMemory.javaAllocated();
        largest.stream().max(Comparator.comparingInt(MemoryPlanner::tokens)).ifPresent(this::rehearse);
        // As a floating-point number: of a run without an end it does not fit into a long.
        garbage = (long) ((double) (ProcessMemory.javaAllocated() - allocated) * model.config().numHiddenLayers() * config.gradientAccumulationSteps() * steps);
        adapter.parameters().clearGradients();
        MemoryPlan plan = decide(largest, optimizerBytes);
        model.reserveStepBytes(plan.step());
        return plan;
    }

    /** Of an optimizer step, at most: those of the examples that have the most of them. */
    private int mostTargets(List<TokenizedExample> examples) {
        long sequences = Math.min(examples.size(), (long) config.perDeviceTrainBatchSize() * config.gradientAccumulationSteps());
        long targets = examples.stream().map(TokenizedExample::targetTokens).sorted(Comparator.reverseOrder()).limit(sequences).mapToLong(Integer::longValue).sum();
        if (targets > Integer.MAX_VALUE) {
            throw new PanaceaException("an optimizer step over " + sequences + " examples has up to " + targets + " target tokens, more than " + Integer.MAX_VALUE
                    + "; lower perDeviceTrainBatchSize (now " + config.perDeviceTrainBatchSize() + ") or gradientAccumulationSteps (now " + config.gradientAccumulationSteps() + ")");
        }
        return (int) targets;
    }

    private void rehearse(Targets t) {
        model.rehearse(t.sequences(), t.rows(), t.ids());
    }

    private MemoryPlan decide(List<Targets> largest, long optimizerBytes) {
        return switch (config.gradientCheckpointing()) {
            case ON -> fitting(plan(largest, optimizerBytes, true, "as asked for"), largest);
            case OFF -> fitting(plan(largest, optimizerBytes, false, "as asked for"), largest);
            case AUTO -> {
                MemoryPlan without = plan(largest, optimizerBytes, false, "");
                if (without.available().isEmpty()) {
                    yield without.because("this system does not tell how much memory is available");
                }
                String reason = ByteCount.text(without.missing()) + " more are needed without it, and " + ByteCount.text(without.available().getAsLong()) + " are available";
                yield fits(without) ? without.because(reason) : fitting(plan(largest, optimizerBytes, true, reason), largest);
            }
        };
    }

    private MemoryPlan plan(List<Targets> largest, long optimizerBytes, boolean checkpointing, String reason) {
        Pass pass = checkpointing ? Pass.TRAINING_CHECKPOINTED : Pass.TRAINING;
        long step = 0;
        long logits = 0;
        int longest = 0;
        for (Targets t : largest) {
            step = Math.max(step, model.stepBytes(t.sequences(), t.rows(), t.ids(), pass));
            logits = Math.max(logits, model.logitBytes(t.ids().length));
            longest = Math.max(longest, longest(t));
        }
        long tables = model.rotaryBytes(longest);
        long moreTables = tables - model.rotaryBytes(0);
        long weights = model.weightBytes() + tables;
        long adapterBytes = adapter.parameters().byteSize();
        long scratch = model.kernels().scratchBytes();
        Optional<MemoryUse> device = model.kernels().memoryUse();
        if (device.isPresent()) {
            // All but the block of the step and longer tables has been taken.
            long others = device.get().used() - (weights - moreTables + adapterBytes + optimizerBytes + scratch);
            return new MemoryPlan(true, weights, adapterBytes, optimizerBytes, step, logits, scratch, Math.max(0, others), step + moreTables,
                    OptionalLong.of(device.get().available()), checkpointing, reason);
        }
        // Not in RAM yet: the block of the step, moments that were never written, tables for longer sequences than so far.
        long missing = step + optimizerBytes + moreTables;
        long rest = 0;
        Optional<ProcessMemory.Resident> now = process.resident();
        if (now.isPresent()) {
            long java = ProcessMemory.javaGrowth(garbage);
            long mapped = model.mappedWeightBytes();
            // Of mapped files, weights first: how much of them has been read already is not known.
            long otherFiles = Math.max(0, now.get().mapped() - mapped);
            missing += java + Math.max(0, mapped - now.get().mapped());
            rest = Math.max(0, now.get().anonymous() - (weights - mapped - moreTables + adapterBytes + scratch)) + otherFiles + java;
        }
        return new MemoryPlan(false, weights, adapterBytes, optimizerBytes, step, logits, scratch, rest, missing, process.available(), checkpointing, reason);
    }

    private static boolean fits(MemoryPlan p) {
        return p.available().isEmpty() || p.missing() <= (1 - MARGIN) * p.available().getAsLong();
    }

    private MemoryPlan fitting(MemoryPlan p, List<Targets> largest) {
        if (fits(p)) {
            return p;
        }
        int tokens = largest.stream().mapToInt(MemoryPlanner::tokens).max().orElse(0);
        throw new PanaceaException("training needs " + ByteCount.text(p.missing()) + " more " + (p.onDevice() ? "GPU memory" : "memory") + (p.checkpointing() ? ", even with gradient checkpointing" : "") + ", and "
                + ByteCount.text(p.available().orElse(0)) + " are available, of which a tenth is left to other programs; one step over " + tokens + " tokens takes "
                + ByteCount.text(p.step()) + ". " + (p.checkpointing() ? "Train" : "Let gradientCheckpointing be AUTO, train") + " on fewer examples at a time (perDeviceTrainBatchSize, now "
                + config.perDeviceTrainBatchSize() + ", with more gradientAccumulationSteps), cut them shorter (maxSeqLength, now " + config.maxSeqLength()
                + "), hold the weights in 4 bits, or close other programs");
    }

    // ---- the largest micro-batches -----------------------------------------------------------------------------------

    /** The micro-batches of a run, without those that another one exceeds in every respect. */
    private List<Targets> largest(List<TokenizedExample> examples, Batches batches, int steps) {
        if (steps > STEPS_LOOKED_AT) {
            return List.of(bound(examples));
        }
        List<List<TokenizedExample>> front = new ArrayList<>();
        int perEpoch = batches.stepsPerEpoch();
        for (int first = 0; first < steps; first += perEpoch) {
            for (Batches.Step step : batches.epoch(first / perEpoch).subList(0, Math.min(perEpoch, steps - first))) {
                for (List<TokenizedExample> batch : step.microBatches()) {
                    if (front.stream().noneMatch(f -> exceeds(f, batch))) {
                        front.removeIf(f -> exceeds(batch, f));
                        front.add(batch);
                    }
                }
            }
        }
        return front.stream().map(Targets::of).toList();
    }

    private static boolean exceeds(List<TokenizedExample> a, List<TokenizedExample> b) {
        return a.size() >= b.size() && sum(a, TokenizedExample::length) >= sum(b, TokenizedExample::length)
                && sum(a, TokenizedExample::targetTokens) >= sum(b, TokenizedExample::targetTokens)
                && a.stream().mapToInt(TokenizedExample::length).max().orElse(0) >= b.stream().mapToInt(TokenizedExample::length).max().orElse(0);
    }

    private static int sum(List<TokenizedExample> batch, java.util.function.ToIntFunction<TokenizedExample> of) {
        return batch.stream().mapToInt(of).sum();
    }

    /** The longest examples, with every token a target: no micro-batch can need more. */
    private Targets bound(List<TokenizedExample> examples) {
        return Targets.of(examples.stream().sorted(Comparator.comparingInt(TokenizedExample::length).reversed()).limit(config.perDeviceTrainBatchSize())
                .map(e -> new TokenizedExample(e.inputIds(), e.inputIds())).toList());
    }

    private static int tokens(Targets t) {
        return t.sequences().stream().mapToInt(s -> s.length).sum();
    }

    private static int longest(Targets t) {
        return t.sequences().stream().mapToInt(s -> s.length).max().orElse(0);
    }
}
