package dev.panacea.train;

import dev.panacea.data.Batches;
import dev.panacea.data.TokenizedExample;
import dev.panacea.kernels.MemoryUse;
import dev.panacea.llama.LlamaModel;
import dev.panacea.lora.LoraAdapter;
import dev.panacea.optim.AdamW;
import dev.panacea.optim.AdamW8bit;
import dev.panacea.optim.LrSchedule;
import dev.panacea.optim.Optimizer;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.OptionalLong;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Supervised fine-tuning of a LoRA adapter: examples in shuffled epochs, micro-batches accumulated into optimizer steps, a schedule,
 * clipping, AdamW. The same seed gives the same adapter, to the bit.
 *
 * <p>Threads: as {@link LlamaModel}, which a run holds with its adapter from beginning to end: other threads that use or close them meanwhile get an
 * {@link IllegalStateException}. The listener may use them, on the training thread, and takes the adapter off only to attach it again: a step without it is an
 * {@link IllegalStateException} too.
 */
public final class SftTrainer {
    private static final Logger LOG = LoggerFactory.getLogger(SftTrainer.class);

    private final LlamaModel model;
    private final LoraAdapter adapter;
    private final SftConfig config;
    private final ProcessMemory process = new ProcessMemory(Path.of("/"));

    public SftTrainer(LlamaModel model, LoraAdapter adapter, SftConfig config) {
        this.model = Objects.requireNonNull(model, "model");
        this.adapter = Objects.requireNonNull(adapter, "adapter");
        this.config = Objects.requireNonNull(config, "config");
    }

    /**
     * Optimizer steps that a run over this many examples takes.
     *
     * @throws IllegalArgumentException if there are no examples, or the epochs take more steps than an int counts
     */
    public int totalSteps(List<TokenizedExample> examples) {
        if (examples.isEmpty()) {
            throw new IllegalArgumentException("no examples to train on");
        }
        if (config.maxSteps() > 0) {
            return config.maxSteps();
        }
        double steps = Math.ceil(config.numTrainEpochs() * batches(examples).stepsPerEpoch() - 1e-9);
        if (steps > Integer.MAX_VALUE) {
            throw new IllegalArgumentException("numTrainEpochs " + config.numTrainEpochs() + " over " + examples.size() + " examples are " + steps + " steps; at most " + Integer.MAX_VALUE
                    + " are possible");
        }
        return Math.max(1, (int) steps);
    }

    private Batches batches(List<TokenizedExample> examples) {
        return new Batches(examples, config.perDeviceTrainBatchSize(), config.gradientAccumulationSteps(), config.seed());
    }

    /**
     * Trains, with the adapter attached to the model from then on.
     *
     * @param listener hears of every optimizer step
     * @throws dev.panacea.kernels.PanaceaException if the memory does not suffice, before anything is trained, or if the loss stops being a number
     */
    public TrainingResult train(List<TokenizedExample> examples, TrainingListener listener) {
        return model.exclusively(() -> run(examples, listener));
    }

    private TrainingResult run(List<TokenizedExample> examples, TrainingListener listener) {
        int total = totalSteps(examples);
        Batches batches = batches(examples);
        int perEpoch = batches.stepsPerEpoch();
        LrSchedule schedule = new LrSchedule(config.lrSchedulerType(), config.learningRate(), config.warmupSteps(total), total);
        List<StepReport> reports = new ArrayList<>();
        adapter.attachTo(model);
        try (Optimizer optimizer = optimizer()) {
            MemoryPlan plan = new MemoryPlanner(model, adapter, config, process).plan(examples, batches, total, optimizer.byteSize());
            plan.lines().forEach(LOG::info);
            listener.onPlan(plan);
            OptimizerStep step = new OptimizerStep(model, adapter.parameters(), optimizer, config.maxGradNorm(), plan.checkpointing());
            long peak = 0;
            long start = System.nanoTime();
            long tokens = 0;
            List<Batches.Step> epoch = List.of();
            for (int s = 0; s < total; s++) {
                if (s % perEpoch == 0) {
                    epoch = batches.epoch(s / perEpoch);
                }
                Batches.Step examplesOfStep = epoch.get(s % perEpoch);
                OptimizerStep.Outcome o = step.run(examplesOfStep, schedule.at(s));
                tokens += examplesOfStep.tokens();
                peak = Math.max(peak, memoryInUse());
                double seconds = (System.nanoTime() - start) * 1e-9;
                Duration remaining = Duration.ofMillis(Math.round(1000 * seconds / (s + 1) * (total - s - 1)));
                StepReport report = new StepReport(s + 1, total, (s + 1.0) / perEpoch, o.loss(), o.gradNorm(), schedule.at(s), examplesOfStep.tokens(), examplesOfStep.targetTokens(), tokens / seconds,
                        remaining);
                reports.add(report);
                listener.onStep(report);
            }
            return new TrainingResult(reports, tokens, Duration.ofNanos(System.nanoTime() - start), plan, peak > 0 ? OptionalLong.of(peak) : OptionalLong.empty());
        }
    }

    /** What the plan is compared with; 0 where the system does not tell. */
    private long memoryInUse() {
        return model.kernels().memoryUse().map(MemoryUse::used).or(() -> process.resident().map(ProcessMemory.Resident::total)).orElse(0L);
    }

    private Optimizer optimizer() {
        return switch (config.optim()) {
            case ADAMW_TORCH -> new AdamW(model.kernels(), adapter.parameters(), config.adamBeta1(), config.adamBeta2(), config.adamEpsilon(), config.weightDecay());
            case ADAMW_8BIT -> new AdamW8bit(model.kernels(), adapter.parameters(), config.adamBeta1(), config.adamBeta2(), config.adamEpsilon(), config.weightDecay());
        };
    }
}
