/* Mean logistic loss log(1 + exp(-y x.w)) over n points of d features, and its gradient in w. */
#include <math.h>

void logistic_gradient(int n, int d, const double *restrict w, const double *restrict X,
                       const double *restrict y, double *restrict value, double *restrict gradient)
{
    double total = 0;
    for (int j = 0; j < d; j++)
        gradient[j] = 0;
    for (int i = 0; i < n; i++) {
        const double *x = X + (long)i * d;
        double margin = 0, slope;
        for (int j = 0; j < d; j++)
            margin += x[j] * w[j];
        margin *= -y[i];
        total += margin > 0 ? margin + log1p(exp(-margin)) : log1p(exp(margin));
        slope = -y[i] / (1 + exp(-margin)) / n;
        for (int j = 0; j < d; j++)
            gradient[j] += slope * x[j];
    }
    *value = total / n;
}
