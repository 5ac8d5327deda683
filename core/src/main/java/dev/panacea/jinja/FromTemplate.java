package dev.panacea.jinja;

/**
 * A string within {@link FromData} that counts as the template's own all the same, such as a role of the few that every template knows.
 *
 * @param text the string
 */
public record FromTemplate(String text) {}
