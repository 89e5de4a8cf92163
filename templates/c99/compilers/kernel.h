#if defined(__GNUC__) && !defined(__clang__) /* gcc -O3 would make, and compile, several versions of each loop */
#define SG_KERNEL __attribute__((noinline, optimize("O2,tree-vectorize")))
#else
#define SG_KERNEL SG_NOINLINE
#endif
