/* Gradient of Rosenbrock's function of two variables. */
void rosenbrock(const double *restrict x, double *restrict gradient)
{
    const double rise = x[1] - x[0] * x[0];
    gradient[0] = -400 * rise * x[0] - 2 * (1 - x[0]);
    gradient[1] = 200 * rise;
}
