package dev.panacea.text;

import dev.panacea.io.Checkpoint;
import dev.panacea.io.GgufCheckpoint;
import dev.panacea.io.GgufFile;
import java.nio.file.Files;
import java.nio.file.Path;

/** Makes tokenizers. Close what you get. */
public final class Tokenizers {
    private Tokenizers() {}

    /** The tokenizer of a model, which is a folder as Hugging Face has it or a GGUF file. Nothing is known of the model's embedding. */
    public static BpeTokenizer open(Path model) {
        if (Files.isDirectory(model)) {
            return fromFolder(model);
        }
        try (GgufFile file = GgufFile.open(model)) {
            return fromGguf(GgufVocabulary.of(file.metadata(), model.toString()));
        }
    }

    /**
     * The tokenizer of a model that is open already, which spares reading a GGUF file's metadata once more. The checkpoint must stay open until this
     * returns, and not longer. A token that the model's embedding has no row for is refused where a text has it.
     *
     * @param model where the checkpoint was opened
     */
    public static BpeTokenizer open(Path model, Checkpoint checkpoint) {
        int rows = checkpoint.config().vocabSize();
        return checkpoint instanceof GgufCheckpoint gguf ? GgufTokenizer.load(GgufVocabulary.of(gguf.metadata(), model.toString()), rows) : FolderTokenizer.load(model, rows);
    }

    /**
     * The tokenizer of a model folder with a tokenizer.json.
     *
     * @throws dev.panacea.kernels.PanaceaException when a file is missing or broken, or the tokenizer is not byte-level BPE
     */
    public static BpeTokenizer fromFolder(Path folder) {
        return FolderTokenizer.load(folder, Integer.MAX_VALUE);
    }

    /**
     * The tokenizer in the metadata of a GGUF file.
     *
     * @throws dev.panacea.kernels.PanaceaException when the metadata contradict themselves, or the tokenizer is of a kind that is not supported
     */
    public static BpeTokenizer fromGguf(GgufVocabulary vocabulary) {
        return GgufTokenizer.load(vocabulary, Integer.MAX_VALUE);
    }
}
