package dev.panacea.jinja;

import java.math.BigDecimal;
import java.math.BigInteger;
import java.math.RoundingMode;

/** Python's arithmetic: integers without bounds (within reason), floats, and how they are written and read. */
final class Numbers {
    /** More than any template computes with; a product of two such numbers takes a moment. */
    private static final int MAX_BITS = 1 << 16;
    /** Python refuses to write or read longer ones. */
    private static final int MAX_DIGITS = 4300;

    private Numbers() {}

    static boolean isNumber(Object v) {
        return v instanceof Long || v instanceof Double || v instanceof Boolean || v instanceof BigInteger;
    }

    static boolean isInteger(Object v) {
        return v instanceof Long || v instanceof Boolean || v instanceof BigInteger;
    }

    static Object normal(BigInteger n) {
        if (n.bitLength() > MAX_BITS) {
            throw new JinjaException("an integer of more than " + MAX_BITS + " bits");
        }
        return n.bitLength() < Long.SIZE ? (Object) n.longValue() : n;
    }

    static BigInteger big(Object v) {
        return switch (v) {
            case Long n -> BigInteger.valueOf(n);
            case Boolean b -> b ? BigInteger.ONE : BigInteger.ZERO;
            default -> (BigInteger) v;
        };
    }

    static long clamp(BigInteger n) {
        return n.bitLength() < Long.SIZE ? n.longValue() : n.signum() < 0 ? Long.MIN_VALUE : Long.MAX_VALUE;
    }

    static double real(Object v) {
        return switch (v) {
            case Double d -> d;
            case Long n -> n;
            case Boolean b -> b ? 1 : 0;
            default -> {
                double d = ((BigInteger) v).doubleValue();
                if (Double.isInfinite(d)) {
                    throw new JinjaException("int too large to convert to float");
                }
                yield d;
            }
        };
    }

    /** An operation on two numbers. */
    static Object arithmetic(String operator, Object a, Object b) {
        if (a instanceof Double || b instanceof Double) {
            return real(operator, real(a), real(b));
        }
        if (a instanceof Long x && b instanceof Long y) {
            long high = Math.multiplyHigh(x, y);
            long sum = x + y;
            long difference = x - y;
            if (operator.equals("+") && ((x ^ sum) & (y ^ sum)) >= 0) {
                return sum;
            }
            if (operator.equals("-") && ((x ^ y) & (x ^ difference)) >= 0) {
                return difference;
            }
            if (operator.equals("*") && high == x * y >> 63) {
                return x * y;
            }
        }
        BigInteger x = big(a);
        BigInteger y = big(b);
        return switch (operator) {
            case "+" -> normal(x.add(y));
            case "-" -> normal(x.subtract(y));
            case "*" -> normal(x.multiply(y));
            case "/" -> divide(x, y);
            case "//" -> normal(floorDivide(x, y)[0]);
            case "%" -> normal(floorDivide(x, y)[1]);
            default -> power(x, y);
        };
    }

    private static Object divide(BigInteger x, BigInteger y) {
        if (y.signum() == 0) {
            throw new JinjaException("division by zero");
        }
        if (x.bitLength() <= 53 && y.bitLength() <= 53) {
            return x.doubleValue() / y.doubleValue();
        }
        double d = new BigDecimal(x).divide(new BigDecimal(y), new java.math.MathContext(60)).doubleValue();
        if (Double.isInfinite(d)) {
            throw new JinjaException("integer division result too large for a float");
        }
        return d;
    }

    private static BigInteger[] floorDivide(BigInteger x, BigInteger y) {
        if (y.signum() == 0) {
            throw new JinjaException("integer division or modulo by zero");
        }
        BigInteger[] parts = x.divideAndRemainder(y);
        if (parts[1].signum() != 0 && parts[1].signum() != y.signum()) {
            parts[0] = parts[0].subtract(BigInteger.ONE);
            parts[1] = parts[1].add(y);
        }
        return parts;
    }

    private static Object power(BigInteger x, BigInteger y) {
        if (y.signum() < 0) {
            return real("**", real(normal(x)), real(normal(y)));
        }
        if (x.bitLength() <= 1 && x.abs().compareTo(BigInteger.ONE) <= 0) {
            return normal(x.signum() >= 0 || !y.testBit(0) ? x.abs().pow(y.signum()) : x);
        }
        if (y.bitLength() > 31 || (long) x.bitLength() * y.longValue() > 2L * MAX_BITS) {
            throw new JinjaException("an integer of more than " + MAX_BITS + " bits");
        }
        return normal(x.pow(y.intValue()));
    }

    private static Object real(String operator, double x, double y) {
        switch (operator) {
            case "+" -> {
                return x + y;
            }
            case "-" -> {
                return x - y;
            }
            case "*" -> {
                return x * y;
            }
            case "**" -> {
                if (x == 0 && y < 0) {
                    throw new JinjaException("0.0 cannot be raised to a negative power");
                }
                if (x < 0 && y != Math.rint(y) && !Double.isInfinite(x) && !Double.isInfinite(y)) {
                    throw new JinjaException("a complex number, which chat templates do not have");
                }
                double power = x == 1 || y == 0 ? 1 : Math.abs(x) == 1 && Double.isInfinite(y) ? 1 : Math.pow(x, y);
                if (Double.isInfinite(power) && !Double.isInfinite(x) && !Double.isInfinite(y)) {
                    throw new JinjaException("Numerical result out of range");
                }
                return power;
            }
            default -> {
                if (y == 0) {
                    throw new JinjaException(operator.equals("/") ? "float division by zero" : "float floor division or modulo by zero");
                }
                if (operator.equals("/")) {
                    return x / y;
                }
                double rest = x % y;
                double whole = (x - rest) / y;
                if (rest == 0) {
                    rest = Math.copySign(0.0, y);
                } else if (rest < 0 != y < 0) {
                    rest += y;
                    whole -= 1;
                }
                if (operator.equals("%")) {
                    return rest;
                }
                if (whole == 0) {
                    return Math.copySign(0.0, x / y);
                }
                double floor = Math.floor(whole);
                return whole - floor > 0.5 ? floor + 1 : floor;
            }
        }
    }

    static Object negate(Object v) {
        return v instanceof Double d ? (Object) (-d) : normal(big(v).negate());
    }

    static int compare(Object a, Object b) {
        if (a instanceof Long x && b instanceof Long y) {
            return Long.compare(x, y);
        }
        if (isInteger(a) && isInteger(b)) {
            return big(a).compareTo(big(b));
        }
        if (a instanceof Double x && b instanceof Double y) {
            return x < y ? -1 : x > y ? 1 : 0;
        }
        double x = a instanceof Double d ? d : 0;
        double y = b instanceof Double d ? d : 0;
        if (Double.isInfinite(x) || Double.isInfinite(y)) {
            return Double.compare(x, y);
        }
        return exact(a).compareTo(exact(b));
    }

    private static BigDecimal exact(Object v) {
        return v instanceof Double d ? new BigDecimal(d) : new BigDecimal(big(v));
    }

    static boolean isNan(Object v) {
        return v instanceof Double d && d.isNaN();
    }

    /** A number as Python's {@code repr}. */
    static String text(Object number) {
        return switch (number) {
            case Long n -> Long.toString(n);
            case Boolean b -> b ? "True" : "False";
            case Double d -> realText(d);
            default -> {
                BigInteger n = (BigInteger) number;
                String digits = n.bitLength() > MAX_DIGITS * 4 ? "" : n.toString();
                if (digits.isEmpty() || digits.length() > MAX_DIGITS + (n.signum() < 0 ? 1 : 0)) {
                    throw new JinjaException("Exceeds the limit (" + MAX_DIGITS + " digits) for integer string conversion");
                }
                yield digits;
            }
        };
    }

    private static String realText(double d) {
        if (Double.isNaN(d)) {
            return "nan";
        }
        if (Double.isInfinite(d)) {
            return d > 0 ? "inf" : "-inf";
        }
        if (d == 0) {
            return 1 / d < 0 ? "-0.0" : "0.0";
        }
        // Java's shortest digits are Python's; the notation is not.
        BigDecimal shortest = new BigDecimal(Double.toString(Math.abs(d))).stripTrailingZeros();
        if (shortest.precision() == 2) {
            // Java writes two digits where one would do: 4.9E-324.
            BigDecimal single = shortest.round(new java.math.MathContext(1, RoundingMode.HALF_EVEN));
            shortest = single.doubleValue() == Math.abs(d) ? single.stripTrailingZeros() : shortest;
        }
        String digits = shortest.unscaledValue().toString();
        int exponent = digits.length() - shortest.scale() - 1;
        String sign = d < 0 ? "-" : "";
        if (exponent < -4 || exponent >= 16) {
            return sign + digits.charAt(0) + (digits.length() > 1 ? "." + digits.substring(1) : "") + "e" + exponent(exponent);
        }
        String plain = shortest.toPlainString();
        return sign + (plain.indexOf('.') < 0 ? plain + ".0" : plain);
    }

    /** The exponent of a number, with a sign and two digits or more. */
    static String exponent(int exponent) {
        return (exponent < 0 ? "-" : "+") + (Math.abs(exponent) < 10 ? "0" : "") + Math.abs(exponent);
    }

    /** Python's {@code int(text, base)}; null where the text is no integer. */
    static Object parseInteger(String text, int base) {
        if (base != 0 && (base < 2 || base > 36)) {
            return null;
        }
        String s = strip(text);
        boolean negative = s.startsWith("-");
        int i = negative || s.startsWith("+") ? 1 : 0;
        int prefix = s.length() > i + 1 && s.charAt(i) == '0' ? switch (Character.toLowerCase(s.charAt(i + 1))) {
            case 'x' -> 16;
            case 'o' -> 8;
            case 'b' -> 2;
            default -> 0;
        } : 0;
        boolean prefixed = prefix != 0 && (base == 0 || base == prefix);
        i += prefixed ? 2 : 0;
        int actual = base != 0 ? base : prefixed ? prefix : 10;
        if (prefixed && i < s.length() && s.charAt(i) == '_') {
            i++;
        }
        StringBuilder digits = new StringBuilder();
        for (int start = i; i < s.length(); i++) {
            char c = s.charAt(i);
            if (c == '_' && i > start && i + 1 < s.length() && s.charAt(i - 1) != '_') {
                continue;
            }
            int digit = Character.digit(c, actual);
            if (digit < 0) {
                return null;
            }
            digits.append(Character.forDigit(digit, actual));
        }
        if (digits.isEmpty() || digits.length() > MAX_DIGITS || base == 0 && !prefixed && digits.length() > 1 && digits.charAt(0) == '0'
                && !digits.chars().allMatch(c -> c == '0')) {
            return null;
        }
        BigInteger value = new BigInteger(digits.toString(), actual);
        return normal(negative ? value.negate() : value);
    }

    /** Python's {@code float(text)}; null where the text is no number. */
    static Double parseReal(String text) {
        String s = strip(text).toLowerCase(java.util.Locale.ROOT);
        String unsigned = s.startsWith("-") || s.startsWith("+") ? s.substring(1) : s;
        double sign = s.startsWith("-") ? -1 : 1;
        switch (unsigned) {
            case "inf", "infinity" -> {
                return sign * Double.POSITIVE_INFINITY;
            }
            case "nan" -> {
                return Double.NaN;
            }
            default -> { }
        }
        StringBuilder plain = new StringBuilder();
        for (int i = 0; i < unsigned.length(); i++) {
            char c = unsigned.charAt(i);
            int digit = Character.digit(c, 10);
            boolean between = i > 0 && i + 1 < unsigned.length() && Character.isDigit(unsigned.charAt(i - 1)) && Character.isDigit(unsigned.charAt(i + 1));
            if (digit >= 0) {
                plain.append((char) ('0' + digit));
            } else if (".e+-".indexOf(c) >= 0) {
                plain.append(c);
            } else if (c != '_' || !between) {
                return null;
            }
        }
        if (plain.isEmpty() || plain.length() > MAX_DIGITS || "+-e".indexOf(plain.charAt(0)) >= 0) {
            return null;
        }
        try {
            return sign * Double.parseDouble(plain.toString());
        } catch (NumberFormatException e) {
            return null;
        }
    }

    private static String strip(String s) {
        int start = 0;
        int end = s.length();
        while (start < end && PythonChars.isSpace(s.charAt(start))) {
            start++;
        }
        while (end > start && PythonChars.isSpace(s.charAt(end - 1))) {
            end--;
        }
        return s.substring(start, end);
    }

    /** A float cut to an integer. */
    static Object truncate(double d) {
        if (Double.isNaN(d) || Double.isInfinite(d)) {
            throw new JinjaException("cannot convert float " + (Double.isNaN(d) ? "NaN" : "infinity") + " to integer");
        }
        return normal(new BigDecimal(d).toBigInteger());
    }

    /** Python's {@code round(number, digits)}: half to even, of the exact value. */
    static Object round(Object number, long digits) {
        if (number instanceof Double d) {
            if (Double.isNaN(d) || Double.isInfinite(d) || digits > 330) {
                return d;
            }
            return digits < -330 ? Math.copySign(0.0, d)
                    : (Object) Math.copySign(new BigDecimal(d).setScale((int) digits, RoundingMode.HALF_EVEN).doubleValue(), d);
        }
        if (digits >= 0) {
            return normal(big(number));
        }
        return digits < -MAX_DIGITS ? 0L : normal(new BigDecimal(big(number)).setScale((int) digits, RoundingMode.HALF_EVEN).toBigInteger());
    }
}
