#include "proxy/base/ascii.h"

#include "proxy/base/block.h"

/* Of a character of a token its lower-case form; 0 of every other. */
static const char token_lower[256] = {
    ['!'] = '!', ['#'] = '#', ['$'] = '$', ['%'] = '%', ['&'] = '&', ['\''] = '\'', ['*'] = '*',
    ['+'] = '+', ['-'] = '-', ['.'] = '.', ['^'] = '^', ['_'] = '_', ['`'] = '`',   ['|'] = '|',
    ['~'] = '~', ['0'] = '0', ['1'] = '1', ['2'] = '2', ['3'] = '3', ['4'] = '4',   ['5'] = '5',
    ['6'] = '6', ['7'] = '7', ['8'] = '8', ['9'] = '9', ['A'] = 'a', ['B'] = 'b',   ['C'] = 'c',
    ['D'] = 'd', ['E'] = 'e', ['F'] = 'f', ['G'] = 'g', ['H'] = 'h', ['I'] = 'i',   ['J'] = 'j',
    ['K'] = 'k', ['L'] = 'l', ['M'] = 'm', ['N'] = 'n', ['O'] = 'o', ['P'] = 'p',   ['Q'] = 'q',
    ['R'] = 'r', ['S'] = 's', ['T'] = 't', ['U'] = 'u', ['V'] = 'v', ['W'] = 'w',   ['X'] = 'x',
    ['Y'] = 'y', ['Z'] = 'z', ['a'] = 'a', ['b'] = 'b', ['c'] = 'c', ['d'] = 'd',   ['e'] = 'e',
    ['f'] = 'f', ['g'] = 'g', ['h'] = 'h', ['i'] = 'i', ['j'] = 'j', ['k'] = 'k',   ['l'] = 'l',
    ['m'] = 'm', ['n'] = 'n', ['o'] = 'o', ['p'] = 'p', ['q'] = 'q', ['r'] = 'r',   ['s'] = 's',
    ['t'] = 't', ['u'] = 'u', ['v'] = 'v', ['w'] = 'w', ['x'] = 'x', ['y'] = 'y',   ['z'] = 'z',
};

size_t ascii_token_len(const char *text, size_t len)
{
    size_t at = 0;

    while (at < len && token_lower[(uint8_t)text[at]])
        at++;
    return at;
}

bool ascii_is_token(struct str text)
{
    return text.len > 0 && ascii_token_len(text.ptr, text.len) == text.len;
}

bool ascii_is_lower_token(struct str text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.ptr[i] != token_lower[(uint8_t)text.ptr[i]] || !text.ptr[i])
            return false;
    return text.len > 0;
}

/* Of sixteen bytes those before the first that is no letter, digit or hyphen, of which nearly all
 * names are made; they become lower case. */
static size_t lower_common(char *at)
{
    static const uint8_t before[2 * BLOCK_BYTES] = {255, 255, 255, 255, 255, 255, 255, 255,
                                                    255, 255, 255, 255, 255, 255, 255, 255};
    const block bytes = block_at(at), letters = block_from_to(bytes | 0x20, 'a', 'z');
    const block common = letters | block_from_to(bytes, '0', '9') | (block)(bytes == '-');
    const size_t n = block_first(~common);
    const block ours = block_at((const char *)before + BLOCK_BYTES - n);
    const block mixed = bytes | (letters & ours & 0x20);

    memcpy(at, &mixed, sizeof(mixed));
    return n;
}

size_t ascii_lower_token(char *text, size_t len)
{
    size_t at = 0;

    while (len - at >= BLOCK_BYTES) {
        const size_t n = lower_common(text + at);
        at += n;
        if (n < BLOCK_BYTES)
            break;
    }
    for (; at < len; at++) {
        const char lower = token_lower[(uint8_t)text[at]];
        if (!lower)
            break;
        text[at] = lower;
    }
    return at;
}

struct str ascii_lower_str(struct arena *arena, struct str text)
{
    char *lower = arena_alloc(arena, text.len + 1);

    for (size_t i = 0; i < text.len; i++)
        lower[i] = ascii_lower(text.ptr[i]);
    return str_of(lower, text.len);
}
