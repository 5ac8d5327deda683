package dev.panacea.eval;

import dev.panacea.kernels.PanaceaException;
import java.util.List;

/** The common check of what BLEU and chrF are given. */
final class References {
    private References() {
    }

    /** Each stream of references must have a reference for each hypothesis; a missing one would silently shift or drop the rest. */
    static void check(List<String> hypotheses, List<List<String>> references) {
        if (hypotheses.isEmpty()) {
            throw new PanaceaException("There is no hypothesis to score: give at least one");
        }
        if (references.isEmpty()) {
            throw new PanaceaException("There are no references to score against: give at least one list of them");
        }
        for (int k = 0; k < references.size(); k++) {
            if (references.get(k).size() != hypotheses.size()) {
                throw new PanaceaException("Reference list " + (k + 1) + " has " + references.get(k).size() + " texts for " + hypotheses.size()
                        + " hypotheses: each list of references must have one text per hypothesis");
            }
        }
    }

    /** The references of one hypothesis as streams of length one. */
    static List<List<String>> ofOne(List<String> references) {
        return references.stream().map(List::of).toList();
    }
}
