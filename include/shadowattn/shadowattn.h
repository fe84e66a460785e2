/* The engine for C, and for whatever can call C: attention calls on operands in memory.
 *
 *   char message[256];
 *   shadowattn_engine* engine = shadowattn_create("attn_error=0.01,threads=2", message, sizeof
 * message); if (engine == NULL) … shadowattn_call call = {.query = …, .key = …, .value = …, .output
 * = …, .scale = 0.125f}; if (shadowattn_attend(engine, &call, NULL) != SHADOWATTN_OK)
 * puts(shadowattn_message(engine)); shadowattn_free(engine);
 *
 * It prints nothing, throws nothing and ends no process. One call at a time per engine; different
 * engines are independent. A field that is zero means "none" unless its comment says otherwise.
 * Before version 1.0 a minor version may change this interface. */
#ifndef SHADOWATTN_SHADOWATTN_H
#define SHADOWATTN_SHADOWATTN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct shadowattn_engine shadowattn_engine;

typedef enum shadowattn_status {
  SHADOWATTN_OK = 0,
  SHADOWATTN_INVALID_ARGUMENT = 1, /* shapes, strides, pointers or options that make no sense */
  SHADOWATTN_UNSUPPORTED = 2,      /* valid, but this build or machine has no way to do it */
  SHADOWATTN_OUT_OF_MEMORY = 3,
  SHADOWATTN_INTERNAL = 4 /* a bug in shadowattn */
} shadowattn_status;

typedef enum shadowattn_type {
  SHADOWATTN_F32 = 0,
  SHADOWATTN_F16 = 1,
  SHADOWATTN_Q8_0 = 2 /* ggml's block format: dim is a multiple of 32; keys and values only */
} shadowattn_type;

/* [heads][rows][dim]: elements of a row are adjacent, rows and heads lie `row_stride` and
 * `head_stride` bytes apart, in any order, overlapping or backwards. The caller owns the memory. */
typedef struct shadowattn_tensor {
  const void* data;
  int32_t type; /* shadowattn_type */
  int64_t heads;
  int64_t rows;
  int64_t dim;
  int64_t head_stride; /* bytes */
  int64_t row_stride;  /* bytes */
} shadowattn_tensor;

/* As above, f32, written; overlaps no input. */
typedef struct shadowattn_output {
  float* data;
  int64_t heads;
  int64_t rows;
  int64_t dim;
  int64_t head_stride; /* bytes */
  int64_t row_stride;  /* bytes */
} shadowattn_output;

typedef enum shadowattn_mask_kind {
  SHADOWATTN_MASK_NONE = 0,    /* every row sees every key */
  SHADOWATTN_MASK_CAUSAL = 1,  /* row i sees keys 0 … i + causal_offset */
  SHADOWATTN_MASK_ADDITIVE = 2 /* a matrix is added to the logits; -inf hides a key */
} shadowattn_mask_kind;

typedef struct shadowattn_mask {
  int32_t kind;               /* shadowattn_mask_kind */
  int64_t causal_offset;      /* keys before the first row's own, with SHADOWATTN_MASK_CAUSAL */
  shadowattn_tensor additive; /* f32 or f16 [1 or heads][query rows][keys], with …_ADDITIVE */
  const float* slopes;        /* [query heads] factors on it (ALiBi); NULL: 1 */
} shadowattn_mask;

/* out = softmax(cap(scale · Q·Kᵀ) + mask) · V with cap(x) = softcap · tanh(x / softcap). H query
 * heads, a multiple of the KV heads; query head h reads KV head h / (H / KV heads). */
typedef struct shadowattn_call {
  shadowattn_tensor query;  /* f32 [H][query rows][dim] */
  shadowattn_tensor key;    /* [KV heads][keys][dim] */
  shadowattn_tensor value;  /* [KV heads][keys][value dim] */
  shadowattn_output output; /* [H][query rows][value dim]; a row that sees no key becomes zero */
  shadowattn_mask mask;
  float scale;              /* on the logits; usually 1 / sqrt(dim). Not defaulted: 0 is 0 */
  float logit_softcap;      /* 0: none */
  const float* sink_logits; /* [H] one more logit per head that has no value (gpt-oss); or NULL */
  /* The layer that this is, counted from 1, so that the engine learns from one call of it for the
   * next; 0: unknown, the call is taken by itself. */
  int32_t layer_number;
} shadowattn_call;

typedef struct shadowattn_report {
  const char* dense_reason; /* why all of it was computed densely, "" if it was not; static */
  int64_t visible_pairs;    /* (head, row, key) that the mask lets through */
  int64_t kept_pairs;       /* of these, attended to */
  int64_t dense_rows;       /* query rows × KV heads computed densely in a sparse call */
  double estimated_lost;    /* softmax mass outside the lists, mean over rows, as estimated */
  int64_t wall_ns;          /* nanoseconds of the call */
  int64_t scratch_bytes;    /* memory that the engine holds */
} shadowattn_report;

/* "0.1.0". Static. */
const char* shadowattn_version(void);

/* An engine with the options of `config`: "key=value,key=value" as in the variable SHADOWATTN
 * (docs/plugin.md); NULL or "": the defaults. threads=0, the default, is one thread per core; keys
 * that concern a host program (report, trace, min_rows, ablate) change nothing here. NULL on error;
 * then one line of why is in `message`, cut to `size` bytes, zero included (`message` may be NULL
 * if `size` is 0). */
shadowattn_engine* shadowattn_create(const char* config, char* message, size_t size);

/* Computes call->output. `report` may be NULL. On error nothing useful is in the output and
 * shadowattn_message says why. The result does not depend on the number of threads. */
shadowattn_status shadowattn_attend(shadowattn_engine* engine, const shadowattn_call* call,
                                    shadowattn_report* report);

/* Why the last call failed, one line; "" if it did not. Valid until the engine's next call. */
const char* shadowattn_message(const shadowattn_engine* engine);

/* NULL is fine. */
void shadowattn_free(shadowattn_engine* engine);

#ifdef __cplusplus
}
#endif

#endif
