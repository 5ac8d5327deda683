package dev.panacea.text;

import dev.panacea.jinja.Rendering;
import java.util.List;

/** Guards what a rendering has from data: no control token is recognised there. */
final class DataGuard implements AddedTokens.Guard {
    private final List<Rendering.Range> data;

    DataGuard(Rendering rendering) {
        data = rendering.data();
    }

    @Override
    public boolean touches(int start, int end) {
        int i = firstEndingAfter(start);
        return i < data.size() && data.get(i).start() < end;
    }

    /** Where the first character from data stands that is not before this place, or the limit if there is none before that. */
    int firstFrom(int start, int limit) {
        int i = firstEndingAfter(start);
        return i < data.size() ? Math.min(limit, Math.max(start, data.get(i).start())) : limit;
    }

    private int firstEndingAfter(int place) {
        int low = 0;
        int high = data.size();
        while (low < high) {
            int middle = (low + high) >>> 1;
            if (data.get(middle).end() > place) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        return low;
    }
}
