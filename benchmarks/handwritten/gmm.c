/* Log-likelihood of a Gaussian mixture with a Wishart prior, and its gradient, point by point.
 *
 * Component k has weight softmax(alphas)_k, mean mu_k and inverse covariance Q_k^T Q_k. Q_k is lower
 * triangular: icf_k holds the logarithms of its diagonal, then its columns below the diagonal.
 *
 *   e_ik = alphas_k + sum_d log Q_kdd - |z_ik|^2 / 2,   z_ik = Q_k (x_i - mu_k)
 *   value = sum_i logsumexp_k e_ik - n logsumexp(alphas) + gamma^2 |Q|^2 / 2 - m log det Q + constant
 *
 * With r_ik = softmax_k(e_ik): d value / d mu_k = sum_i r_ik Q_k^T z_ik and
 * d value / d Q_k = -sum_i r_ik z_ik (x_i - mu_k)^T.
 * work holds K (3 D + 2) numbers.
 */
#include <math.h>

void gmm(int n, int D, int K, const double *restrict alphas, const double *restrict means,
         const double *restrict icf, const double *restrict X, double gamma, double m,
         double constant, double *restrict value, double *restrict d_alphas,
         double *restrict d_means, double *restrict d_icf, double *restrict work)
{
    const int P = D * (D + 1) / 2;
    double *diagonal = work, *centred = work + K * D, *z = work + 2 * K * D;
    double *base = work + 3 * K * D, *e = base + K;
    double total = constant, largest, sum;

    for (int k = 0; k < K; k++) {
        base[k] = alphas[k];
        d_alphas[k] = 0;
        for (int d = 0; d < D; d++) {
            base[k] += icf[k * P + d];
            diagonal[k * D + d] = exp(icf[k * P + d]);
            d_means[k * D + d] = 0;
        }
        for (int p = 0; p < P; p++)
            d_icf[k * P + p] = 0;
    }

    for (int i = 0; i < n; i++) {
        const double *x = X + (long)i * D;
        largest = -INFINITY;
        for (int k = 0; k < K; k++) {
            const double *low = icf + k * P + D;
            double *c = centred + k * D, *zk = z + k * D, square = 0;
            for (int d = 0; d < D; d++) {
                c[d] = x[d] - means[k * D + d];
                zk[d] = diagonal[k * D + d] * c[d];
            }
            for (int b = 0; b < D; b++)
                for (int a = b + 1; a < D; a++)
                    zk[a] += *low++ * c[b];
            for (int d = 0; d < D; d++)
                square += zk[d] * zk[d];
            e[k] = base[k] - 0.5 * square;
            if (e[k] > largest)
                largest = e[k];
        }
        sum = 0;
        for (int k = 0; k < K; k++) {
            e[k] = exp(e[k] - largest);
            sum += e[k];
        }
        total += largest + log(sum);
        for (int k = 0; k < K; k++) {
            const double r = e[k] / sum, *low = icf + k * P + D;
            const double *c = centred + k * D;
            double *zk = z + k * D, *d_mean = d_means + k * D;
            double *d_log = d_icf + k * P, *d_low = d_icf + k * P + D;
            d_alphas[k] += r;
            for (int d = 0; d < D; d++) {
                zk[d] *= r;
                d_mean[d] += diagonal[k * D + d] * zk[d];
                d_log[d] += r - zk[d] * c[d] * diagonal[k * D + d];
            }
            for (int b = 0; b < D; b++) {
                double back = 0;
                for (int a = b + 1; a < D; a++) {
                    back += *low++ * zk[a];
                    *d_low++ -= zk[a] * c[b];
                }
                d_mean[b] += back;
            }
        }
    }

    largest = -INFINITY;
    sum = 0;
    for (int k = 0; k < K; k++)
        if (alphas[k] > largest)
            largest = alphas[k];
    for (int k = 0; k < K; k++)
        sum += exp(alphas[k] - largest);
    total -= n * (largest + log(sum));
    for (int k = 0; k < K; k++) {
        d_alphas[k] -= n * exp(alphas[k] - largest) / sum;
        for (int d = 0; d < D; d++) {
            const double q = diagonal[k * D + d];
            total += 0.5 * gamma * gamma * q * q - m * icf[k * P + d];
            d_icf[k * P + d] += gamma * gamma * q * q - m;
        }
        for (int p = D; p < P; p++) {
            total += 0.5 * gamma * gamma * icf[k * P + p] * icf[k * P + p];
            d_icf[k * P + p] += gamma * gamma * icf[k * P + p];
        }
    }
    *value = total;
}
