package dev.panacea.jinja;

/**
 * Looks for a text in another, in time that grows with their lengths and not with the product: {@code String.indexOf} begins anew at every place, which takes
 * hours where a long text of one letter is searched for another one.
 */
final class Search {
    /** Up to here beginning anew costs little. */
    private static final int SHORT = 64;

    private final Budget budget;
    private final String wanted;
    /** By the number of characters found: how many of them are also the beginning of what is wanted. Null where that is short. */
    private final int[] again;

    Search(Budget budget, String wanted) {
        this.budget = budget;
        this.wanted = wanted;
        again = wanted.length() <= SHORT ? null : table();
    }

    private int[] table() {
        budget.memory(4L * wanted.length());
        budget.work(wanted.length());
        int[] table = new int[wanted.length() + 1];
        for (int i = 1, found = 0; i < wanted.length(); i++) {
            while (found > 0 && wanted.charAt(i) != wanted.charAt(found)) {
                found = table[found];
            }
            found += wanted.charAt(i) == wanted.charAt(found) ? 1 : 0;
            table[i + 1] = found;
        }
        return table;
    }

    /** The first place from here on, or -1; as {@code String.indexOf}. */
    int next(String text, int from) {
        return again == null ? text.indexOf(wanted, from) : scan(text, from, text.length(), false);
    }

    /** The last place up to here, or -1; as {@code String.lastIndexOf}. */
    int last(String text, int upTo) {
        if (again == null) {
            return text.lastIndexOf(wanted, upTo);
        }
        return scan(text, 0, (int) Math.min(text.length(), (long) upTo + wanted.length()), true);
    }

    private int scan(String text, int from, int to, boolean last) {
        int at = -1;
        int counted = from;
        for (int i = from, found = 0; i < to; i++) {
            while (found > 0 && (found == wanted.length() || text.charAt(i) != wanted.charAt(found))) {
                found = again[found];
            }
            found += text.charAt(i) == wanted.charAt(found) ? 1 : 0;
            if (found == wanted.length()) {
                at = i + 1 - found;
                if (!last) {
                    to = i + 1;
                }
            }
            if (i - counted == 1 << 12) {
                budget.work(i - counted);
                counted = i;
            }
        }
        return at;
    }
}
