#if defined(SG_THREADS) && defined(_OPENMP) /* a loop whose threads have arrays in `work`, room for so many */
int omp_get_thread_num(void);
#define SG_PRAGMA(text) _Pragma(#text)
#define SG_TEAM(most) SG_PRAGMA(omp parallel for schedule(dynamic) num_threads(SG_THREADS < most ? SG_THREADS : most))
#define SG_TEAM_IN_ORDER(most) SG_PRAGMA(omp parallel for ordered schedule(dynamic) num_threads(SG_THREADS < most ? SG_THREADS : most))
#define SG_IN_ORDER _Pragma("omp ordered")
#define SG_MEMBER omp_get_thread_num()
#else
#define SG_TEAM(most)
#define SG_TEAM_IN_ORDER(most)
#define SG_IN_ORDER
#define SG_MEMBER 0
#endif
