/* sum_i 100 (x_{i+1} - x_i^2)^2 + (1 - x_i)^2 and its gradient. */
void rosenbrock_gradient(int n, const double *restrict x, double *restrict value,
                         double *restrict gradient)
{
    double total = 0;
    gradient[0] = 0;
    for (int i = 0; i < n - 1; i++) {
        const double rise = x[i + 1] - x[i] * x[i], rest = 1 - x[i];
        total += 100 * rise * rise + rest * rest;
        gradient[i] -= 400 * rise * x[i] + 2 * rest;
        gradient[i + 1] = 200 * rise;
    }
    *value = total;
}
