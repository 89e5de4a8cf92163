#if defined(__GNUC__) && !defined(__clang__)
#if (__GNUC__ == 11 && __GNUC_MINOR__ < 5) || (__GNUC__ == 12 && __GNUC_MINOR__ < 4) || (__GNUC__ == 13 && __GNUC_MINOR__ < 2)
/* These add some elements twice where a loop without SG_SIMD adds those of a row in another order than memory has (gcc's bug 110381). */
#pragma GCC optimize("no-tree-loop-vectorize", "no-tree-loop-if-convert")
#endif
#endif
