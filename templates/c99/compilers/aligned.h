#if defined(__GNUC__) && defined(__AVX__) /* gcc 12 relies on an alignment of arrays that it has not given them */
#define SG_ALIGNED __attribute__((aligned(64)))
#else
#define SG_ALIGNED
#endif
