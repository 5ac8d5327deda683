package dev.panacea.examples;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.SerializationFeature;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.panacea.data.DatasetReader;
import dev.panacea.kernels.PanaceaException;
import dev.panacea.train.MemoryPlan;
import dev.panacea.train.SftConfig;
import dev.panacea.train.StepReport;
import dev.panacea.train.TrainingResult;
import java.nio.charset.Charset;
import java.util.Locale;
import java.util.Optional;
import java.util.OptionalLong;

/** A run in numbers, for programs: metrics.json. Names follow transformers and PEFT where they have one; null is what is not known. */
final class MetricsFile {
    private static final JsonMapper MAPPER = JsonMapper.builder().enable(SerializationFeature.INDENT_OUTPUT).build();

    private MetricsFile() {}

    static String json(RunRecord run) {
        ObjectNode root = MAPPER.createObjectNode();
        root.put("panacea_version", run.machine().version());
        root.put("started", run.started().toString());
        root.put("kernels", run.machine().kernels());
        root.put("java", run.machine().java());
        root.put("system", run.machine().system());
        root.putObject("model")
                .put("name", run.model().name())
                .put("origin", run.model().origin())
                .put("description", run.model().description())
                .put("weight_bytes", run.model().weightBytes())
                .put("mapped_weight_bytes", run.model().mappedBytes())
                .put("adapter_parameters", run.adapterParameters());
        settings(root.putObject("settings"), run);
        root.putObject("data")
                .put("source", run.data().source())
                .put("held_out_source", run.data().heldOutSource())
                .put("training_examples", run.data().trainingExamples())
                .put("held_out_examples", run.data().heldOutExamples())
                .put("trained_share_of_tokens", run.data().trainedShare())
                .put("chat_template", run.data().chatTemplate());
        ObjectNode evaluation = root.putObject("evaluation");
        score(evaluation, "as_loaded", run.asLoaded());
        score(evaluation, "before", run.before());
        score(evaluation, "after", Optional.of(run.after()));
        steps(root.putArray("steps"), run);
        root.put("training_tokens", run.training().tokens());
        root.put("training_seconds", seconds(run.training().duration().toMillis()));
        number(root, "tokens_per_second", run.training().tokensPerSecond());
        bytes(root, "peak_resident_bytes", run.peakResidentBytes());
        memory(root.putObject("training_memory"), run.training());
        ObjectNode phases = root.putObject("phase_seconds");
        run.phases().forEach((name, time) -> phases.put(name, seconds(time.toMillis())));
        root.put("total_seconds", seconds(run.total().toMillis()));
        ArrayNode samples = root.putArray("samples");
        run.samples().forEach(s -> samples.addObject().put("question", s.question()).put("reference", s.reference()).put("before", s.before().orElse(null)).put("after", s.after()));
        try {
            return MAPPER.writeValueAsString(root) + "\n";
        } catch (JsonProcessingException e) {
            throw new PanaceaException("the metrics cannot be written as JSON: " + e.getOriginalMessage(), e);
        }
    }

    private static void settings(ObjectNode node, RunRecord run) {
        FinetuneSettings s = run.settings();
        SftConfig t = s.training();
        node.put("model", s.model().orElse("default"))
                .put("data", s.data().map(Object::toString).orElse("bundled"))
                .put("eval_data", s.evalData().map(Object::toString).orElse("held-out tenth"))
                .put("output", s.output().toString())
                .put("quantization", run.model().quantization().name().toLowerCase(Locale.ROOT))
                .put("rank", s.lora().r())
                .put("alpha", s.lora().loraAlpha());
        s.lora().targetModules().forEach(node.putArray("target_modules")::add);
        if (t.maxSteps() > 0) {
            node.putNull("num_train_epochs").put("max_steps", t.maxSteps());
        } else {
            node.put("num_train_epochs", t.numTrainEpochs()).putNull("max_steps");
        }
        reading(node, s.reading());
        node.put("learning_rate", t.learningRate())
                .put("lr_scheduler_type", t.lrSchedulerType().name().toLowerCase(Locale.ROOT))
                .put("warmup_ratio", t.warmupRatio())
                .put("per_device_train_batch_size", t.perDeviceTrainBatchSize())
                .put("gradient_accumulation_steps", t.gradientAccumulationSteps())
                .put("optim", t.optim().name().toLowerCase(Locale.ROOT))
                .put("weight_decay", t.weightDecay())
                .put("adam_beta1", t.adamBeta1())
                .put("adam_beta2", t.adamBeta2())
                .put("adam_epsilon", t.adamEpsilon())
                .put("max_grad_norm", t.maxGradNorm())
                .put("max_seq_length", t.maxSeqLength())
                .put("seed", t.seed())
                .put("gradient_checkpointing", t.gradientCheckpointing().name().toLowerCase(Locale.ROOT))
                .put("device", s.device())
                .put("eval_on_start", s.evalOnStart())
                .put("answers", s.answers())
                .put("answer_tokens", s.answerTokens());
    }

    /** As asked for: null is what was left to be found out. */
    private static void reading(ObjectNode node, DatasetReader.Options asked) {
        ObjectNode columns = node.putObject("columns");
        asked.columns().forEach(columns::put);
        node.put("encoding", asked.encoding().map(Charset::name).orElse(null)).put("separator", asked.separator().map(String::valueOf).orElse(null));
    }

    /** What was planned before the first step, and what the process had after the largest one. */
    private static void memory(ObjectNode node, TrainingResult training) {
        MemoryPlan p = training.plan();
        node.put("gradient_checkpointing", p.checkpointing())
                .put("reason", p.reason())
                .put("planned_bytes", p.total())
                .put("weight_bytes", p.weights())
                .put("adapter_bytes", p.adapter())
                .put("optimizer_bytes", p.optimizer())
                .put("step_bytes", p.step())
                .put("logit_bytes", p.logits())
                .put("kernel_scratch_bytes", p.scratch())
                .put("rest_bytes", p.rest());
        bytes(node, "available_bytes", p.available());
        bytes(node, "measured_bytes", training.peakBytes());
    }

    private static void bytes(ObjectNode node, String name, OptionalLong value) {
        if (value.isPresent()) {
            node.put(name, value.getAsLong());
        } else {
            node.putNull(name);
        }
    }

    private static void score(ObjectNode evaluation, String when, Optional<RunRecord.Score> measured) {
        if (measured.isEmpty()) {
            evaluation.putNull(when);
            return;
        }
        RunRecord.Score score = measured.get();
        ObjectNode node = evaluation.putObject(when);
        number(node, "loss", score.loss().loss());
        number(node, "perplexity", score.loss().perplexity());
        number(node, "bleu", score.bleu().orElse(Double.NaN));
        node.put("target_tokens", score.loss().targetTokens());
    }

    private static void steps(ArrayNode steps, RunRecord run) {
        for (StepReport s : run.training().steps()) {
            ObjectNode node = steps.addObject().put("step", s.step()).put("epoch", s.epoch());
            number(node, "loss", s.loss());
            number(node, "grad_norm", s.gradNorm());
            node.put("learning_rate", s.learningRate()).put("tokens", s.tokens()).put("target_tokens", s.targetTokens());
        }
    }

    /** JSON has no infinity and no NaN. */
    private static void number(ObjectNode node, String name, double value) {
        if (Double.isFinite(value)) {
            node.put(name, value);
        } else {
            node.putNull(name);
        }
    }

    private static double seconds(long millis) {
        return millis / 1000.0;
    }
}
