package dev.panacea.examples;

import java.util.List;

/**
 * How a model does on the held-out data.
 *
 * @param answers to the questions of {@link RunData#questions}, in their order; one that ran out of tokens ends in [...]
 */
record Measurement(RunRecord.Score score, List<String> answers) {}
