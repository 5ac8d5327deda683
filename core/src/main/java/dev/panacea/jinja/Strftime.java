package dev.panacea.jinja;

import java.time.Clock;
import java.time.DayOfWeek;
import java.time.LocalDateTime;
import java.time.ZoneId;
import java.time.format.TextStyle;
import java.time.temporal.ChronoUnit;
import java.time.temporal.IsoFields;
import java.util.Locale;

/** {@code datetime.now().strftime(format)}, in English, as glibc has it: local time, which knows no zone. */
final class Strftime {
    /** Wider than any date is written. */
    private static final int MAX_WIDTH = 1000;

    private Strftime() {}

    static Str format(Budget budget, Str format, Clock clock) {
        LocalDateTime now = LocalDateTime.now(clock);
        TextBuilder out = new TextBuilder(budget);
        String f = format.text;
        int i = 0;
        while (i < f.length()) {
            int percent = f.indexOf('%', i);
            if (percent < 0 || percent + 1 == f.length()) {
                break;
            }
            out.append(format, i, percent);
            int at = percent + 1;
            char pad = 0;
            boolean upper = false;
            boolean swap = false;
            for (; at < f.length() && "_-0^#".indexOf(f.charAt(at)) >= 0; at++) {
                char flag = f.charAt(at);
                upper |= flag == '^';
                swap |= flag == '#';
                pad = flag == '^' || flag == '#' ? pad : flag;
            }
            int width = 0;
            for (; at < f.length() && f.charAt(at) >= '0' && f.charAt(at) <= '9'; at++) {
                width = Math.min(MAX_WIDTH, width * 10 + f.charAt(at) - '0');
            }
            String text = at < f.length() ? field(f.charAt(at), pad, width, now, clock.getZone()) : null;
            if (text == null) {
                i = Math.min(f.length(), at + 1);
                out.append(format, percent, i);
                continue;
            }
            char directive = f.charAt(at);
            if (upper || swap && "aAbBh".indexOf(directive) >= 0) {
                text = text.toUpperCase(Locale.ROOT);
            } else if (swap && directive == 'p') {
                text = text.toLowerCase(Locale.ROOT);
            }
            if (text.length() < width) {
                text = (pad == '0' ? "0" : " ").repeat(width - text.length()) + text;
            }
            out.append(text, format.mark(percent));
            i = at + 1;
        }
        return out.append(format, i, f.length()).toStr();
    }

    private static String field(char directive, char pad, int width, LocalDateTime t, ZoneId zone) {
        int week = t.getDayOfWeek().getValue() % 7;
        int hour12 = (t.getHour() + 11) % 12 + 1;
        return switch (directive) {
            case 'a' -> t.getDayOfWeek().getDisplayName(TextStyle.SHORT, Locale.ENGLISH);
            case 'A' -> t.getDayOfWeek().getDisplayName(TextStyle.FULL, Locale.ENGLISH);
            case 'b', 'h' -> t.getMonth().getDisplayName(TextStyle.SHORT, Locale.ENGLISH);
            case 'B' -> t.getMonth().getDisplayName(TextStyle.FULL, Locale.ENGLISH);
            case 'c' -> all("a b e H:M:S Y", t, zone);
            case 'C' -> number(t.getYear() / 100, 2, '0', pad, width);
            case 'd' -> number(t.getDayOfMonth(), 2, '0', pad, width);
            case 'D', 'x' -> all("m/d/y", t, zone);
            case 'e' -> number(t.getDayOfMonth(), 2, '_', pad, width);
            case 'f' -> number(t.getNano() / 1000, 6, '0', (char) 0, 0);
            case 'F' -> all("Y-m-d", t, zone);
            case 'g' -> number(t.get(IsoFields.WEEK_BASED_YEAR) % 100, 2, '0', pad, width);
            case 'G' -> number(t.get(IsoFields.WEEK_BASED_YEAR), 1, '0', pad, width);
            case 'H' -> number(t.getHour(), 2, '0', pad, width);
            case 'I' -> number(hour12, 2, '0', pad, width);
            case 'j' -> number(t.getDayOfYear(), 3, '0', pad, width);
            case 'k' -> number(t.getHour(), 2, '_', pad, width);
            case 'l' -> number(hour12, 2, '_', pad, width);
            case 'm' -> number(t.getMonthValue(), 2, '0', pad, width);
            case 'M' -> number(t.getMinute(), 2, '0', pad, width);
            case 'n' -> "\n";
            case 'p' -> t.getHour() < 12 ? "AM" : "PM";
            case 'P' -> t.getHour() < 12 ? "am" : "pm";
            case 'r' -> all("I:M:S p", t, zone);
            case 'R' -> all("H:M", t, zone);
            case 's' -> String.valueOf(t.atZone(zone).toEpochSecond());
            case 'S' -> number(t.getSecond(), 2, '0', pad, width);
            case 't' -> "\t";
            case 'T', 'X' -> all("H:M:S", t, zone);
            case 'u' -> number(t.getDayOfWeek().getValue(), 1, '0', pad, width);
            case 'U' -> number((int) weeks(t, DayOfWeek.SUNDAY), 2, '0', pad, width);
            case 'V' -> number(t.get(IsoFields.WEEK_OF_WEEK_BASED_YEAR), 2, '0', pad, width);
            case 'w' -> number(week, 1, '0', pad, width);
            case 'W' -> number((int) weeks(t, DayOfWeek.MONDAY), 2, '0', pad, width);
            case 'y' -> number(t.getYear() % 100, 2, '0', pad, width);
            case 'Y' -> number(t.getYear(), 1, '0', pad, width);
            case 'z', 'Z' -> "";
            case '%' -> "%";
            default -> null;
        };
    }

    /** Several fields, with what stands between them. */
    private static String all(String fields, LocalDateTime t, ZoneId zone) {
        StringBuilder out = new StringBuilder();
        for (char c : fields.toCharArray()) {
            out.append(Character.isLetter(c) ? field(c, (char) 0, 0, t, zone) : String.valueOf(c));
        }
        return out.toString();
    }

    private static long weeks(LocalDateTime t, DayOfWeek first) {
        int sinceFirst = (t.getDayOfWeek().getValue() - first.getValue() + 7) % 7;
        long days = ChronoUnit.DAYS.between(t.toLocalDate().withDayOfYear(1), t.toLocalDate());
        return (days + 7 - sinceFirst) / 7;
    }

    private static String number(int value, int digits, char standard, char flag, int width) {
        String text = String.valueOf(value);
        char pad = flag == 0 ? standard : flag;
        int missing = pad == '-' ? 0 : Math.max(digits, width) - text.length();
        return missing <= 0 ? text : (pad == '_' ? " " : "0").repeat(missing) + text;
    }
}
