// linear.inc.h: the plain linear layer and its two gradients, W[N, K]:
//   pan_linear              y[M, N]  (+)= x[M, K] W^T     few rows: gemv.inc.h; else a product with W read by columns
//   pan_linear_input_grad   dx[M, K] (+)= dy[M, N] W      a product with W read by rows
//   pan_linear_weight_grad  dw[N, K]  +=  dy^T x          a product with x read by rows and dy packed transposed; f32
// Sums are f32 throughout and rounded once (gemm.inc.h).

static int32_t linear(pan_context *ctx, const pan_weight *w, const void *x, int32_t xtype, int64_t m, void *y, int32_t ytype, int32_t accumulate) {
  if (m <= kFewRows) {
    FewRows f = {};
    f.ctx = ctx, f.w = w, f.x = x, f.xtype = xtype, f.m = m, f.y = y, f.ytype = ytype, f.accumulate = accumulate;
    return few_rows(f);
  }
  Product p = {};
  p.ctx = ctx, p.x = x, p.xtype = xtype, p.x_cols = w->cols;
  p.w = w, p.round = xtype == PAN_BF16;
  p.y = y, p.ytype = ytype, p.accumulate = accumulate;
  p.m = m, p.n = w->rows, p.base = w->cols;
  return multiply(p);
}

static int32_t linear_input_grad(pan_context *ctx, const pan_weight *w, const void *dy, int32_t dytype, int64_t m, void *dx, int32_t dxtype, int32_t accumulate) {
  Product p = {};
  p.ctx = ctx, p.x = dy, p.xtype = dytype, p.x_cols = w->rows;
  p.w = w, p.by_rows = true, p.round = dytype == PAN_BF16;
  p.y = dx, p.ytype = dxtype, p.accumulate = accumulate;
  p.m = m, p.n = w->cols, p.base = w->rows;
  return multiply(p);
}

static int32_t linear_weight_grad(pan_context *ctx, const void *dy, const void *x, int32_t type, int64_t m, int64_t n, int64_t k, float *dw) {
  if (m == 0) return 0;
  pan_weight b = {};
  b.format = type, b.rows = m, b.cols = k, b.data = x;
  Product p = {};
  p.ctx = ctx, p.x = dy, p.xtype = type, p.x_cols = n, p.transposed = true;
  p.w = &b, p.by_rows = true;
  p.y = dw, p.ytype = PAN_F32, p.accumulate = 1;
  p.m = n, p.n = k, p.base = m;
  return multiply(p);
}
