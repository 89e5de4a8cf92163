#if defined(__GNUC__) && !defined(__clang__)
#define SG_DESCENDING __asm__ volatile(""); /* keeps gcc from vectors of rows in falling order: it reads beyond the last, or wrong ones */
#else
#define SG_DESCENDING
#endif
