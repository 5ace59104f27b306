// Numbers as decimal text, in the shortest form that reads back as the same number and that JSON allows.
#pragma once

#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace tidecast {

constexpr int LONGEST_NUMBER = 32; // bytes that a number takes at most
constexpr double POWERS[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                             1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
constexpr int MOST_DECIMALS = 22; // the largest power of ten that a double holds exactly
constexpr double LARGEST = 1e15;  // below it, a double holds every integer and is the nearest to its own 15 digits

inline char *put(char *out, const char *text, std::size_t size) {
    std::memcpy(out, text, size);
    return out + size;
}

inline char *put_integer(char *out, std::int64_t number) { return std::to_chars(out, out + 20, number).ptr; }

// The number 0.DIGITS times ten to the power of `point`; digits do not end in 0.
inline char *put_digits(char *out, const char *digits, int count, int point) {
    if (0 < point && point <= 16) {
        if (count <= point) {
            out = put(out, digits, count);
            std::memset(out, '0', point - count);
            return put(out + point - count, ".0", 2);
        }
        out = put(out, digits, point);
        *out++ = '.';
        return put(out, digits + point, count - point);
    }
    if (-5 < point && point <= 0) {
        out = put(out, "0.", 2);
        std::memset(out, '0', -point);
        return put(out - point, digits, count);
    }
    *out++ = digits[0];
    if (count > 1) {
        *out++ = '.';
        out = put(out, digits + 1, count - 1);
    }
    *out++ = 'e';
    return put_integer(out, point - 1);
}

// The fewest digits that read back as the same double (Adams 2018, as the standard library has it).
inline char *put_shortest(char *out, double number) {
    if (std::signbit(number)) *out++ = '-', number = -number;
    if (number == 0.0) return put(out, "0.0", 3);
    char text[LONGEST_NUMBER];
    const char *end = std::to_chars(text, text + sizeof text, number, std::chars_format::scientific).ptr;
    char digits[LONGEST_NUMBER];
    int count = 0;
    const char *at = text;
    for (; *at != 'e'; ++at)
        if (*at != '.') digits[count++] = *at;
    while (count > 1 && digits[count - 1] == '0') --count;
    ++at;
    if (*at == '+') ++at; // from_chars knows no plus
    int exponent = 0;
    std::from_chars(at, end, exponent);
    return put_digits(out, digits, count, exponent + 1);
}

inline constexpr char PAIRS[] = "00010203040506070809101112131415161718192021222324252627282930313233343536373839404142434445464748495051"
                                "52535455565758596061626364656667686970717273747576777879808182838485868788899091929394959697989"
                                "9";

// `scaled`, below 10**16, over ten to the power of `decimals`, at most 15, for a result from 1e-5 on: nearly all that are written. Copies
// have fixed sizes, longer than needed, as those take two instructions.
inline char *put_plain(char *out, std::uint64_t scaled, int decimals) {
    while (decimals > 0 && scaled % 10 == 0) scaled /= 10, --decimals;
    char digits[32];
    std::memset(digits, '0', sizeof digits);
    char *at = digits + 24;
    for (; scaled > UINT32_MAX; scaled /= 100) std::memcpy(at -= 2, PAIRS + 2 * (scaled % 100), 2);
    auto rest = static_cast<std::uint32_t>(scaled);
    for (; rest >= 10; rest /= 100) std::memcpy(at -= 2, PAIRS + 2 * (rest % 100), 2);
    if (rest > 0) *--at = static_cast<char>('0' + rest);
    // At least one digit stands before the point; those to its left are still zeros.
    if (digits + 24 - at <= decimals) at = digits + 23 - decimals;
    const auto whole = digits + 24 - at - decimals;
    std::memcpy(out, at, 16);
    out[whole] = '.';
    if (decimals == 0) {
        out[whole + 1] = '0';
        return out + whole + 2;
    }
    std::memcpy(out + whole + 1, at + whole, 16);
    return out + whole + 1 + decimals;
}

// `number` to so many decimals, or in full (-1, or where 15 digits do not hold it).
inline char *put_rounded(char *out, double number, int decimals) {
    const double shifted = decimals < 0 ? LARGEST : number * POWERS[decimals];
    if (!(std::fabs(shifted) < LARGEST)) return put_shortest(out, number);
    std::int64_t scaled = std::llrint(shifted);
    if (scaled == 0) return put(out, "0.0", 3);
    if (scaled < 0) *out++ = '-', scaled = -scaled;
    if (decimals <= 5 || (decimals <= 15 && static_cast<double>(scaled) >= POWERS[decimals - 5]))
        return put_plain(out, static_cast<std::uint64_t>(scaled), decimals);
    char digits[20];
    int count = static_cast<int>(std::to_chars(digits, digits + 20, scaled).ptr - digits);
    const int point = count - decimals;
    while (digits[count - 1] == '0') --count;
    return put_digits(out, digits, count, point);
}

} // namespace tidecast
