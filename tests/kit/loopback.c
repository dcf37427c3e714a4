/* 127, then 64 to 127 and two bytes more that hold the number of the process and, in the last two
 * bits, that of the address. */
#include "tests/kit/loopback.h"

#include <unistd.h>

#include "proxy/base/ensure.h"

struct ip loopback_own(unsigned n)
{
    const uint32_t pid = (uint32_t)getpid();
    const uint32_t low = (pid & 0x3fff) << 2 | n;

    ensure(n < LOOPBACK_OWN_MAX);
    return (struct ip){4,
                       {127, (uint8_t)(64 + (pid >> 14 & 63)), (uint8_t)(low >> 8), (uint8_t)low}};
}
