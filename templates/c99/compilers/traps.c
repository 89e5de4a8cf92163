/* Programs whose results are known and that some compiler, or some option, got wrong. The text of what generated files
 * begin with stands before this one. Returns 0, or which of them has another result here. */
#include <math.h>
#include <stddef.h>

#if defined(SG_VECTORIZE)
#define SG_SIMD _Pragma("omp simd")
#else
#define SG_SIMD
#endif
#if defined(SG_LIBMVEC)
extern double exp(double) __attribute__((simd("notinbranch")));
extern double asinh(double) __attribute__((simd("notinbranch")));
#endif
#if defined(__GNUC__)
#define SG_NOINLINE __attribute__((noinline))
#else
#define SG_NOINLINE
#endif

enum { n = 24 };
static volatile double one = 1.0; /* what compilers know nothing about */

static SG_NOINLINE double rows_backwards(const double *x)
{
    double s = 0.0;
    for (ptrdiff_t i = 0; i < 6; ++i) {
        for (ptrdiff_t j = 0; j < 4; ++j) {
            SG_SERIAL
            s += x[i * 4 + (3 - j)];
        }
    }
    return s;
}

static SG_NOINLINE double pairs_exchanged(const double *restrict x, const double *restrict y)
{
    double s = 0.0;
    for (ptrdiff_t i = 0; i < 12; ++i) {
        SG_SERIAL
        s += x[2 * i + 1] * y[2 * i + 1];
        s += x[2 * i] * y[2 * i];
    }
    return s;
}

static SG_NOINLINE double compensated(const double *x)
{
    double s = 0.0, c = 0.0;
    for (ptrdiff_t i = 0; i < n; ++i) {
        const double t = s + x[i];
        c += (s - (t - (t - s))) + (x[i] - (t - s));
        s = t;
    }
    return s + c;
}

static SG_NOINLINE double quotients(const double *x, double d)
{
    return (x[0] / d + x[1] / d) + (x[2] / d + x[3] / d);
}

static SG_NOINLINE void products_and_sums(double *restrict y, const double *restrict x, double z)
{
    SG_SIMD
    for (ptrdiff_t i = 0; i < n; ++i) {
        y[i] = x[i] * x[i] + z;
    }
}

static SG_NOINLINE void choices(double *restrict y, const double *restrict x)
{
    SG_SIMD
    for (ptrdiff_t i = 0; i < n; ++i) {
        y[i] = x[i] != x[i] ? 1.0 : isfinite(x[i]) ? 2.0 : 3.0;
    }
}

static SG_NOINLINE void small_arrays(double *restrict y, const double *restrict x)
{
    SG_ALIGNED double a[24];
    SG_ALIGNED double b[6];
    SG_ALIGNED double c[24];
    for (ptrdiff_t i = 0; i < n; ++i) {
        a[i] = x[i] - 0.5;
        b[i / 4] = x[i];
        c[i] = a[i];
    }
    for (ptrdiff_t i = 0; i < 2; ++i) {
        SG_SIMD
        for (ptrdiff_t j = 0; j < 12; ++j) {
            const double t = a[i * 12 + j];
            y[i * 12 + j] = asinh(exp(0.5 * t) + t) * t + (c[i * 12 + j] - t) + (b[i] - x[i * 4 + 3]);
        }
    }
}

static SG_NOINLINE void rows_with_their_reverse(double *restrict y, const double *restrict x)
{
    for (ptrdiff_t i = 0; i < 4; ++i) {
        for (ptrdiff_t j = 0; j < 6; ++j) {
            SG_DESCENDING
            y[i * 6 + j] = x[i * 6 + j] * x[i * 6 + (5 - j)];
        }
    }
}

#define SG_ROW(y, x, k) \
    y[6 * k] = x[7 * k] * x[6 * k]; \
    y[6 * k + 1] = x[7 * k] * x[6 * k + 1]; \
    y[6 * k + 2] = x[7 * k] * x[6 * k + 2]; \
    y[6 * k + 3] = x[7 * k] * x[6 * k + 3]; \
    y[6 * k + 4] = x[7 * k] * x[6 * k + 4]; \
    y[6 * k + 5] = x[7 * k] * x[6 * k + 5];

SG_STRAIGHT static SG_NOINLINE void rows_times_their_diagonal(double *restrict y, const double *restrict x)
{
    SG_ROW(y, x, 0)
    SG_ROW(y, x, 1)
    SG_ROW(y, x, 2)
    SG_ROW(y, x, 3)
    SG_ROW(y, x, 4)
    SG_ROW(y, x, 5)
}

static int differs(double got, double expected)
{
    return !(fabs(got - expected) <= 1e-13 * fabs(expected));
}

int main(void)
{
    double x[36], y[36];
    for (ptrdiff_t i = 0; i < n; ++i) {
        x[i] = one * (double)(i * 7 % 11);
    }
    double sum = 0.0, squares = 0.0;
    for (ptrdiff_t i = 0; i < n; ++i) { /* whole numbers: exact in any order */
        volatile const double next = x[i];
        sum = sum + next;
        squares = squares + next * next;
    }
    if (rows_backwards(x) != sum || pairs_exchanged(x, x) != squares) {
        return 1; /* sums in order */
    }
    small_arrays(y, x);
    for (ptrdiff_t i = 0; i < n; ++i) {
        volatile const double a = x[i] - 0.5;
        volatile const double e = exp(0.5 * a);
        if (differs(y[i], asinh(e + a) * a)) {
            return 2; /* functions of vectors */
        }
    }
    for (ptrdiff_t i = 0; i < n; ++i) {
        x[i] = one * 49.0;
    }
    if (quotients(x, one * 49.0) != 4.0) {
        return 3; /* quotients */
    }
    for (ptrdiff_t i = 0; i < n; ++i) {
        x[i] = one + 1.0 / 1073741824.0;
    }
    products_and_sums(y, x, -(one + 1.0 / 536870912.0));
    if (y[0] != 0.0 || y[n - 1] != 0.0) {
        return 4; /* products are rounded before they are added */
    }
    x[0] = one * 1e16;
    for (ptrdiff_t i = 1; i < n; ++i) {
        x[i] = one;
    }
    if (compensated(x) != 1e16 + 24.0) {
        return 5; /* what additions round away */
    }
    x[1] = one * 0.0;
    x[2] = x[1] / x[1];
    x[3] = one / x[1];
    choices(y, x);
    if (y[0] != 2.0 || y[2] != 1.0 || y[3] != 3.0) {
        return 6; /* infinity and NaN */
    }
    const double negative = -x[1];
    if (1.0 / (negative + 0.0) < 0.0 || 1.0 / negative > 0.0) {
        return 7; /* the sign of zero */
    }
    const double tiny = one * 2.2250738585072014e-308;
    if (tiny * (0.5 * one) == 0.0) {
        return 8; /* numbers below the least normal one */
    }
    for (ptrdiff_t i = 0; i < 36; ++i) {
        x[i] = one * (double)(i + 1);
    }
    rows_with_their_reverse(y, x);
    for (ptrdiff_t i = 0; i < n; ++i) {
        if (y[i] != (double)((i + 1) * (i / 6 * 6 + 6 - i % 6))) {
            return 9; /* elements of vectors */
        }
    }
    rows_times_their_diagonal(y, x);
    for (ptrdiff_t i = 0; i < 36; ++i) {
        if (y[i] != (double)((i + 1) * (i / 6 * 7 + 1))) {
            return 9;
        }
    }
    return 0;
}
