package dev.panacea.examples;

import dev.panacea.data.DatasetReader;
import dev.panacea.data.EncodingReport;
import dev.panacea.data.Example;
import dev.panacea.data.ExampleEncoder;
import dev.panacea.data.MaskAudit;
import dev.panacea.data.Row;
import dev.panacea.data.Splits;
import dev.panacea.data.TokenizedExample;
import dev.panacea.data.UnseenKeys;
import dev.panacea.kernels.PanaceaException;
import dev.panacea.text.BpeTokenizer;
import dev.panacea.text.ChatEncoder;
import dev.panacea.text.ChatTemplate;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Collectors;

/**
 * The data of a run, ready for the model.
 *
 * @param source where the training examples come from, for people
 * @param heldOutSource where the held-out ones come from
 * @param questions the held-out questions that the model is to answer
 * @param stopTokens what ends an answer in the training data
 * @param chatTemplate whether any of it is a conversation, which goes through the model's chat template; else all is plain text, as it stands
 * @param toAsk a short held-out question, for a person to try
 * @param notes what a person should know of the data, a sentence each
 */
record RunData(String source, String heldOutSource, List<TokenizedExample> training, EncodingReport report, List<TokenizedExample> heldOut, EncodingReport heldOutReport,
        List<Question> questions, int[] stopTokens, boolean chatTemplate, String toAsk, List<String> notes) {
    static final String BUNDLED = "dialogues.jsonl";
    private static final double HELD_OUT = 0.1;
    /** Of the questions, so many answers are shown in full. */
    static final int SAMPLES = 2;

    /** Reads, splits and encodes; a fault in the data is told before anything else is done. */
    static RunData load(FinetuneSettings settings, BaseModel base, Console console) {
        List<Row> rows = settings.data().map(file -> DataFile.read(file, settings.reading(), console)).orElseGet(RunData::bundled);
        Optional<List<Row>> evalRows = settings.evalData().map(file -> DataFile.read(file, settings.reading(), console));
        String source = settings.data().map(Path::toString).orElse("the bundled doctor-patient dialogues");
        ExampleEncoder encoder = new ExampleEncoder(base.tokenizer(), ChatTemplate.Options.NONE, settings.training().maxSeqLength());
        ExampleEncoder.Encoded training = encode(encoder, rows, console);
        ExampleEncoder.Encoded heldOut;
        String heldOutSource;
        if (evalRows.isPresent()) {
            heldOut = encode(encoder, evalRows.get(), console);
            heldOutSource = settings.evalData().get().toString();
        } else {
            Splits<ExampleEncoder.EncodedRow> split = Splits.heldOut(training.rows(), HELD_OUT, settings.training().seed(), ExampleEncoder.EncodedRow::usable);
            if (split.heldOut().isEmpty()) {
                throw new PanaceaException(source + " has a single row" + (rows.size() > 1 ? " that can be used (" + training.report() + ")" : "")
                        + ": nothing can be held out to measure with. Add rows, or name other data with --eval-data");
            }
            training = training.part(split.train());
            heldOut = training.part(split.heldOut());
            heldOutSource = "a tenth of " + source;
        }
        sayWhatIsUnseen(rows, base.tokenizer(), console);
        List<Row> asked = heldOut.rows().stream().map(ExampleEncoder.EncodedRow::row).toList();
        int most = settings.answers() == 0 ? 0 : Math.max(settings.answers(), SAMPLES);
        int longest = base.config().maxPositionEmbeddings() - settings.answerTokens();
        Optional<ChatEncoder> chat = Question.chat(rows, base.tokenizer());
        int[] stopTokens = chat.map(ChatEncoder::stopTokens).orElseGet(base.tokenizer()::endTokens);
        return new RunData(source, heldOutSource, training.examples(), training.report(), heldOut.examples(), heldOut.report(), Question.of(asked, base.tokenizer(), most, longest), stopTokens,
                chat.isPresent(), Question.toAsk(asked), notes(base.tokenizer(), encoder, chat, alsoTrained(training.rows(), heldOut.rows())));
    }

    private static ExampleEncoder.Encoded encode(ExampleEncoder encoder, List<Row> rows, Console console) {
        DataProgress progress = new DataProgress("Encoding", console);
        ExampleEncoder.Encoded encoded = encoder.encode(rows, (done, all) -> progress.at(done, (double) done / all));
        console.endLine();
        return encoded;
    }

    private static List<String> notes(BpeTokenizer tokenizer, ExampleEncoder encoder, Optional<ChatEncoder> chat, Optional<String> alsoTrained) {
        List<String> notes = new ArrayList<>(tokenizer.notes());
        alsoTrained.ifPresent(notes::add);
        notes.addAll(encoder.notes());
        if (chat.isPresent() && chat.get().endOfTurn().isEmpty()) {
            notes.add("The model's chat template ends an answer with no control token of the tokenizer, so nothing in a conversation teaches the model where to stop");
        }
        return notes;
    }

    /** What is measured on rows that are trained too says little. */
    private static Optional<String> alsoTrained(List<ExampleEncoder.EncodedRow> training, List<ExampleEncoder.EncodedRow> heldOut) {
        Set<Example> trained = training.stream().map(r -> r.row().example()).collect(Collectors.toSet());
        long twice = heldOut.stream().filter(r -> trained.contains(r.row().example())).count();
        if (twice == 0) {
            return Optional.empty();
        }
        String which = twice < heldOut.size() ? Figures.format("%,d of %,d held-out rows ", twice, heldOut.size()) : twice > 1 ? "All held-out rows " : "The held-out row ";
        return Optional.of(which + (twice == 1 ? "is" : "are") + " among the training data too, word for word: what is learnt by heart looks better there than it is");
    }

    private static void sayWhatIsUnseen(List<Row> rows, BpeTokenizer tokenizer, Console console) {
        if (rows.stream().anyMatch(row -> row.example() instanceof Example.Conversation)) {
            Map<String, Integer> unseen = UnseenKeys.of(rows, ChatTemplate.of(tokenizer));
            if (!unseen.isEmpty()) {
                console.line("Note: the model's chat template does not use " + unseen.entrySet().stream().limit(10)
                        .map(e -> "'" + e.getKey() + "' (in " + Figures.format("%,d", e.getValue()) + (e.getValue() == 1 ? " row)" : " rows)")).collect(Collectors.joining(", "))
                        + ": the model sees nothing of it");
            }
        }
    }

    /** What is trained of an example, for a person to see. */
    MaskAudit audit(BpeTokenizer tokenizer, boolean colour) {
        return MaskAudit.of(training, tokenizer, stopTokens, colour);
    }

    /** The examples inside the jar, by way of a file, which is what the reader takes. */
    private static List<Row> bundled() {
        try (InputStream in = RunData.class.getResourceAsStream(BUNDLED)) {
            Path file = Files.createTempFile("panacea-dialogues-", ".jsonl");
            try {
                Files.write(file, in.readAllBytes());
                return DatasetReader.read(file);
            } finally {
                Files.delete(file);
            }
        } catch (IOException e) {
            throw new PanaceaException("Cannot unpack the bundled dialogues into the folder for temporary files: " + e.getMessage(), e);
        }
    }
}
