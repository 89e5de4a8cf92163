#if defined(SG_VECTORIZE) && defined(__GNUC__) /* or compilers choose which loops have the functions of vectors */
#define SG_SCALAR __asm__ volatile("");
#else
#define SG_SCALAR
#endif
