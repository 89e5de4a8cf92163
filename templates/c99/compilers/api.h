#if defined(__GNUC__)
#define SG_API __attribute__((visibility("default")))
#define SG_NOINLINE __attribute__((noinline))
#else
#define SG_API
#define SG_NOINLINE
#endif
