/* One step of gradient descent for a network with one hidden ReLU layer and softmax cross-entropy:
 * h = max(X W1 + b1, 0), z = h W2 + b2, loss = mean_i (logsumexp(z_i) - z_i[label_i]).
 * New parameters go to the n... arrays. work holds batch (2 hidden + classes) numbers.
 */
#include <math.h>

/* C[n, m] += A[n, k] B[k, m] */
static void multiply(int n, int k, int m, const float *restrict A, const float *restrict B,
                     float *restrict C)
{
    for (int i = 0; i < n; i++)
        for (int l = 0; l < k; l++)
            for (int j = 0; j < m; j++)
                C[i * m + j] += A[i * k + l] * B[l * m + j];
}

/* C[k, m] += A[n, k]^T B[n, m] */
static void multiply_transposed(int n, int k, int m, const float *restrict A,
                                const float *restrict B, float *restrict C)
{
    for (int i = 0; i < n; i++)
        for (int l = 0; l < k; l++)
            for (int j = 0; j < m; j++)
                C[l * m + j] += A[i * k + l] * B[i * m + j];
}

void mlp(int batch, int inputs, int hidden, int classes, float rate, const float *restrict W1,
         const float *restrict b1, const float *restrict W2, const float *restrict b2,
         const float *restrict X, const int *restrict labels, float *restrict nW1,
         float *restrict nb1, float *restrict nW2, float *restrict nb2, float *restrict work)
{
    float *h = work, *dh = h + batch * hidden, *z = dh + batch * hidden;

    for (int i = 0; i < batch; i++)
        for (int j = 0; j < hidden; j++)
            h[i * hidden + j] = b1[j];
    multiply(batch, inputs, hidden, X, W1, h);
    for (int i = 0; i < batch * hidden; i++)
        h[i] = h[i] > 0 ? h[i] : 0;
    for (int i = 0; i < batch; i++)
        for (int j = 0; j < classes; j++)
            z[i * classes + j] = b2[j];
    multiply(batch, hidden, classes, h, W2, z);

    /* z becomes -rate d loss / d z */
    for (int i = 0; i < batch; i++) {
        float *row = z + i * classes, largest = row[0], sum = 0;
        for (int j = 1; j < classes; j++)
            largest = row[j] > largest ? row[j] : largest;
        for (int j = 0; j < classes; j++) {
            row[j] = expf(row[j] - largest);
            sum += row[j];
        }
        for (int j = 0; j < classes; j++)
            row[j] = -rate / batch * (row[j] / sum - (j == labels[i]));
    }
    for (int i = 0; i < batch; i++)
        for (int l = 0; l < hidden; l++) {
            float sum = 0;
            for (int j = 0; j < classes; j++)
                sum += z[i * classes + j] * W2[l * classes + j];
            dh[i * hidden + l] = h[i * hidden + l] > 0 ? sum : 0;
        }

    for (int j = 0; j < inputs * hidden; j++)
        nW1[j] = W1[j];
    for (int j = 0; j < hidden; j++)
        nb1[j] = b1[j];
    for (int j = 0; j < hidden * classes; j++)
        nW2[j] = W2[j];
    for (int j = 0; j < classes; j++)
        nb2[j] = b2[j];
    multiply_transposed(batch, hidden, classes, h, z, nW2);
    multiply_transposed(batch, inputs, hidden, X, dh, nW1);
    for (int i = 0; i < batch; i++) {
        for (int j = 0; j < hidden; j++)
            nb1[j] += dh[i * hidden + j];
        for (int j = 0; j < classes; j++)
            nb2[j] += z[i * classes + j];
    }
}
