#if defined(SG_VECTORIZE) /* for compilers with -fopenmp-simd */
#define SG_SIMD _Pragma("omp simd")
#else
#define SG_SIMD
#endif
