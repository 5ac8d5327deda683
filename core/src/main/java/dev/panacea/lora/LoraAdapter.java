package dev.panacea.lora;

import dev.panacea.autograd.LoraLinear;
import dev.panacea.io.LoraTensors;
import dev.panacea.io.PeftAdapter;
import dev.panacea.io.PeftConfig;
import dev.panacea.kernels.Kernels;
import dev.panacea.kernels.Lora;
import dev.panacea.kernels.PanaceaException;
import dev.panacea.llama.LlamaModel;
import dev.panacea.llama.Linear;
import dev.panacea.optim.TrainableParameters;
import java.lang.foreign.MemorySegment;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SplittableRandom;

/**
 * A LoRA adapter for one model: the trained pairs of the layers that it targets.
 *
 * <p>Threads: any, but one at a time, counting the one in which a model computes with it: a second one's use, and closing it meanwhile, is an {@link IllegalStateException}. For
 * several models at the same time, read it once for each. A model whose adapter has been closed throws until it is detached or another one attached.
 */
public final class LoraAdapter implements AutoCloseable {
    private static final int MOST_VALUES = Integer.MAX_VALUE - 8;

    private final Kernels kernels;
    private final PeftConfig config;
    private final TrainableParameters parameters;
    private final Map<String, Module> modules;
    private final PeftAdapter.TrainedOn trainedOn;

    /**
     * The pair of one layer.
     *
     * @param scaling factor of {@code B A}
     */
    private record Module(String name, int rank, int in, int out, double scaling) {
        private String aName() {
            return name + ".lora_A.weight";
        }

        private String bName() {
            return name + ".lora_B.weight";
        }
    }

    private LoraAdapter(LlamaModel model, PeftConfig config, Map<String, Module> modules) {
        this.kernels = model.kernels();
        this.trainedOn = model.trainedOn();
        this.config = config;
        this.modules = modules;
        Map<String, Long> lengths = new LinkedHashMap<>();
        for (Module m : modules.values()) {
            int side = Math.max(m.in(), m.out());
            if ((long) m.rank() * side > MOST_VALUES) {
                throw new PanaceaException("rank " + m.rank() + " makes the pair of " + m.name() + " too large: " + m.rank() + " times " + side
                        + " values, and at most " + MOST_VALUES + " are possible; choose a smaller rank");
            }
            lengths.put(m.aName(), (long) m.rank() * m.in());
            lengths.put(m.bName(), (long) m.out() * m.rank());
        }
        this.parameters = new TrainableParameters(kernels, lengths);
    }

    /**
     * A fresh adapter: A uniform in ±1/√in (PyTorch's kaiming_uniform with a = √5), B zero, so that it changes nothing yet. A rank above the
     * smaller side of a layer is possible, as in PEFT, though the product of the pair has no higher rank than that side.
     *
     * @throws PanaceaException if the rank makes a matrix larger than an array can be
     */
    public static LoraAdapter create(LlamaModel model, LoraConfig config, long seed) {
        Map<String, Module> modules = new LinkedHashMap<>();
        for (Linear l : model.linears()) {
            if (config.targetModules().contains(l.shortName())) {
                modules.put(l.name(), new Module(l.name(), config.r(), l.in(), l.out(), config.scaling()));
            }
        }
        PeftConfig peft = PeftConfig.of(Optional.empty(), config.r(), config.loraAlpha(), 0, config.targetModules(), config.useRslora());
        LoraAdapter adapter = new LoraAdapter(model, peft, modules);
        SplittableRandom random = new SplittableRandom(seed);
        for (Module m : modules.values()) {
            float bound = (float) (1 / Math.sqrt(m.in()));
            float[] a = new float[m.rank() * m.in()];
            for (int i = 0; i < a.length; i++) {
                a[i] = (float) (random.nextDouble() * 2 - 1) * bound;
            }
            adapter.set(m, a, new float[m.out() * m.rank()]);
        }
        return adapter;
    }

    /**
     * An adapter read from PEFT files.
     *
     * @throws PanaceaException if a pair is missing or does not fit the model, as {@link PeftAdapter#requireFits} says
     */
    public static LoraAdapter fromPeft(LlamaModel model, PeftAdapter peft) {
        peft.requireFits(model.config(), model.description());
        Map<String, Module> modules = new LinkedHashMap<>();
        peft.modules().forEach((name, t) -> modules.put(name, new Module(name, t.rank(), t.in(), t.out(), peft.scaling(name))));
        LoraAdapter adapter = new LoraAdapter(model, peft.config(), modules);
        modules.values().forEach(m -> adapter.set(m, peft.modules().get(m.name()).a(), peft.modules().get(m.name()).b()));
        return adapter;
    }

    /** The adapter with its present values, to be written as PEFT files; {@code baseModel} is what a reader should load it onto. */
    public PeftAdapter toPeft(String baseModel) {
        return parameters.guard().during(() -> {
            Map<String, LoraTensors> tensors = new LinkedHashMap<>();
            for (Module m : modules.values()) {
                tensors.put(m.name(), new LoraTensors(m.rank(), m.in(), m.out(), get(m.aName()), get(m.bName())));
            }
            return new PeftAdapter(config.withBaseModel(baseModel), tensors, Optional.empty(), Optional.of(trainedOn));
        });
    }

    private void set(Module m, float[] a, float[] b) {
        kernels.upload(MemorySegment.ofArray(a), parameters.value(m.aName()));
        kernels.upload(MemorySegment.ofArray(b), parameters.value(m.bName()));
    }

    private float[] get(String name) {
        float[] values = new float[Math.toIntExact(parameters.value(name).length())];
        kernels.download(parameters.value(name), MemorySegment.ofArray(values));
        return values;
    }

    /** Gradients by the names of the tensors, such as {@code model.layers.0.self_attn.q_proj.lora_A.weight}. */
    public Map<String, float[]> gradients() {
        return parameters.guard().during(() -> {
            Map<String, float[]> all = new LinkedHashMap<>();
            for (Module m : modules.values()) {
                for (String name : List.of(m.aName(), m.bName())) {
                    float[] g = new float[Math.toIntExact(parameters.gradient(name).length())];
                    kernels.download(parameters.gradient(name), MemorySegment.ofArray(g));
                    all.put(name, g);
                }
            }
            return all;
        });
    }

    /**
     * Makes the model compute with this adapter, in place of any other.
     *
     * @throws IllegalArgumentException if it is in the memory of other kernels than the model's
     */
    public void attachTo(LlamaModel model) {
        if (model.kernels() != kernels) {
            throw new IllegalArgumentException("the adapter is in the memory of other kernels than the model's; read it for this model");
        }
        model.attach(slots(), parameters.guard());
    }

    private Map<String, LoraLinear.Slot> slots() {
        Map<String, LoraLinear.Slot> slots = new LinkedHashMap<>();
        for (Module m : modules.values()) {
            Lora lora = new Lora(parameters.value(m.aName()), parameters.value(m.bName()), m.rank(), (float) m.scaling());
            slots.put(m.name(), new LoraLinear.Slot(lora, parameters.gradient(m.aName()), parameters.gradient(m.bName())));
        }
        return slots;
    }

    public TrainableParameters parameters() {
        return parameters;
    }

    /** Number of trained values. */
    public long parameterCount() {
        return parameters.size();
    }

    /**
     * Frees its memory; closing twice does nothing.
     *
     * @throws IllegalStateException if it is in use, by a model that computes with it or by another thread
     */
    @Override
    public void close() {
        parameters.close();
    }
}
