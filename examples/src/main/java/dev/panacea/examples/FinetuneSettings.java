package dev.panacea.examples;

import dev.panacea.data.DatasetReader;
import dev.panacea.llama.Quantization;
import dev.panacea.lora.LoraConfig;
import dev.panacea.train.SftConfig;
import java.nio.file.Path;
import java.util.Optional;

/**
 * All choices of a run, checked one by one; what depends on the model is checked when the model is known.
 *
 * @param device {@code cpu}, {@code cuda} or {@code cuda:N}
 * @param model a path or a name on the hub; empty for the default model
 * @param data empty for the bundled dialogues
 * @param evalData empty to hold a tenth of {@code data} out
 * @param reading how to read both, where that is not to be found out
 * @param quantization empty for what suits the model's file
 * @param evalOnStart whether to measure before the training too
 * @param answers held-out questions that the model answers for BLEU; 0 for none
 * @param answerTokens most new tokens of such an answer
 */
record FinetuneSettings(
        String device,
        Optional<String> model,
        Optional<Path> data,
        Optional<Path> evalData,
        DatasetReader.Options reading,
        OutputFolder output,
        LoraConfig lora,
        Optional<Quantization> quantization,
        SftConfig training,
        boolean evalOnStart,
        int answers,
        int answerTokens) {}
