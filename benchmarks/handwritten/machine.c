/* What the machine can do: a chain of additions that take one cycle each, and reading memory. */
#include <stddef.h>
#include <stdint.h>

void machine(int64_t additions, const double *data, int64_t size, double *out)
{
    uint64_t chain = 1;
    double sums[16] = {0};
    for (int64_t k = 0; k < additions; k += 16) { /* so many that the loop itself takes no cycle */
        __asm__ volatile(".rept 16\n\tadd $1, %0\n\t.endr" : "+r"(chain));
    }
    for (int64_t k = 0; k + 16 <= size; k += 16) {
        for (int64_t i = 0; i < 16; ++i) {
            sums[i] += data[k + i];
        }
    }
    *out = (double)chain;
    for (int64_t i = 0; i < 16; ++i) {
        *out += sums[i];
    }
}
