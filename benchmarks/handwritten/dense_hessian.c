/* Hessian of mean_i (u_i - t_i)^2 / 2 in all parameters of u = v . tanh(x W + b) + c.
 *
 * Parameters: W (d x m), b (m), v (m), c; so that row d of W~ = (W; b) belongs to x_d = 1. With
 * h = tanh, s = 1 - h^2:  H = mean g g^T + (u - t) H_u,  g = (x_p v_j s_j, h_j, 1),
 * H_u: (pj, qj): -2 x_p x_q v_j h_j s_j,  (pj, v_j): x_p s_j, and zero elsewhere.
 * work holds P + 2 m + d + 1 numbers; P parameters.
 */
#include <math.h>

void dense_hessian(int n, int d, int m, const double *restrict params, const double *restrict X,
                   const double *restrict target, double *restrict hessian, double *restrict work)
{
    const int P = (d + 2) * m + 1, V = (d + 1) * m;
    const double *v = params + V;
    double *g = work, *h = g + P, *s = h + m, *x = s + m;

    for (int k = 0; k < P * P; k++)
        hessian[k] = 0;
    for (int i = 0; i < n; i++) {
        double u = params[P - 1], residual;
        for (int p = 0; p < d; p++)
            x[p] = X[i * d + p];
        x[d] = 1;
        for (int j = 0; j < m; j++)
            h[j] = 0;
        for (int p = 0; p <= d; p++)
            for (int j = 0; j < m; j++)
                h[j] += x[p] * params[p * m + j];
        for (int j = 0; j < m; j++) {
            h[j] = tanh(h[j]);
            s[j] = 1 - h[j] * h[j];
            u += v[j] * h[j];
            g[V + j] = h[j];
        }
        residual = (u - target[i]) / n;
        g[P - 1] = 1;
        for (int p = 0; p <= d; p++)
            for (int j = 0; j < m; j++)
                g[p * m + j] = x[p] * v[j] * s[j];
        for (int a = 0; a < P; a++) {
            const double scaled = g[a] / n;
            for (int b = 0; b <= a; b++)
                hessian[a * P + b] += scaled * g[b];
        }
        for (int p = 0; p <= d; p++)
            for (int j = 0; j < m; j++) {
                for (int q = 0; q <= p; q++)
                    hessian[(p * m + j) * P + q * m + j] -=
                        2 * residual * x[p] * x[q] * v[j] * h[j] * s[j];
                hessian[(V + j) * P + p * m + j] += residual * x[p] * s[j];
            }
    }
    for (int a = 0; a < P; a++)
        for (int b = 0; b < a; b++)
            hessian[b * P + a] = hessian[a * P + b];
}
