package dev.panacea.examples;

/** Entry of the program once a Java that can run it has been found; see {@link dev.panacea.launcher.Launcher}. */
public final class FinetuneMain {
    private FinetuneMain() {}

    public static void main(String[] args) {
        System.setErr(new HarmlessStream(System.err, System.err.charset()));
        System.exit(FinetuneCommand.run(Console.ofThisProcess(), args));
    }
}
