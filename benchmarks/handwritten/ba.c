/* Bundle adjustment: the 2 x 15 Jacobian of every reprojection error, one observation after another.
 *
 * camera: rotation vector r (3), centre C (3), focal length f, principal point x0 (2), distortion
 * k (2).  q = R(r) (X - C),  p = (q0, q1) / q2,  s = |p|^2,  L = 1 + k1 s + k2 s^2,
 * error = w (f L p + x0 - feature).
 * With v = r / t, t = |r|:  R x = x cos t + (v x x) sin t + v (v.x) (1 - cos t).
 * Results per observation: by camera (2 x 11), by point (2 x 3), by weight (2).
 */
#include <math.h>

static void cross(const double *a, const double *b, double *result)
{
    result[0] = a[1] * b[2] - a[2] * b[1];
    result[1] = a[2] * b[0] - a[0] * b[2];
    result[2] = a[0] * b[1] - a[1] * b[0];
}

static double dot(const double *a, const double *b)
{
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

/* q = R(r) x, its derivatives by_r[i][j] = d q_i / d r_j, and R itself. */
static void rotate(const double *r, const double *x, double *q, double by_r[3][3], double R[3][3])
{
    const double square = dot(r, r);
    if (square > 0) {
        const double t = sqrt(square), c = cos(t), s = sin(t);
        const double v[3] = {r[0] / t, r[1] / t, r[2] / t};
        const double along = dot(v, x);
        double vx[3];
        cross(v, x, vx);
        for (int i = 0; i < 3; i++)
            q[i] = x[i] * c + vx[i] * s + v[i] * along * (1 - c);
        for (int j = 0; j < 3; j++) {
            double dv[3], dvx[3], d_along;
            for (int i = 0; i < 3; i++)
                dv[i] = ((i == j) - v[i] * v[j]) / t;
            cross(dv, x, dvx);
            d_along = dot(dv, x);
            for (int i = 0; i < 3; i++)
                by_r[i][j] = v[j] * (-x[i] * s + vx[i] * c + v[i] * along * s) + dvx[i] * s
                             + (dv[i] * along + v[i] * d_along) * (1 - c);
        }
        for (int i = 0; i < 3; i++)
            for (int j = 0; j < 3; j++)
                R[i][j] = (i == j) * c + v[i] * v[j] * (1 - c);
        R[0][1] -= v[2] * s; R[0][2] += v[1] * s; R[1][0] += v[2] * s;
        R[1][2] -= v[0] * s; R[2][0] -= v[1] * s; R[2][1] += v[0] * s;
    } else {
        for (int i = 0; i < 3; i++) {
            q[i] = x[i];
            for (int j = 0; j < 3; j++)
                R[i][j] = i == j;
        }
        by_r[0][0] = 0; by_r[0][1] = x[2]; by_r[0][2] = -x[1];
        by_r[1][0] = -x[2]; by_r[1][1] = 0; by_r[1][2] = x[0];
        by_r[2][0] = x[1]; by_r[2][1] = -x[0]; by_r[2][2] = 0;
    }
}

void ba(int n, const double *restrict cameras, const double *restrict points,
        const double *restrict weights, const double *restrict features,
        const int *restrict camera_index, const int *restrict point_index,
        double *restrict by_camera, double *restrict by_point, double *restrict by_weight)
{
    for (int o = 0; o < n; o++) {
        const double *camera = cameras + 11 * camera_index[o], *X = points + 3 * point_index[o];
        const double *C = camera + 3, f = camera[6], *x0 = camera + 7, *k = camera + 9;
        const double w = weights[o];
        const double x[3] = {X[0] - C[0], X[1] - C[1], X[2] - C[2]};
        double q[3], by_r[3][3], R[3][3];
        double *dc = by_camera + 22 * (long)o, *dp = by_point + 6 * (long)o;
        rotate(camera, x, q, by_r, R);
        const double p[2] = {q[0] / q[2], q[1] / q[2]};
        const double s = p[0] * p[0] + p[1] * p[1], L = 1 + s * (k[0] + s * k[1]);
        const double slope = 2 * (k[0] + 2 * s * k[1]);
        for (int i = 0; i < 2; i++) {
            double by_q[3]; /* of w f L p_i */
            const double to_p[2] = {w * f * (slope * p[0] * p[i] + (i == 0) * L),
                                    w * f * (slope * p[1] * p[i] + (i == 1) * L)};
            by_q[0] = to_p[0] / q[2];
            by_q[1] = to_p[1] / q[2];
            by_q[2] = -(to_p[0] * p[0] + to_p[1] * p[1]) / q[2];
            for (int j = 0; j < 3; j++) {
                dc[11 * i + j] = by_q[0] * by_r[0][j] + by_q[1] * by_r[1][j] + by_q[2] * by_r[2][j];
                dp[3 * i + j] = by_q[0] * R[0][j] + by_q[1] * R[1][j] + by_q[2] * R[2][j];
                dc[11 * i + 3 + j] = -dp[3 * i + j];
            }
            dc[11 * i + 6] = w * L * p[i];
            dc[11 * i + 7] = (i == 0) * w;
            dc[11 * i + 8] = (i == 1) * w;
            dc[11 * i + 9] = w * f * s * p[i];
            dc[11 * i + 10] = w * f * s * s * p[i];
            by_weight[2 * (long)o + i] = f * L * p[i] + x0[i] - features[2 * (long)o + i];
        }
    }
}
