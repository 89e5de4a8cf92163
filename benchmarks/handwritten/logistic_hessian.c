/* Hessian of the mean logistic loss: the lower half of sum_i p_i (1 - p_i) x_i x_i^T / n, mirrored. */
#include <math.h>

void logistic_hessian(int n, int d, const double *restrict w, const double *restrict X,
                      const double *restrict y, double *restrict hessian)
{
    for (int j = 0; j < d * d; j++)
        hessian[j] = 0;
    for (int i = 0; i < n; i++) {
        const double *x = X + (long)i * d;
        double margin = 0, p, weight;
        for (int j = 0; j < d; j++)
            margin += x[j] * w[j];
        p = 1 / (1 + exp(-y[i] * margin));
        weight = p * (1 - p) / n;
        for (int a = 0; a < d; a++) {
            const double scaled = weight * x[a];
            for (int b = 0; b <= a; b++)
                hessian[a * d + b] += scaled * x[b];
        }
    }
    for (int a = 0; a < d; a++)
        for (int b = 0; b < a; b++)
            hessian[b * d + a] = hessian[a * d + b];
}
