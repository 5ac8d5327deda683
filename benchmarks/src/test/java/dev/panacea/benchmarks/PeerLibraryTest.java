package dev.panacea.benchmarks;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeFalse;

import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

class PeerLibraryTest {
    /** The first build leaves 215 MB out; who measures is told how to have them. */
    @Test
    void withoutLibtorchItSaysHowToGetIt() {
        assumeFalse(isThere(), "built with libtorch: TorchTest covers that");
        List<String> messages = new ArrayList<>();
        assertThat(PeerLibrary.load(1, messages::add)).isEmpty();
        assertThat(messages).singleElement().asString().contains("built without libtorch", "-Plibtorch");
    }

    private static boolean isThere() {
        try {
            Class.forName(PeerLibrary.LIBTORCH, false, PeerLibraryTest.class.getClassLoader());
            return true;
        } catch (ClassNotFoundException e) {
            return false;
        }
    }
}
