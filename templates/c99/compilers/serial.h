#if defined(__GNUC__) && !defined(__clang__) && \
    ((__GNUC__ == 11 && __GNUC_MINOR__ < 5) || (__GNUC__ == 12 && __GNUC_MINOR__ < 4) || (__GNUC__ == 13 && __GNUC_MINOR__ < 2))
#define SG_SERIAL __asm__ volatile(""); /* keeps these from vectors that add some elements twice: gcc's bug 110381 */
#else
#define SG_SERIAL
#endif
