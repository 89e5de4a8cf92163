#if defined(__GNUC__)
#define SG_PREFETCH(place) __builtin_prefetch((place), 1)
#else
#define SG_PREFETCH(place) ((void)0)
#endif
