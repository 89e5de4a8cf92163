/* Hessian of sum_i 100 (x_{i+1} - x_i^2)^2 + (1 - x_i)^2: its diagonal (n) and the one above (n-1). */
void rosenbrock_hessian(int n, const double *restrict x, double *restrict diagonal,
                        double *restrict above)
{
    diagonal[0] = 0;
    for (int i = 0; i < n - 1; i++) {
        diagonal[i] += 1200 * x[i] * x[i] - 400 * x[i + 1] + 2;
        diagonal[i + 1] = 200;
        above[i] = -400 * x[i];
    }
}
