/* exp(-a b) sin(c + a d) + log(1 + a^2 + b^2) sqrt(1 + c d) + (a + c)^1.7 / (1 + exp(-d)) + cos(b c)
 * and its derivatives, at n points. */
#include <math.h>

void expression(long n, const double *restrict a, const double *restrict b,
                const double *restrict c, const double *restrict d, double *restrict value,
                double *restrict by_a, double *restrict by_b, double *restrict by_c,
                double *restrict by_d)
{
    for (long i = 0; i < n; i++) {
        const double decay = exp(-a[i] * b[i]), angle = c[i] + a[i] * d[i];
        const double wave = decay * sin(angle), turned = decay * cos(angle);
        const double square = 1 + a[i] * a[i] + b[i] * b[i], logarithm = log(square);
        const double root = sqrt(1 + c[i] * d[i]), sigmoid = 1 / (1 + exp(-d[i]));
        const double power = pow(a[i] + c[i], 0.7), sum = a[i] + c[i];
        const double steep = 1.7 * power * sigmoid, bend = 0.5 * logarithm / root;
        const double swing = sin(b[i] * c[i]), ring = 2 * root / square;
        value[i] = wave + logarithm * root + sum * power * sigmoid + cos(b[i] * c[i]);
        by_a[i] = -b[i] * wave + d[i] * turned + ring * a[i] + steep;
        by_b[i] = -a[i] * wave + ring * b[i] - c[i] * swing;
        by_c[i] = turned + bend * d[i] + steep - b[i] * swing;
        by_d[i] = a[i] * turned + bend * c[i] + sum * power * sigmoid * (1 - sigmoid);
    }
}
