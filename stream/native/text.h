// Text as JSON strings, and times.
#pragma once

#include "decimal.h"

namespace tidecast {

constexpr int LONGEST_ESCAPE = 6; // bytes that one byte of text may become
constexpr int LONGEST_TIME = 32;

// UTF-8 without the quotes around it; what must be escaped is.
inline char *put_escaped(char *out, const char *text, std::size_t size) {
    for (const char *end = text + size; text != end; ++text) {
        const auto byte = static_cast<unsigned char>(*text);
        if (byte >= 0x20 && byte != '"' && byte != '\\') {
            *out++ = *text;
            continue;
        }
        *out++ = '\\';
        switch (byte) {
        case '\b': *out++ = 'b'; break;
        case '\f': *out++ = 'f'; break;
        case '\n': *out++ = 'n'; break;
        case '\r': *out++ = 'r'; break;
        case '\t': *out++ = 't'; break;
        case '"':
        case '\\': *out++ = *text; break;
        default:
            out = put(out, "u00", 3);
            *out++ = "01"[byte >> 4];
            *out++ = "0123456789abcdef"[byte & 15];
        }
    }
    return out;
}

inline char *put_padded(char *out, unsigned number, int digits) {
    for (int at = digits; at-- > 0; number /= 10) out[at] = static_cast<char>('0' + number % 10);
    return out + digits;
}

// Microseconds since 1970, UTC, from then to the year 9999, as ISO 8601 without the zone; microseconds only where there are any.
// The days are turned into a date as in H. Hinnant, "chrono-compatible low-level date algorithms", civil_from_days.
inline char *put_time(char *out, std::int64_t time_us) {
    const std::int64_t seconds = time_us / 1'000'000, days = seconds / 86'400 + 719'468;
    const auto micros = static_cast<unsigned>(time_us % 1'000'000), second = static_cast<unsigned>(seconds % 86'400);
    const auto era = static_cast<unsigned>(days / 146'097), day_of_era = static_cast<unsigned>(days % 146'097);
    const unsigned year_of_era = (day_of_era - day_of_era / 1'460 + day_of_era / 36'524 - day_of_era / 146'096) / 365;
    const unsigned day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    const unsigned shifted = (5 * day_of_year + 2) / 153; // months from March on
    const unsigned month = shifted < 10 ? shifted + 3 : shifted - 9;
    out = put_padded(out, year_of_era + 400 * era + (month <= 2), 4);
    *out++ = '-';
    out = put_padded(out, month, 2);
    *out++ = '-';
    out = put_padded(out, day_of_year - (153 * shifted + 2) / 5 + 1, 2);
    *out++ = 'T';
    out = put_padded(out, second / 3'600, 2);
    *out++ = ':';
    out = put_padded(out, second / 60 % 60, 2);
    *out++ = ':';
    out = put_padded(out, second % 60, 2);
    if (!micros) return out;
    *out++ = '.';
    return put_padded(out, micros, 6);
}

} // namespace tidecast
