package dev.panacea.data;

import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Locale;
import java.util.Optional;

/** What a file is by its first bytes, when it is no text of ours: people give a program what they have. */
final class FileKind {
    /** So many bytes tell. */
    static final int BYTES = 4096;

    private static final String FROM_PYTHON = "write it as JSON Lines, in Python with datasets or pandas: to_json(\"data.jsonl\", orient=\"records\", lines=True)";
    private static final String UNPACK = "unpack it first";
    private static final String SAVE_THERE = "save it as CSV (UTF-8) there";
    private static final String INTO_ROWS = "its text must be brought into rows of questions and answers first";
    private static final String EXPORT = "export the rows as CSV or JSON Lines";

    private record Signature(int at, String bytes, String name, String remedy) {}

    private static final List<Signature> SIGNATURES = List.of(
            new Signature(0, "PAR1", "a Parquet file", FROM_PYTHON),
            new Signature(0, "ARROW1", "an Arrow file", FROM_PYTHON),
            new Signature(0, "\u00ff\u00ff\u00ff\u00ff", "an Arrow stream", FROM_PYTHON),
            new Signature(0, "FEA1", "a Feather file", FROM_PYTHON),
            new Signature(0, "ORC", "an ORC file", FROM_PYTHON),
            new Signature(0, "Obj\u0001", "an Avro file", FROM_PYTHON),
            new Signature(0, "\u0089HDF", "an HDF5 file", FROM_PYTHON),
            new Signature(0, "\u0093NUMPY", "a NumPy file", FROM_PYTHON),
            new Signature(0, "\u0080\u0002", "a Python pickle", FROM_PYTHON),
            new Signature(0, "\u0080\u0003", "a Python pickle", FROM_PYTHON),
            new Signature(0, "\u0080\u0004", "a Python pickle", FROM_PYTHON),
            new Signature(0, "\u0080\u0005", "a Python pickle", FROM_PYTHON),
            new Signature(0, "\u00d0\u00cf\u0011\u00e0", "an old Excel or Word file", "save it as CSV (UTF-8) in Excel or LibreOffice"),
            new Signature(0, "\u001f\u008b", "compressed with gzip", UNPACK + " (gunzip)"),
            new Signature(0, "BZh", "compressed with bzip2", UNPACK + " (bunzip2)"),
            new Signature(0, "\u00fd7zXZ", "compressed with xz", UNPACK + " (unxz)"),
            new Signature(0, "(\u00b5/\u00fd", "compressed with Zstandard", UNPACK + " (unzstd)"),
            new Signature(0, "\u0004\"M\u0018", "compressed with LZ4", UNPACK + " (unlz4)"),
            new Signature(0, "7z\u00bc\u00af", "a 7-Zip archive", UNPACK),
            new Signature(0, "Rar!", "a RAR archive", UNPACK),
            new Signature(257, "ustar", "a tar archive", UNPACK),
            new Signature(0, "SQLite format 3\u0000", "an SQLite database", EXPORT),
            new Signature(0, "%PDF", "a PDF", INTO_ROWS),
            new Signature(0, "{\\rtf", "an RTF document", "save it as plain text (CSV or JSON Lines)"),
            new Signature(0, "GGUF", "a model in GGUF, not data", "name a file of rows"),
            new Signature(0, "\u0089PNG", "a picture", "name a file of rows"),
            new Signature(0, "\u00ff\u00d8\u00ff", "a picture", "name a file of rows"),
            new Signature(0, "version https://git-lfs", "a pointer of Git LFS, not the data itself", "fetch the data with git lfs pull, or download it again"));

    private FileKind() {}

    /**
     * Why a file is not read, with the remedy; empty for what may be text.
     *
     * @param start its first bytes, {@link #BYTES} of them if there are as many
     */
    static Optional<String> notText(byte[] start) {
        String bytes = new String(start, StandardCharsets.ISO_8859_1);
        if (bytes.startsWith("PK\u0003\u0004")) {
            return Optional.of("is " + (bytes.contains("word/") || bytes.contains("opendocument.text") ? "a text document (Word, LibreOffice); " + INTO_ROWS
                    : bytes.contains("xl/") ? "an Excel file (xlsx); " + SAVE_THERE
                    : bytes.contains("[Content_Types].xml") ? "an Excel or Word file (xlsx, docx); " + SAVE_THERE
                    : bytes.contains("opendocument.spreadsheet") ? "a LibreOffice spreadsheet; " + SAVE_THERE : "a zip archive; " + UNPACK));
        }
        String text = bytes.stripLeading().toLowerCase(Locale.ROOT);
        if (text.startsWith("<!doctype") || text.startsWith("<html") || text.startsWith("<?xml")) {
            return Optional.of("is " + (text.startsWith("<?xml") ? "XML" : "a web page (was a download answered with an error?)") + ", not data; JSON Lines, JSON or CSV is needed");
        }
        return SIGNATURES.stream().filter(s -> bytes.startsWith(s.bytes, s.at)).findFirst()
                .map(s -> "is " + s.name + ", which is not read; " + s.remedy);
    }
}
