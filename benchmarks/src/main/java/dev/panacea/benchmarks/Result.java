package dev.panacea.benchmarks;

import com.fasterxml.jackson.annotation.JsonIgnore;
import com.fasterxml.jackson.annotation.JsonInclude;

/**
 * A measured row, by the names of the JSON file.
 *
 * @param value in {@code unit}; the median
 * @param shareOfCeiling of the ceiling measured around it; null where there is none
 * @param peer what {@code ratioToPeer} compares with; null where there is none
 * @param ratioToPeer above 1 where ours is faster
 * @param peakRssMb of the program, in MB (10⁶ bytes); null for kernels, which share one process
 * @param peakDeviceMb bytes of a GPU's memory that the program has taken, likewise; null for kernels, and not there for rows of a CPU
 * @param ceiling for the table: what kind, and how high
 */
record Result(String name, String shape, String tier, int threads, double value, String unit, Double shareOfCeiling, String peer, Double ratioToPeer, Double peakRssMb,
        @JsonInclude(JsonInclude.Include.NON_NULL) Double peakDeviceMb, @JsonIgnore String ceiling) {}
