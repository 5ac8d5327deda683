package dev.panacea.data;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.panacea.kernels.PanaceaException;
import dev.panacea.text.Message;
import java.io.IOException;
import java.nio.charset.Charset;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Data files as people have them: how they are separated, encoded and wrapped is found out, said, and can be set. */
class DataFormsTest {
    private static final Charset WINDOWS_1252 = Charset.forName("windows-1252");
    private static final List<Example> TWO = List.of(exchange("Was hilft bei Übelkeit?", "Tee; Ruhe"), exchange("Und bei \"Grippe\",\nBruno?", "Café – meiden"));

    @TempDir
    private Path folder;

    private Dataset read(String content, Charset charset, DatasetReader.Options options) throws IOException {
        return read(content.getBytes(charset), options);
    }

    private Dataset read(byte[] content, DatasetReader.Options options) throws IOException {
        return DatasetReader.read(Files.write(folder.resolve("d.txt"), content), options, (rows, fraction) -> {});
    }

    private Dataset read(String content) throws IOException {
        return read(content, StandardCharsets.UTF_8, DatasetReader.Options.DETECT);
    }

    private void refused(byte[] content, DatasetReader.Options options, String... parts) {
        assertThatThrownBy(() -> read(content, options)).isInstanceOf(PanaceaException.class).hasMessageContaining("d.txt").hasMessageContainingAll(parts);
    }

    private void refused(String content, String... parts) {
        refused(content.getBytes(StandardCharsets.UTF_8), DatasetReader.Options.DETECT, parts);
    }

    private static List<Example> examples(Dataset data) {
        return data.rows().stream().map(Row::example).toList();
    }

    private static Example exchange(String question, String answer) {
        return new Example.Conversation(List.of(Message.user(question), Message.assistant(answer)));
    }

    private static DatasetReader.Options columns(String... meaningsAndNames) {
        Map<String, String> columns = new LinkedHashMap<>();
        for (int i = 0; i < meaningsAndNames.length; i += 2) {
            columns.put(meaningsAndNames[i], meaningsAndNames[i + 1]);
        }
        return DatasetReader.Options.DETECT.withColumns(columns);
    }

    // ---- CSV ---------------------------------------------------------------------------------------------------------

    @ParameterizedTest
    @ValueSource(strings = {",", ";", "\t", "|"})
    void anySeparatorEncodingAndLineEnd(String separator) throws IOException {
        for (String end : List.of("\n", "\r\n", "\r")) {
            String csv = ("id#question#answer@1#Was hilft bei Übelkeit?#\"Tee; Ruhe\"@2#\"Und bei \"\"Grippe\"\",\nBruno?\"#Café – meiden@").replace("#", separator).replace("@", end);
            for (String encoding : List.of("UTF-8", "windows-1252", "UTF-16LE", "UTF-16BE")) {
                for (String mark : encoding.startsWith("w") ? List.of("") : List.of("", "\uFEFF")) {
                    Dataset data = read(mark + csv, Charset.forName(encoding), DatasetReader.Options.DETECT);
                    assertThat(examples(data)).as("%s %s %s", encoding, end, mark).isEqualTo(TWO);
                    assertThat(data.summary().encoding()).isEqualToIgnoringCase(encoding);
                }
            }
        }
    }

    @Test
    void whatWasFoundOutIsSaid() throws IOException {
        Dataset data = read("Question;Answer;id;date\nWie geht's?;Schön.;7;heute\n", WINDOWS_1252, DatasetReader.Options.DETECT);
        assertThat(data.summary()).hasToString("CSV with ';', Windows-1252, columns Question → user, Answer → assistant; not used: id, date");
        assertThat(data.summary().notes()).singleElement().asString().contains("Windows-1252", "\"Schön\"", "line 2");
        assertThat(data.summary().rows()).isEqualTo(1);
        assertThat(data.rows().getFirst().place()).endsWith("d.txt, row 1 (line 2)");
        assertThat(read("{\"text\": \"a\"}").summary()).hasToString("JSON Lines, UTF-8, column text");
    }

    @Test
    void excelsOwnLine() throws IOException {
        assertThat(examples(read("sep=;\r\nquestion;answer\r\nq, r;a, b\r\n"))).containsExactly(exchange("q, r", "a, b"));
        assertThat(examples(read("\"sep=|\"\nquestion|answer\nq;a|b\n"))).containsExactly(exchange("q;a", "b"));
        refused("sep=;\nquestion;answer\nq;a\nq\n", "row 2 (line 4)");
    }

    @Test
    void tablesOfExcelEndInEmptyRowsAndColumns() throws IOException {
        Dataset data = read("question;answer;;\nq;a;;\n;;;\n;;;\n");
        assertThat(examples(data)).containsExactly(exchange("q", "a"));
        assertThat(data.summary().unused()).isEmpty();
        assertThat(examples(read("question;answer\nq;a;;\n"))).containsExactly(exchange("q", "a"));
        assertThat(examples(read("question;answer\nq;a\nr;b\n\u001A"))).containsExactly(exchange("q", "a"), exchange("r", "b"));
        refused("question;answer;date\nq;a line\nbroken in two;1.2.\n", "row 1 (line 2)", "2 values where 3 are expected");
        refused("question,answer" + ",x".repeat(10_000) + "\nq,a\n", "line 1", "more than 10000 values");
    }

    @Test
    void quotesDoubledOrEscaped() throws IOException {
        assertThat(examples(read("question,answer\n\"say \\\"hi\\\", now\",\"a\\\\b\"\n"))).containsExactly(exchange("say \"hi\", now", "a\\b"));
        assertThat(examples(read("question,answer\n\"C:\\\",\"say \"\"hi\"\"\"\n"))).containsExactly(exchange("C:\\", "say \"hi\""));
        assertThat(examples(read("question, answer\nq, \"a, b\" \n5\" pipe,6\" too\n"))).containsExactly(exchange("q", "a, b"), exchange("5\" pipe", "6\" too"));
        assertThat(examples(read("question\tanswer\n\"Hi\" she said\t\"open\nq\ta\n"))).containsExactly(exchange("\"Hi\" she said", "\"open"), exchange("q", "a"));
    }

    @Test
    void namesWithWhatCannotBeSeenAroundThem() throws IOException {
        for (String csv : List.of("\"\uFEFFquestion\",answer\nq,a\n", "\uFEFF\uFEFFquestion,answer\nq,a\n", "question\u00A0,\u2009 answer\nq,a\n")) {
            assertThat(examples(read(csv))).containsExactly(exchange("q", "a"));
        }
        assertThat(examples(read("\uFEFF\uFEFF{\"question\": \"q\", \"answer\": \"a\"}\n"))).containsExactly(exchange("q", "a"));
    }

    /** Two columns of one name matter where they are used. */
    @Test
    void columnsOfTheSameName() throws IOException {
        Dataset data = read("question,answer,note,note\nq,a,x,y\n");
        assertThat(examples(data)).containsExactly(exchange("q", "a"));
        assertThat(data.summary().unused()).containsExactly("note", "note (column 4)");
        refused("question,answer,answer\nq,a,b\n", "line 1", "two columns are named 'answer'");
        refused("question,answer,Answer\nq,a,b\n", "row 1 (line 2)", "two columns 'answer'", "'Answer'");
        assertThat(examples(read("question,answer,Answer\nq,a,b\n", StandardCharsets.UTF_8, columns("question", "question", "answer", "Answer")))).containsExactly(exchange("q", "b"));
    }

    /** As R's write.table has it. */
    @Test
    void rowNumbersWithoutAName() throws IOException {
        Dataset data = read("\"question\"\t\"answer\"\n\"1\"\t\"q, r\"\t\"a\"\n\"2\"\t\"s\"\t\"b\"\n");
        assertThat(examples(data)).containsExactly(exchange("q, r", "a"), exchange("s", "b"));
        assertThat(data.summary().unused()).containsExactly("row");
        refused("question,answer\n1,q,a\nWhy,so?,b\n", "3 values where 2 are expected", "must stand in quotes");
        refused("question\tanswer\nq\ta\nq\n", "a value that contains a tab");
    }

    /** Programs write words where there is no value; they may also be an answer. */
    @Test
    void whatMayBeAMissingValueIsPointedAt() throws IOException {
        Dataset data = read("question,answer,note\nq,yes,NA\nq,NA,\nr,NA,\ns,#N/A,\nNA?,no nan,\n");
        assertThat(data.rows()).hasSize(5);
        assertThat(data.summary().notes()).containsExactly(
                "\"NA\" in 'answer' is taken as text, in 2 rows, first in row 2 (line 3), though programs write that where a value is missing",
                "\"#N/A\" in 'answer' is taken as text, in row 4 (line 5), though programs write that where a value is missing");
    }

    @Test
    void lostCharactersArePointedAt() throws IOException {
        String rows = "{'text': 'whole \\ud83d\\ude00'}\n{'text': 'half \\ud83d'}\n{'prompt': 'p', 'completion': 'c\uFFFDd'}\n"
                + "{'messages': [{'role': 'user', 'content': '\\ude00'}, {'role': 'assistant', 'content': 'a'}]}\n";
        assertThat(read(rows.replace('\'', '"')).summary().notes()).contains(
                "characters were lost before (\"\uFFFD\" or half of a surrogate pair stands for them), in 3 rows, first in line 2");
        assertThat(read("text\n\uD83D\uDE00\n").summary().notes()).isEmpty();
    }

    @Test
    void tablesDrawnForTheEyeAreNamed() {
        refused("| question | answer |\n|:---|---:|\n| q | a |\n", "Markdown", "CSV");
        refused(" question | answer \n----------+--------\n q        | a\n(1 row)\n", "drawn");
        refused("+----------+--------+\n| question | answer |\n+----------+--------+\n", "drawn");
    }

    @Test
    void noHeader() throws IOException {
        Dataset data = read("What is flu?;An infection.\nWhat is tea?;A drink.\n");
        assertThat(examples(data)).containsExactly(exchange("What is flu?", "An infection."), exchange("What is tea?", "A drink."));
        assertThat(data.summary().notes()).singleElement().asString().contains("no header");
        assertThat(examples(read("q0,a0\nq1,a1\n"))).hasSize(2);
        assertThat(examples(read("7,What is flu?,An infection.\n", StandardCharsets.UTF_8, columns("question", "2", "answer", "3"))))
                .containsExactly(exchange("What is flu?", "An infection."));
        Dataset names = read("Fever,Rest\nCold,Tea\n", StandardCharsets.UTF_8, columns("question", "1", "answer", "2"));
        assertThat(examples(names)).containsExactly(exchange("Cold", "Tea"));
        assertThat(names.summary().notes()).containsExactly("the first line, \"Fever,Rest\", is taken for the names of the columns");
        refused("7,What is flu?,An infection.\n", "without a header", "question=1,answer=2");
        refused("{\"Frage\": \"q\", \"A\": \"a\"}".getBytes(StandardCharsets.UTF_8), columns("system", "Frage", "text", "A"), "no use for 'Frage' as 'system'");
        refused("Once upon a time. There was a file\nof prose, and nothing else.\n", "neither JSON nor CSV", "Once upon a time");
        refused("# Notes\n\nProse, with commas, and more.\n", "neither JSON nor CSV", "# Notes");
        refused("prompt\np\n", "answer to 'prompt'", "completion=NAME");
        refused("Frage;Antwort\nWas?;Das.\n", "[Frage, Antwort]", "question=NAME,answer=NAME");
    }

    @Test
    void columnsCanBeSaid() throws IOException {
        String csv = "Frage;Antwort;messages\nWas?;Das.;x\n";
        Dataset data = read(csv, StandardCharsets.UTF_8, columns("prompt", "Frage", "completion", "Antwort"));
        assertThat(examples(data)).containsExactly(new Example.PromptCompletion("Was?", "Das."));
        assertThat(data.summary().columns()).containsExactly(Map.entry("Frage", "prompt"), Map.entry("Antwort", "completion"));
        assertThat(data.summary().unused()).containsExactly("messages");
        assertThat(examples(read(csv, StandardCharsets.UTF_8, columns("question", "1", "answer", "2")))).containsExactly(exchange("Was?", "Das."));
        assertThat(examples(read("{\"question\": \"q\", \"best\": \"a\", \"response\": \"b\"}", StandardCharsets.UTF_8, columns("answer", "best")))).containsExactly(exchange("q", "a"));
        refused(csv.getBytes(StandardCharsets.UTF_8), columns("question", "Titel", "answer", "Antwort"), "Titel");
        refused("{\"question\": \"q\"}".getBytes(StandardCharsets.UTF_8), columns("question", "Titel", "answer", "Antwort"), "no column 'Titel'", "[question]");
        assertThatThrownBy(() -> columns("colour", "x")).isInstanceOf(IllegalArgumentException.class).hasMessageContainingAll("colour", "question");
    }

    @Test
    void separatorCanBeSaid() throws IOException {
        DatasetReader.Options colon = DatasetReader.Options.DETECT.withSeparator(':');
        assertThat(examples(read("question:answer\nq,r:a;b\n", StandardCharsets.UTF_8, colon))).containsExactly(exchange("q,r", "a;b"));
    }

    // ---- encodings ---------------------------------------------------------------------------------------------------

    @Test
    void encodingCanBeSaid() throws IOException {
        String csv = "question;answer\nчто это такое, доктор?;это грипп, отдыхайте\n";
        Charset cyrillic = Charset.forName("windows-1251");
        refused(csv.getBytes(cyrillic), DatasetReader.Options.DETECT, "line 2", "say in which encoding");
        Dataset data = read(csv, cyrillic, DatasetReader.Options.DETECT.withEncoding(cyrillic));
        assertThat(examples(data)).containsExactly(exchange("что это такое, доктор?", "это грипп, отдыхайте"));
        refused("{\"text\": \"Ö\"}".getBytes(WINDOWS_1252), DatasetReader.Options.DETECT.withEncoding(StandardCharsets.UTF_8), "line 1", "not UTF-8", "0xD6");
        refused("{\"text\": \"Ö\"}".getBytes(StandardCharsets.UTF_8), DatasetReader.Options.DETECT.withEncoding(StandardCharsets.US_ASCII), "not in the encoding", "US-ASCII");
    }

    @Test
    void aBrokenPlaceInUtf8IsNamedAndNotGuessedAt() {
        byte[] rows = "{\"text\": \"größer\"}\n{\"text\": \"höher, weiter\"}\n{\"text\": \"?\"}\n".getBytes(StandardCharsets.UTF_8);
        rows[rows.length - 4] = (byte) 0xE9;
        refused(rows, DatasetReader.Options.DETECT, "line 3", "0xE9", "the rest of the file is");
        refused("{\"text\": \"a\"}\n{\"text\": \"\u0000\"}\n", "line 2", "zero byte");
    }

    @Test
    void textThatWasEncodedTwiceIsPointedAt() throws IOException {
        String twice = new String("{\"text\": \"Grüße – für dich\"}".getBytes(StandardCharsets.UTF_8), WINDOWS_1252);
        assertThat(read("{\"text\": \"a\"}\n" + twice).summary().notes()).singleElement().asString().contains("encoded twice", "line 2");
        assertThat(read("{\"text\": \"AMANHÃ, Grüße – für 5 €\"}").summary().notes()).isEmpty();
    }

    // ---- what is no text ---------------------------------------------------------------------------------------------

    @ParameterizedTest
    @CsvSource({
        "50415231 15041510, Parquet, to_json", "504b0304 14000600 0800 5b436f6e74656e745f54797065735d2e786d6c, Excel, CSV", "504b0304 1400 612e6a736f6e, zip, unpack",
        "504b0304 5b436f6e74656e745f54797065735d2e786d6c 776f72642f646f63756d656e742e786d6c, text document, rows",
        "1f8b0800, gzip, gunzip", "28b52ffd, Zstandard, unzstd", "4152524f57310000, Arrow, to_json", "80049500, pickle, to_json", "d0cf11e0a1b11ae1, old Excel, CSV",
        "53514c69746520666f726d6174203300, SQLite, export", "255044462d, PDF, rows", "3c21444f43545950452068746d6c3e, web page, needed", "425a6839, bzip2, unpack",
        "47475546, GGUF, rows", "76657273696f6e2068747470733a2f2f6769742d6c6673, Git LFS, pull"
    })
    void filesOfOtherKindsAreNamed(String hex, String kind, String remedy) throws IOException {
        byte[] content = HexFormat.of().parseHex(hex.replace(" ", ""));
        for (String name : List.of("a.jsonl", "a.csv", "a.bin")) {
            Path file = Files.write(folder.resolve(name), content);
            assertThatThrownBy(() -> DatasetReader.read(file)).isInstanceOf(PanaceaException.class).hasMessageContainingAll(name, kind, remedy);
        }
    }

    // ---- JSON --------------------------------------------------------------------------------------------------------

    @Test
    void rowsInsideAnObject() throws IOException {
        Dataset data = read("{\"version\": 2, \"data\": [{\"text\": \"a\"},\n {\"text\": \"b\"}], \"test\": [{\"text\": \"c\"}]}");
        assertThat(examples(data)).containsExactly(new Example.Text("a"), new Example.Text("b"));
        assertThat(data.summary().format()).contains("'data'");
        assertThat(data.summary().unused()).containsExactly("version", "test");
        assertThat(data.rows().getLast().place()).endsWith("row 2 (line 2)");
        assertThat(examples(read("{\"17\": {\"text\": \"a\"}, \"18\": {\"text\": \"b\"}}"))).containsExactly(new Example.Text("a"), new Example.Text("b"));
        assertThat(examples(read("{\"text\": \"t\", \"data\": [{\"x\": 1}]}"))).containsExactly(new Example.Text("t"));
        refused("{\"data\": [{\"text\": \"a\"}, {\"text\": 1}]}", "row 2 (line 1)", "'text' is a number");
        refused("{\"data\": []}", "no rows");
        refused("{\"question\": [\"a\"], \"answer\": [\"b\"]}", "'question' is a list", "records");
    }

    @Test
    void jsonLinesOfAnyLineEndAndObjectsOverSeveralLines() throws IOException {
        for (String end : List.of("\n", "\r\n", "\r", " ")) {
            assertThat(examples(read("{\"text\": \"a\"}" + end + "{\"text\": \"b\"}" + end))).as(end).containsExactly(new Example.Text("a"), new Example.Text("b"));
        }
        Dataset data = read("{\n  \"text\": \"a\"\n}\n{\n  \"text\": \"b\"\n}\n");
        assertThat(data.rows()).extracting(Row::place).allMatch(p -> p.startsWith(folder.toString())).last().asString().endsWith("line 4");
        refused("{\"text\": \"a\"}\r{\"text\": 3}", "line 2");
        refused("{\"text\": \"a\"}\n{\"text\": \"b\"\n{\"text\": \"c\"}\n", "line 2", "(line 3, column 1)");
        refused("{\"text\": \"a\"},\n{\"text\": \"b\"}", "after line 1", "line 1");
        refused("{'text': 'a'}", "Python", "json.dumps");
    }

    // ---- the rest ----------------------------------------------------------------------------------------------------

    @Test
    void progressIsTold() throws IOException {
        Path file = Files.writeString(folder.resolve("many.jsonl"), "{\"text\": \"some words\"}\n".repeat(20_000));
        List<Double> fractions = new ArrayList<>();
        DatasetReader.read(file, DatasetReader.Options.DETECT, (rows, fraction) -> fractions.add(fraction));
        assertThat(fractions).hasSizeGreaterThan(10).isSorted().last().isEqualTo(1.0);
    }

    @Test
    void blanksAloneAreNoRows() {
        refused(" \n\n", "there are no rows in it");
        refused(" ".repeat(1 << 20) + "{\"text\": \"a\"}", "begins with 1048576 blank characters");
    }

    @Test
    void aFolderIsNoData() {
        assertThatThrownBy(() -> DatasetReader.read(folder)).isInstanceOf(PanaceaException.class).hasMessageContainingAll(folder.toString(), "folder", "file of rows");
    }
}
