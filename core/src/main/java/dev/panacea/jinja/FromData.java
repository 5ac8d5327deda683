package dev.panacea.jinja;

/**
 * Marks a variable, or a part of one, as coming from outside the template: every string and key in it is data, and stays known as such through all that
 * the template does with it, up to {@link Rendering#data()}.
 *
 * @param value a JSON value: String, Boolean, Number, List, Map or null
 */
public record FromData(Object value) {}
