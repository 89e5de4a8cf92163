#if defined(__GNUC__) && !defined(__clang__)
#define SG_STRAIGHT __attribute__((optimize("no-tree-slp-vectorize"))) /* gcc 12 puts wrong elements into vectors of straight lines */
#else
#define SG_STRAIGHT
#endif
