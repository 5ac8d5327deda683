package dev.panacea.examples;

import dev.panacea.data.MaskAudit;
import dev.panacea.kernels.Backends;
import dev.panacea.kernels.CpuKernels;
import dev.panacea.kernels.CpuTier;
import dev.panacea.kernels.Kernels;
import dev.panacea.llama.LlamaConfig;
import dev.panacea.llama.LlamaModel;
import dev.panacea.llama.Quantization;
import dev.panacea.lora.LoraAdapter;
import dev.panacea.lora.LoraConfig;
import dev.panacea.train.AdapterCheck;
import dev.panacea.train.SftConfig;
import dev.panacea.train.SftTrainer;
import dev.panacea.train.TrainingResult;
import java.time.Instant;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.stream.IntStream;

/** The whole job, from settings to a tuned adapter with the proof that it helped. {@link #run} is its table of contents. */
final class FinetunePipeline {
    /** What metrics.json and report.html of a common run take at most. */
    private static final long REPORT_BYTES = 256 << 10;

    private final FinetuneSettings settings;
    private final Console console;
    private final PhaseClock clock = new PhaseClock();
    private final PeakMemory memory = new PeakMemory();
    private final TrainingProgress progress;
    private final Instant started = Instant.now();
    private volatile boolean adapterSaved;

    FinetunePipeline(FinetuneSettings settings, Console console) {
        this.settings = settings;
        this.console = console;
        this.progress = new TrainingProgress(console);
    }

    /** Runs everything; what a user can act on comes as {@link dev.panacea.kernels.PanaceaException}. */
    void run() {
        try (RunOutput output = new RunOutput(settings.output()); Interruption interruption = new Interruption(console, this::farewell, output::close)) {
            output.take();
            tune(output, interruption);
        }
    }

    private void tune(RunOutput output, Interruption interruption) {
        try (Kernels kernels = clock.time("start", () -> Backends.open(settings.device()))) {
            introduce(kernels, output.replaces());
            try (BaseModel base = findModel()) {
                RunData data = readData(base);

                console.heading(settings.evalOnStart() ? "Before training" : "Weights");
                Quantization quantization = settings.quantization().orElseGet(base::quantization);
                Optional<Measurement> asLoaded = settings.evalOnStart() && quantization == Quantization.NF4 ? Optional.of(measureAsLoaded(kernels, base, data)) : Optional.empty();
                try (LlamaModel model = load(kernels, base, quantization); LoraAdapter adapter = LoraAdapter.create(model, settings.lora(), settings.training().seed())) {
                    output.requireSpace(adapter.parameterCount() * Float.BYTES + REPORT_BYTES);
                    Optional<Measurement> before = settings.evalOnStart() ? Optional.of(measure(model, base, data, "before")) : Optional.empty();
                    asLoaded.ifPresent(a -> console.line("So " + Figures.quantizationCost(before.orElseThrow().score().loss().loss() - a.score().loss().loss())));

                    TrainingResult training = train(model, adapter, data);
                    save(interruption, output, base, model, adapter, data);

                    console.heading("After training");
                    Measurement after = measure(model, base, data, "after");

                    RunRecord run = new RunRecord(started, settings, about(base, model), about(data), adapter.parameterCount(), asLoaded.or(() -> before).map(Measurement::score),
                            before.map(Measurement::score), after.score(), training, samples(data, before, after), memory.bytes(), clock.phases(), RunRecord.Machine.of(kernels));
                    interruption.writing(() -> output.write(MetricsFile.json(run), ReportFile.html(run)));
                    Summary.print(run, console);
                }
            }
        }
    }

    // ---- model and data ----------------------------------------------------------------------------------------------

    private void introduce(Kernels kernels, boolean replaces) {
        console.heading("Panacea " + Versions.panacea() + " on " + kernels.description() + ", Java " + Runtime.version().feature());
        if (kernels instanceof CpuKernels cpu && cpu.tier() == CpuTier.PORTABLE) {
            console.line("This CPU has no AVX2, or a setting rules it out: the portable kernels run, which are several times slower");
        }
        if (replaces) {
            console.line("The results of an earlier run in " + settings.output() + " will be replaced when this one has its own");
        }
    }

    private BaseModel findModel() {
        console.heading("Model");
        BaseModel base = clock.time("find_model", () -> BaseModel.open(settings.model(), console));
        LlamaConfig c = base.config();
        console.line(Figures.format("Llama with %d layers, hidden size %,d, %d heads (%d for keys and values), vocabulary %,d", c.numHiddenLayers(), c.hiddenSize(),
                c.numAttentionHeads(), c.numKeyValueHeads(), c.vocabSize()));
        boolean fits = false;
        try {
            ModelLimits.check(settings, c);
            fits = true;
        } finally {
            if (!fits) {
                base.close();
            }
        }
        return base;
    }

    private RunData readData(BaseModel base) {
        console.heading("Data");
        RunData data = clock.time("read_data", () -> RunData.load(settings, base, console));
        console.line("To train on: " + data.source());
        console.line("  " + data.report());
        console.line("Held out:    " + data.heldOutSource());
        console.line("  " + data.heldOutReport());
        data.notes().forEach(note -> console.line("Note: " + note));
        MaskAudit audit = data.audit(base.tokenizer(), console.colour());
        console.line("The first example, what is trained " + (console.colour() ? "in green" : "in brackets 【】") + ", tokens beside the vocabulary with their ids in ‹›:");
        if (console.colour()) {
            console.paragraphInColours(audit.sample(), "    ");
        } else {
            console.paragraph(audit.sample(), "    ");
        }
        if (!audit.endTokenTrained() && data.stopTokens().length > 0) {
            console.line("Note: no example trains the end of an answer" + (data.report().truncated() > 0 ? "; those that are longer than --max-seq-length lack it" : "")
                    + ", so the model will not learn where to stop");
        }
        return data;
    }

    private LlamaModel load(Kernels kernels, BaseModel base, Quantization quantization) {
        console.doing(switch (quantization) {
            case KEEP -> "Taking the weights as the file holds them";
            case NF4 -> "Quantizing the linear layers to NF4 with double quantization";
            case NONE -> "Loading the weights in bf16";
        });
        LlamaModel model = clock.time(quantization == Quantization.NF4 ? "quantize" : "load", () -> base.load(kernels, quantization));
        console.done(Figures.weights(model.weightBytes(), model.mappedWeightBytes()));
        return model;
    }

    // ---- measuring ---------------------------------------------------------------------------------------------------

    /** What the weights can do in the precision of their file, before anything is lost to quantization. */
    private Measurement measureAsLoaded(Kernels kernels, BaseModel base, RunData data) {
        try (LlamaModel model = load(kernels, base, Quantization.NONE)) {
            return measure(model, base, data, "as_loaded");
        }
    }

    private Measurement measure(LlamaModel model, BaseModel base, RunData data, String when) {
        Measurement m = new Measuring(model, base.tokenizer(), console, clock).measure(data, settings, when);
        memory.sample();
        return m;
    }

    // ---- training ----------------------------------------------------------------------------------------------------

    private TrainingResult train(LlamaModel model, LoraAdapter adapter, RunData data) {
        SftConfig sft = settings.training();
        LoraConfig lora = settings.lora();
        SftTrainer trainer = new SftTrainer(model, adapter, sft);
        console.heading("Training");
        console.line(Figures.format("LoRA of rank %d on %s: %,d trained parameters", lora.r(), lora.targetModules().size() == LoraConfig.ALL_LINEAR.size() ? "all linear layers"
                : String.join(", ", lora.targetModules()), adapter.parameterCount()));
        ModelLimits.rankRemark(lora, model.config()).ifPresent(console::line);
        int steps = trainer.totalSteps(data.training());
        console.line(Figures.count(steps, "step") + (steps == 1 ? " of " : ", each of ") + Figures.batch(sft) + ", learning rate " + Figures.rate(sft.learningRate()) + ", "
                + sft.lrSchedulerType().name().toLowerCase(Locale.ROOT) + " schedule" + (sft.warmupSteps(steps) > 0 ? " after a warm-up of " + Figures.count(sft.warmupSteps(steps), "step") : ""));
        TrainingResult result = clock.time("train", () -> trainer.train(data.training(), progress));
        memory.sample();
        console.endLine();
        console.line(Figures.format("%,d tokens in %s: %.0f tokens/s", result.tokens(), Figures.duration(result.duration()), result.tokensPerSecond()));
        if (result.steps().stream().allMatch(s -> s.learningRate() == 0 || s.gradNorm() == 0)) {
            console.line("Note: no step changed anything (its learning rate or its gradient was 0), so the adapter does nothing");
        }
        return result;
    }

    private void save(Interruption interruption, RunOutput output, BaseModel base, LlamaModel model, LoraAdapter adapter, RunData data) {
        console.doing("Saving the adapter");
        clock.time("save", () -> {
            interruption.writing(() -> {
                output.save(adapter.toPeft(base.reference()), written -> AdapterCheck.reload(model, adapter, written, data.heldOut().getFirst().inputIds()));
                adapterSaved = true;
            });
            return adapterSaved;
        });
        console.done(settings.output().adapter() + ", read back: the same logits");
    }

    // ---- results -----------------------------------------------------------------------------------------------------

    private RunRecord.Model about(BaseModel base, LlamaModel model) {
        return new RunRecord.Model(base.name(), base.origin(), base.description(), model.options().quantization(), model.weightBytes(),
                model.mappedWeightBytes());
    }

    private static RunRecord.Data about(RunData data) {
        return new RunRecord.Data(data.source(), data.heldOutSource(), data.training().size(), data.heldOut().size(), data.report().trainedFraction(), data.chatTemplate(), data.toAsk());
    }

    private static List<RunRecord.Sample> samples(RunData data, Optional<Measurement> before, Measurement after) {
        return IntStream.range(0, Math.min(RunData.SAMPLES, data.questions().size())).mapToObj(i -> new RunRecord.Sample(data.questions().get(i).text(),
                data.questions().get(i).reference(), before.map(b -> b.answers().get(i)), after.answers().get(i))).toList();
    }

    private String farewell() {
        String steps = progress.lastStep() == 0 ? "" : " " + Figures.count(progress.lastStep(), "training step") + (progress.lastStep() == 1 ? " is lost." : " are lost.");
        return adapterSaved ? "The trained adapter is in " + settings.output().adapter() + "; metrics.json and report.html were not written."
                : "Nothing was written" + (steps.isEmpty() ? "." : ";" + steps);
    }
}
