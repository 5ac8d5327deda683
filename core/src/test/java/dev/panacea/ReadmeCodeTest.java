package dev.panacea;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.io.StringWriter;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import javax.tools.JavaCompiler;
import javax.tools.JavaFileObject;
import javax.tools.SimpleJavaFileObject;
import javax.tools.ToolProvider;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The Java of the README compiles against the API as it is, so that a reader can copy it. */
class ReadmeCodeTest {
    private static final String IMPORTS = Stream.of("java.nio.file", "java.util", "dev.panacea.data", "dev.panacea.generate", "dev.panacea.io", "dev.panacea.kernels",
            "dev.panacea.llama", "dev.panacea.lora", "dev.panacea.text", "dev.panacea.train").map(p -> "import " + p + ".*;").collect(Collectors.joining());

    @Test
    void compiles(@TempDir Path classes) throws IOException {
        Matcher block = Pattern.compile("```java\n(.*?)```", Pattern.DOTALL).matcher(Files.readString(Path.of("../README.md")));
        assertThat(block.find()).isTrue();
        String source = IMPORTS + "class Readme { static void run() throws Exception {\n" + block.group(1) + "}}";
        JavaFileObject file = new SimpleJavaFileObject(URI.create("string:///Readme.java"), JavaFileObject.Kind.SOURCE) {
            @Override
            public CharSequence getCharContent(boolean ignoreEncodingErrors) {
                return source;
            }
        };
        JavaCompiler compiler = ToolProvider.getSystemJavaCompiler();
        StringWriter messages = new StringWriter();
        List<String> options = List.of("-cp", System.getProperty("java.class.path"), "-d", classes.toString(), "--release", "22");
        boolean compiled = compiler.getTask(messages, null, null, options, null, List.of(file)).call();
        assertThat(compiled).as(messages.toString()).isTrue();
    }
}
