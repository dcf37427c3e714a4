#include "proxy/base/ascii.h"

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

bool ascii_is_token(struct str text)
{
    for (size_t i = 0; i < text.len; i++)
        if (!token_lower[(uint8_t)text.ptr[i]])
            return false;
    return text.len > 0;
}

bool ascii_is_lower_token(struct str text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.ptr[i] != token_lower[(uint8_t)text.ptr[i]] || !text.ptr[i])
            return false;
    return text.len > 0;
}

size_t ascii_lower_token(char *text, size_t len)
{
    size_t at;

    for (at = 0; at < len; at++) {
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
