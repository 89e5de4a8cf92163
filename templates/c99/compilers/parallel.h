#if defined(SG_THREADS) /* how many, for compilers with -fopenmp; the results do not depend on it */
#define SG_PARALLEL _Pragma("omp parallel for schedule(dynamic) num_threads(SG_THREADS)")
#else
#define SG_PARALLEL
#endif
