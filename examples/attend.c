/* One attention call from C: 64 new tokens of a prompt attend to 4096, sparsely and densely.
 *
 *   cc attend.c $(pkg-config --cflags --libs --static shadowattn) -o attend && ./attend */
#include <math.h>
#include <shadowattn/shadowattn.h>
#include <stdio.h>
#include <stdlib.h>

enum { kHeads = 8, kKvHeads = 2, kRows = 64, kKeys = 4096, kDim = 64 };

static float* tensor(int64_t heads, int64_t rows, unsigned seed) {
  float* data = malloc(sizeof(float) * (size_t)(heads * rows * kDim));
  for (int64_t i = 0; data != NULL && i < heads * rows * kDim; ++i) {
    seed = seed * 1664525u + 1013904223u;
    data[i] = (float)(seed >> 8) / 8388608.0f - 1.0f; /* [-1, 1) */
  }
  return data;
}

static shadowattn_tensor view(const float* data, int64_t heads, int64_t rows) {
  shadowattn_tensor tensor = {data, SHADOWATTN_F32, heads, rows, kDim, 0, 0};
  tensor.row_stride = (int64_t)sizeof(float) * kDim;
  tensor.head_stride = tensor.row_stride * rows;
  return tensor;
}

/* 0 when all went well. */
static int attend(const char* config, shadowattn_call* call) {
  char message[256];
  shadowattn_engine* engine = shadowattn_create(config, message, sizeof message);
  if (engine == NULL) {
    fprintf(stderr, "%s\n", message);
    return 1;
  }
  shadowattn_report report;
  const int failed = shadowattn_attend(engine, call, &report) != SHADOWATTN_OK;
  if (failed) {
    fprintf(stderr, "%s\n", shadowattn_message(engine));
  } else {
    printf("%-20s kept %5.1f %% of the tokens, %.2f ms\n", config,
           100.0 * (double)report.kept_pairs / (double)report.visible_pairs,
           1e-6 * (double)report.wall_ns);
  }
  shadowattn_free(engine);
  return failed;
}

int main(void) {
  const int64_t count = (int64_t)kHeads * kRows * kDim;
  float* query = tensor(kHeads, kRows, 1);
  float* key = tensor(kKvHeads, kKeys, 2);
  float* value = tensor(kKvHeads, kKeys, 3);
  float* exact = tensor(kHeads, kRows, 4);
  float* sparse = tensor(kHeads, kRows, 5);
  int failed = !query || !key || !value || !exact || !sparse;
  if (!failed) {
    shadowattn_call call = {0};
    call.query = view(query, kHeads, kRows);
    call.key = view(key, kKvHeads, kKeys);
    call.value = view(value, kKvHeads, kKeys);
    call.mask.kind = SHADOWATTN_MASK_CAUSAL;
    call.mask.causal_offset = kKeys - kRows;
    call.scale = 0.125f; /* 1 / sqrt(kDim) */
    call.output.heads = kHeads;
    call.output.rows = kRows;
    call.output.dim = kDim;
    call.output.row_stride = (int64_t)sizeof(float) * kDim;
    call.output.head_stride = call.output.row_stride * kRows;

    printf("shadowattn %s\n", shadowattn_version());
    call.output.data = exact;
    failed = attend("mode=dense", &call);
    call.output.data = sparse;
    if (!failed) failed = attend("keep=0.5,gate=off", &call);
    double difference = 0;
    double size = 0;
    for (int64_t i = 0; i < count; ++i) {
      difference += (sparse[i] - exact[i]) * (sparse[i] - exact[i]);
      size += exact[i] * exact[i];
    }
    if (!failed)
      printf("difference: %.1f %% (random operands: real ones differ less)\n",
             100 * sqrt(difference / size));
  }
  free(query);
  free(key);
  free(value);
  free(exact);
  free(sparse);
  return failed;
}
